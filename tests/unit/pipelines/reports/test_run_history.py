"""`benison runs NAME`: metrics, overrides and changes of a pipeline's runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benison.pipelines.cli import app
from benison.pipelines.records.runs import NodeRun, Run, history
from benison.pipelines.reports.run_history import compared
from benison.pipelines.running import run_inputs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    values = {"shop-1": 0.75, "shop-2": float("nan"), "shop-3": 0.8125}
    for number, (run_id, value) in enumerate(values.items()):
        _save(tmp_path, run_id, number, metric={"name": "auc", "value": value}, sets={"seed": str(number)})
    refused = NodeRun("Blessing", "Blessing", "log", state="not_blessed", reason="auc >= 0.9: it is 0.8")
    _save(tmp_path, "shop-4", 4, outcome="not_blessed", metric={"name": "auc", "value": 0.8}, nodes=[refused])
    _save(tmp_path, "shop-5", 5, metric={"name": "auc", "value": 0.8}, repeats="shop-4", changed=[])
    _save(tmp_path, "shop-6", 6, metric={"name": "log_loss", "value": 0.5}, changed=["config.metric", "data.0"])
    pushed = [{"uri": "", "type": "PushedModel", "properties": {"not_promoted": "by hand"}}]
    pusher = NodeRun("Pusher", "Pusher", "log", state="complete", outputs={"pushed_model": pushed})
    _save(tmp_path, "shop-7", 7, nodes=[pusher], changed=[])
    _save(tmp_path, "other-1", 7, pipeline="other", metric={"name": "rmse", "value": 2.0})
    return tmp_path


def _save(root: Path, run_id: str, started: int, pipeline: str = "shop", outcome: str = "pushed", **facts) -> None:
    run = Run(run_id, pipeline, root / "runs" / run_id, started, 1.0, outcome, **facts)
    run.folder.mkdir(parents=True)
    run.save()


def _printed(root: Path, *words: str) -> str:
    done = CliRunner().invoke(app, ["runs", *words, "--root", str(root)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_json_has_each_runs_metric_and_its_change_against_the_last_run_with_this_metric(root: Path) -> None:
    rows = json.loads(_printed(root, "shop", "--json"), parse_constant=pytest.fail)
    changes = {row["run"]: (row["metric"], row["value"], row["change"]) for row in rows}
    assert changes == {
        "shop-1": ("auc", 0.75, None),
        "shop-2": ("auc", None, None),  # undefined, and no number in JSON
        "shop-3": ("auc", 0.8125, 0.0625),
        "shop-4": ("auc", 0.8, pytest.approx(-0.0125)),
        "shop-5": ("auc", 0.8, 0.0),
        "shop-6": ("log_loss", 0.5, None),
        "shop-7": (None, None, None),
    }
    assert rows[2]["set"] == {"seed": "2"}
    assert rows[3]["why"] == "Blessing: auc >= 0.9: it is 0.8"
    assert (rows[4]["repeats"], rows[5]["changed"]) == ("shop-4", ["config.metric", "data.0"])


def test_the_table_of_a_pipeline_says_what_was_set_and_what_changed(root: Path) -> None:
    lines = {line.split()[0]: line for line in _printed(root, "shop").splitlines() if line.strip()}
    assert {"metric", "value", "change", "--set", "changed"} <= set(lines["run"].split())
    assert "0.8125" in lines["shop-3"]
    assert "+0.0625" in lines["shop-3"]
    assert "seed=2" in lines["shop-3"]
    assert "nothing since shop-4" in lines["shop-5"]
    assert "config.metric, data.0" in lines["shop-6"]
    assert "pushed, not promoted" in lines["shop-7"]
    assert "other-1" not in lines


def test_what_changed_is_said_against_the_run_before_or_is_not_known(root: Path) -> None:
    differs = {row.run.id: row.differs for row in compared(history(root))}
    assert differs == {
        "shop-1": "",
        "shop-2": "?",
        "shop-3": "?",
        "shop-4": "?",
        "shop-5": "nothing since shop-4",
        "shop-6": "config.metric, data.0",
        "shop-7": "nothing",
        "other-1": "",
    }


def test_what_changed_is_named_in_the_words_of_a_user() -> None:
    names = [
        "code.features",
        "config.metric",
        "data.0",
        "data.files",
        "packages.numpy-1.26.4.dist-info",
        "served.number",
    ]
    words = ["code of features", "data", "metric in the YAML", "package numpy-1.26.4"]
    assert run_inputs.in_words(names) == words
    assert run_inputs.in_words(["data.3", "data.window", "python"]) == ["Python", "data of span 3", "window"]


def test_without_a_name_all_pipelines_are_listed(root: Path) -> None:
    assert "other-1" in _printed(root)
    assert "no runs of nobody" in _printed(root, "nobody")


def test_the_metric_of_a_run_of_a_former_release_is_read_from_its_artifact(root: Path, tmp_path: Path) -> None:
    blessing = {"metric": "auc", "metrics": {"ensemble": {"auc": 0.9}, "deep": {"auc": 0.7}}}
    (tmp_path / "blessing.json").write_text(json.dumps(blessing))
    outputs = {"blessing": [{"uri": str(tmp_path), "type": "ModelBlessing", "properties": {}}]}
    node = NodeRun("Blessing", "Blessing", "log", state="complete", outputs=outputs)
    _save(root, "shop-8", 8, nodes=[node])
    assert json.loads(_printed(root, "shop", "--json"))[-1]["value"] == 0.9


def test_values_that_may_be_secrets_are_not_recorded() -> None:
    from benison.pipelines.made_from import recordable

    sets = {"seed": "8", "serving.store": "s3://key:secret@bucket"}
    assert recordable(sets) == {"seed": "8", "serving.store": "..."}
