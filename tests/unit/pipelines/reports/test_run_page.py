"""The report of a run says how the run ended, however it ended, and never fails it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benison.pipelines.records.runs import NodeRun, Run
from benison.pipelines.reports import reported_run, run_page
from benison.serving.errors import UsageError


def run_of(root: Path, outcome: str, *nodes: NodeRun, **more: Any) -> Run:
    folder = root / "runs" / f"birds-{outcome}"
    folder.mkdir(parents=True)
    run = Run(folder.name, "birds", folder, 1_700_000_000.0, 12.0, outcome, list(nodes), **more)
    run.save()
    return run


def node(name: str, state: str, reason: str = "", **outputs: Any) -> NodeRun:
    return NodeRun(name, name, "/nowhere.log", state, 1_700_000_001.0, 2.0, reason, outputs)


def verdict_in(page: str) -> str:
    found = re.search(r'<p class="verdict[^"]*">([^<]*)</p>', page)
    assert found is not None
    return found.group(1)


@pytest.mark.parametrize(
    ("outcome", "nodes", "sentence"),
    [
        ("failed", [node("Trainer", "failed", "no memory")], "Failed at Trainer: no memory"),
        ("failed", [], "Failed before the first node; the logs are in the folder of the run."),
        ("invalid", [node("AnomalyGate", "invalid", "column x")], "The data is invalid, by AnomalyGate: column x"),
        (
            "interrupted",
            [node("Transform", "complete"), node("Trainer", "not_run")],
            "Interrupted after 1 of 2 nodes. Finished nodes are cached; run the same command to continue.",
        ),
        (
            "not_blessed",
            [node("Blessing", "not_blessed", "worse")],
            "Not blessed, by Blessing: worse. The served version stays.",
        ),
        (
            "not_pushed",
            [node("Pusher", "not_pushed", "too slow")],
            "Blessed, not pushed: too slow. The served version stays.",
        ),
        ("complete", [node("Pusher", "complete")], "Complete; this pipeline pushes nothing."),
    ],
)
def test_the_verdict_comes_first_in_one_sentence(
    tmp_path: Path, outcome: str, nodes: list[NodeRun], sentence: str
) -> None:
    run = run_of(tmp_path, outcome, *nodes)
    page = run_page.write(run, tmp_path).read_text()
    assert verdict_in(page) == sentence
    assert page.index('id="verdict"') < page.index('id="timeline"')


def test_the_verdict_of_a_partial_run_names_its_options(tmp_path: Path) -> None:
    run = run_of(tmp_path, "complete", node("Trainer", "complete"), part={"only": "Trainer"})
    assert "a run with --only Trainer pushes nothing" in verdict_in(run_page.html(run, tmp_path))


def test_a_run_that_ended_early_says_what_it_ended_before(tmp_path: Path) -> None:
    nodes = [node("Trainer", "failed", "no memory"), node("Blessing", "not_run")]
    page = run_page.html(run_of(tmp_path, "failed", *nodes), tmp_path)
    assert "The run ended before the Blessing." in page
    assert 'id="serving"' not in page, "the pipeline has no ServingValidator"


def test_artifacts_that_were_pruned_or_damaged_leave_the_rest_of_the_report(tmp_path: Path) -> None:
    damaged = tmp_path / "schema"
    damaged.mkdir()
    blessing = tmp_path / "blessing"
    blessing.mkdir()
    (blessing / "blessing.json").write_text("{")
    outputs: dict[str, Any] = {
        "blessing": [{"uri": str(blessing), "type": "ModelBlessing", "properties": {}}],
        "statistics": [{"uri": str(tmp_path / "gone"), "type": "ExampleStatistics", "properties": {}}],
        "verdict": [{"uri": str(damaged), "type": "DataVerdict", "properties": {}}],
    }
    page = run_page.html(run_of(tmp_path, "complete", node("Blessing", "complete", **outputs)), tmp_path)
    assert "no longer exists" in page
    assert "This section could not be made: JSONDecodeError" in page
    assert 'id="timeline"' in page


def test_a_report_that_cannot_be_written_is_one_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_of(tmp_path, "complete")
    (run.folder / run_page.FILE).mkdir()
    assert reported_run.report(run, tmp_path) is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: the report of run birds-complete could not be written (")


@pytest.mark.parametrize("error", [UsageError("wrong"), KeyboardInterrupt()])
def test_a_run_that_raises_leaves_its_report(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), reported_run.begin(tmp_path, "birds") as run:
        raise error
    page = (run.folder / run_page.FILE).read_text()
    assert verdict_in(page).startswith("Failed" if isinstance(error, UsageError) else "Interrupted")


def test_what_changed_since_the_run_before_is_told_with_both_values(tmp_path: Path) -> None:
    def compiled(folder: Path, epochs: int) -> None:
        parameter = {"fieldValue": {"stringValue": json.dumps({"recipe": {"epochs": epochs, "name": "deep"}})}}
        parameters = {"parameters": {"custom_config": parameter}}
        entry = {"pipelineNode": {"nodeInfo": {"id": "Trainer.deep"}, "parameters": parameters}}
        (folder / "pipeline.json").write_text(json.dumps({"nodes": [entry]}))

    before = run_of(tmp_path, "failed", node("Transform", "complete"))
    now = run_of(tmp_path, "complete", node("Trainer.deep", "complete"))
    now.started += 100
    now.save()
    compiled(before.folder, 10)
    compiled(now.folder, 20)
    page = run_page.html(now, tmp_path)
    assert re.search(r"Trainer\.deep\.custom_config\.recipe\.epochs</th>.*?>10</td>.*?>20</td>", page)
    assert "recipe.name" not in page


def test_names_of_strangers_stay_text(tmp_path: Path) -> None:
    evil = '</script><img src=x onerror="alert(1)">'
    page = run_page.html(run_of(tmp_path, "failed", node(f"Trainer.{evil}", "failed", evil)), tmp_path)
    assert "<img src=x" not in page


def test_members_that_were_trained_elsewhere_are_named(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    record = {
        "kind": "onnx",
        "path": "/models/forest.onnx",
        "inputs": {"x": ["size", "legs"]},
        "missing": {"size": -1},
        "learnt_from": "these_rows",
    }
    (model / "foreign.json").write_text(json.dumps(record))
    output = {"uri": str(model), "type": "Model", "properties": {}}
    page = run_page.html(run_of(tmp_path, "complete", node("Import.forest", "complete", model=[output])), tmp_path)
    for cell in ("forest", "/models/forest.onnx", "x: size legs", "size: -1", "it may have"):
        assert f">{cell}<" in page
