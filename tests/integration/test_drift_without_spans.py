"""The report of a run without spans shows how far its data is from what the served version learnt from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tensorflow_metadata.proto.v0 import statistics_pb2

from benison.pipelines.drawings.drawing import Chart, Text
from benison.pipelines.records import runs
from benison.pipelines.records.runs import Run
from benison.pipelines.reports import run_page
from tests.integration.conftest import Project


def _next_run(project: Project, change: bool) -> Run:
    """Write the record of a next run, which ended after the statistics; with other data if `change`."""
    first = project.first_run()
    folder = project.root / "runs" / "birds-next"
    shutil.copytree(project.root / "runs" / first["id"], folder)
    first |= {"id": folder.name, "folder": str(folder), "outcome": "invalid", "started": first["started"] + 1000}
    first["nodes"] = [node for node in first["nodes"] if node["id"] in ("CsvExampleGen", "StatisticsGen")]
    if change:
        (examples,), (statistics,) = (next(iter(node["outputs"].values())) for node in first["nodes"])
        examples["properties"]["input_fingerprint"] = "other"
        moved = folder / "statistics"
        shutil.copytree(statistics["uri"], moved)
        statistics["uri"] = str(moved)
        for file in moved.rglob("FeatureStats.pb"):
            message = statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes())
            (column,) = [f for f in message.datasets[0].features if f.path.step[0] == "body_mass_g"]
            for histogram in column.num_stats.histograms:
                for bucket in histogram.buckets:
                    bucket.low_value += 9000
                    bucket.high_value += 9000
            file.write_bytes(message.SerializeToString())
    (folder / runs.FILE).write_text(json.dumps(first))
    return runs.read(folder / runs.FILE)


def test_drift_is_measured_against_the_data_of_the_served_version(pushed: Project, tmp_path: Path) -> None:
    project = pushed.copy(tmp_path / "copy")
    (version,) = project.versions()
    parts = run_page.content("data", _next_run(project, change=True), project.root)
    drift = parts[0]
    assert isinstance(drift, Chart)
    assert drift.title == f"Drift against the data that version {version} learnt from"
    rows = drift.spec["data"]["values"]
    assert [row["column"] for row in rows if row["drifted"]] == ["body_mass_g"]
    assert rows[0]["share"] > 9, "of the limit 0.1"


def test_without_new_data_there_is_no_drift(pushed: Project, tmp_path: Path) -> None:
    project = pushed.copy(tmp_path / "copy")
    (version,) = project.versions()
    note = run_page.content("data", _next_run(project, change=False), project.root)[0]
    assert isinstance(note, Text)
    assert note.text == f"Drift was not measured: the data is the same that version {version} learnt from."
    first = runs.read(project.root / "runs" / project.first_run()["id"] / runs.FILE)
    assert not isinstance(run_page.content("data", first, project.root)[0], Text), "nothing was served before it"
