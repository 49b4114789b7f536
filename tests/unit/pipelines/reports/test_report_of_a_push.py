"""The report of a run tells if the pushed version is served, and what to do if not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benison.pipelines.compilation.compiled import Compiled, Node
from benison.pipelines.records import runs
from benison.pipelines.reports import report

IR = Path("ir")
PUSHED = {"pushed": 1, "pushed_version": "42", "pushed_destination": "ROOT/serving/birds/42"}


def report_of(root: Path, properties: dict[str, Any], source: str = "CsvExampleGen") -> tuple[str, int]:
    """Return the report and the exit code of a run whose Pusher has these output properties."""
    with runs.begin(root, "birds") as run:
        nodes = [Node(name, (), name, name, IR) for name in ("Pusher", source)]
        run.plan(Compiled("birds", IR, tuple(nodes)))
        run.nodes[0].state = "complete"
        run.nodes[0].outputs = {"pushed_model": [{"uri": "", "type": "PushedModel", "properties": properties}]}
    console = Console(width=200)
    with console.capture() as captured:
        report.show(run, console, root)
    return captured.get(), report.EXIT_CODES[run.outcome]


@pytest.mark.parametrize(
    ("noted", "line"),
    [
        ({}, "blessed and pushed as version 42"),
        ({"pushed": 0, "already_served": 1}, "blessed; already served as version 42"),
        ({"pushed": 0}, "blessed; already pushed as version 42"),
    ],
)
def test_the_next_command_after_a_served_version_is_predict(tmp_path: Path, noted: dict[str, Any], line: str) -> None:
    text, code = report_of(tmp_path, PUSHED | noted)
    assert line in text
    assert "next: benison predict birds" in text
    assert "not promoted" not in text
    assert code == 0


def test_the_next_command_after_tfrecord_data_is_serve_because_predict_reads_csv_only(tmp_path: Path) -> None:
    text, _ = report_of(tmp_path, PUSHED, "ImportExampleGen")
    assert f"next: benison serve birds --root {tmp_path}" in text


@pytest.mark.parametrize(("node", "warned"), [("SchemaGen", True), ("ImportSchemaGen", False)])
def test_a_schema_inferred_from_the_same_data_is_a_warning(tmp_path: Path, node: str, warned: bool) -> None:
    text, _ = report_of(tmp_path, PUSHED, node)
    assert ("`benison schema birds --accept` writes one" in " ".join(text.split())) == warned


@pytest.mark.parametrize(
    ("failed", "lines"),
    [
        ([], ["passed  served on a model server: 3 checks with 9 rows; all are in {file}"]),
        (
            ["parity"],
            ["REFUSED parity: it differs by 0.5", "passed  2 other checks on a model server; all are in {file}"],
        ),
    ],
)
def test_the_checks_on_a_model_server_are_one_line_and_what_failed(
    tmp_path: Path, failed: list[str], lines: list[str]
) -> None:
    verdicts = [
        {"rule": rule, "passed": rule not in failed, "reason": "it differs by 0.5"}
        for rule in ("parity", "load time", "p99 latency")
    ]
    file = tmp_path / "trial" / "serving.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"verdicts": verdicts, "rows": {"all": 9}}))
    with runs.begin(tmp_path, "birds") as run:
        run.plan(Compiled("birds", IR, (Node("ServingValidator", (), "ServingValidator", "ServingValidator", IR),)))
        run.nodes[0].state = "complete"
        run.nodes[0].outputs = {"blessing": [{"uri": str(file.parent), "type": "InfraBlessing", "properties": {}}]}
    console = Console(width=200)
    with console.capture() as captured:
        report.show(run, console, tmp_path)
    shown = [line for line in captured.get().splitlines() if line.startswith(("passed", "REFUSED"))]
    assert shown == [line.format(file=file) for line in lines]


def test_a_run_that_does_not_push_says_why_and_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    with runs.begin(tmp_path, "birds") as run:
        run.plan(Compiled("birds", IR, (Node("Pusher", (), "Pusher", "Pusher", IR),)))
        run.nodes[0].state, run.nodes[0].reason = "not_pushed", "version 7 is served now: run again"
    console = Console(width=200)
    with console.capture() as captured:
        report.show(run, console, tmp_path)
    assert "blessed, not pushed: version 7 is served now: run again" in captured.get()
    assert report.EXIT_CODES[run.outcome] == 3


@pytest.mark.parametrize(("pushed", "line"), [(1, "blessed and pushed as"), (0, "blessed; already pushed as")])
def test_a_version_that_is_not_promoted_is_reported_with_the_reason(tmp_path: Path, pushed: int, line: str) -> None:
    text, code = report_of(tmp_path, PUSHED | {"pushed": pushed, "not_promoted": "its newest span is 3"})
    assert f"{line} version 42" in text
    assert "pushed, not promoted: its newest span is 3" in text
    assert f"benison promote birds 42 --root {tmp_path}" in text
    assert "benison predict" not in text
    assert "run.json" in text
    assert code == 0


def test_weights_and_gains_of_the_members_are_in_the_report(tmp_path: Path) -> None:
    fit = {
        "rows": 400,
        "combiner": "weighted_mean",
        "contributions": [
            {"member": "deep", "weight": 0.75, "gain": 0.02, "low": 0.01, "high": 0.03, "kept": True, "why": ""},
            {"member": "wide", "weight": 0.25, "gain": None, "low": None, "high": None, "kept": True, "why": ""},
            {"member": "flat", "weight": 0.0, "gain": 0.0, "low": -0.1, "high": 0.1, "kept": False, "why": "no gain"},
        ],
    }
    blessing = {
        "metric": "auc",
        "metrics": {"ensemble": {"auc": 0.8}},
        "slices": {},
        "verdicts": [],
        "without": {"deep": {"gain": 0.125, "low": 0.1, "high": 0.15}, "wide": {"why_not": "it needs both"}},
    }
    with runs.begin(tmp_path, "birds") as run:
        kinds = {"EnsembleBuilder": "Model", "Blessing": "ModelBlessing"}
        run.plan(Compiled("birds", IR, tuple(Node(name, (), name, name, IR) for name in kinds)))
        files = {"EnsembleBuilder": ("ensemble_report.json", fit), "Blessing": ("blessing.json", blessing)}
        for node in run.nodes:
            name, content = files[node.id]
            (tmp_path / node.id).mkdir()
            (tmp_path / node.id / name).write_text(json.dumps(content))
            node.state = "complete"
            node.outputs = {"out": [{"uri": str(tmp_path / node.id), "type": kinds[node.id], "properties": {}}]}
    console = Console(width=200)
    with console.capture() as captured:
        report.show(run, console, tmp_path)
    rows = [" ".join(line.split()) for line in captured.get().splitlines()]
    first = rows.index("what each member adds to the ensemble:")
    assert rows[first + 1 : first + 6] == [
        "weighted_mean, fitted on 400 rows weight less loss out of fold auc on test",
        "deep 0.7500 +0.0200 (+0.0100 to +0.0300) +0.1250 (+0.1000 to +0.1500)",
        "wide 0.2500 - -",
        "flat (dropped) 0.0000 +0.0000 (-0.1000 to +0.1000) -",
        "flat is not in the ensemble: no gain",
    ]
