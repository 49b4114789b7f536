"""From a version to its raw files and back, in a folder that has moved, without the run's folder, and for other tools."""

from __future__ import annotations

import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benison.pipelines import config_file
from benison.pipelines.lineage import graph, openlineage, plain, verification
from benison.pipelines.lineage.search import Finder, Lineage, Uses
from benison.pipelines.records import runs
from benison.pipelines.reports import after_run
from benison.serving.errors import UsageError
from benison.serving.files import checksum
from tests.integration.conftest import Project


@pytest.fixture(scope="module")
def moved(pushed: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project in another folder, whose name is awkward; to read."""
    return pushed.copy(tmp_path_factory.mktemp("other") / "ü x")


def lineage(project: Project, target: str) -> Lineage:
    found = Finder(project.root).find(target)
    assert isinstance(found, Lineage)
    return found


def uses(project: Project, target: Path | str) -> Uses:
    found = Finder(project.root).find(str(target))
    assert isinstance(found, Uses)
    return found


def test_a_served_answer_leads_to_the_csv_and_the_csv_to_the_version(moved: Project) -> None:
    (number,) = moved.versions()
    header = f"birds/{number}"
    done = moved.benison("lineage", header, "--json", "--verify")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    (file,) = found["files"]
    assert (file["path"], file["sha256"]) == (str(moved.csv), checksum.of_file(moved.csv))
    assert {each["state"] for each in found["verified"]} == {"equal"}
    assert found["run"]["id"] == moved.first_run()["id"] == found["version"]["run"]
    back = moved.benison("lineage", "penguins.csv", "--json")
    (run,) = json.loads(back.stdout)["runs"]
    assert [(version["id"], version["served"]) for version in run["versions"]] == [(header, "stable")]


def test_the_tree_leads_from_raw_files_over_members_to_the_version(moved: Project) -> None:
    done = moved.benison("lineage", "birds")
    stages = ["run ", "raw files", "statistics", "schema", "transform", "tuning", "members", "ensemble", "version "]
    positions = [done.stdout.index(f"── {stage}") for stage in stages]
    assert positions == sorted(positions)
    assert "deep: artifacts/birds/Trainer.deep/model/" in done.stdout
    assert "from Transform, Tuner.deep" in done.stdout


def test_edges_are_those_of_the_compiled_pipeline(moved: Project) -> None:
    found = lineage(moved, moved.first_run()["id"])
    assert found.graph is not None
    (trained,) = [a for a in found.graph.outputs("Model") if a.node == "Trainer.deep"]
    assert {a.node for a in found.graph.inputs_of(trained)} == {"Transform", "Tuner.deep", "SchemaGen"}
    assert {a.node for a in found.graph.upstream(trained)} == {
        "CsvExampleGen", "StatisticsGen", "SchemaGen", "Transform", "Tuner.deep",
    }  # fmt: skip
    assert all(artifact.path.exists() and moved.root in artifact.path.parents for artifact in found.graph.artifacts)


def test_an_artifact_and_the_folders_of_a_run_and_a_version_are_found(moved: Project) -> None:
    (folder,) = (moved.root / "artifacts/birds/Trainer.linear/model").iterdir()
    (use,) = uses(moved, folder).uses
    assert use.artifact is not None
    assert (use.artifact.node, len(use.versions)) == ("Trainer.linear", 1)
    (number,) = moved.versions()
    assert lineage(moved, str(moved.base / number)).target == f"birds/{number}"
    run = moved.first_run()["id"]
    assert lineage(moved, str(moved.root / "runs" / run / "run.json")).target == run
    with pytest.raises(UsageError, match=r"brids: no version, run, data file or artifact .*did you mean 'birds'"):
        Finder(moved.root).find("brids")
    with pytest.raises(UsageError, match=rf"birds has no version 5; it has {number}"):
        Finder(moved.root).find("birds/5")


def test_changed_and_missing_files_are_told(pushed: Project, tmp_path: Path) -> None:
    project = pushed.copy(tmp_path / "copy")
    project.csv.write_text(project.csv.read_text() + "Adelie,Dream,1,1,1,1,male,2009\n")
    (number,) = project.versions()
    damaged = next((project.base / number).glob("variables/*.index"))
    damaged.unlink()
    (project.base / number / "extra.txt").touch()
    done = project.benison("lineage", "birds", "--json", "--verify")
    states = {Path(each["path"]).name: each["state"] for each in json.loads(done.stdout)["verified"]}
    assert done.returncode == 1
    assert (states["penguins.csv"], states[damaged.name], states["saved_model.pb"]) == ("changed", "missing", "equal")
    assert states["extra.txt"] == "added"
    found = lineage(project, "birds").graph
    assert found is not None
    gone = graph.RawFile(tmp_path / "gone.csv", "gone.csv", "0" * 64)
    step = graph.Step(
        "E", "E", "complete", outputs={"e": (graph.Artifact("e", tmp_path, "Examples", "E", "e", files=(gone,)),)}
    )
    assert [each.state for each in verification.raw_files(replace(found, steps=(step,)))] == ["missing"]


def test_what_a_run_of_an_earlier_release_read_is_unknown_and_not_equal(pushed: Project, tmp_path: Path) -> None:
    project = pushed.copy(tmp_path / "copy")
    (use,) = uses(project, project.csv).uses
    assert {uses(project, project.csv).content(file) for file in use.files} == {"equal"}
    record = project.root / "runs" / use.graph.run.id / "run.json"
    run = json.loads(record.read_text())
    for node in run["nodes"]:
        for output in node["outputs"].get("examples", ()):
            del output["properties"]["contents"]
    record.write_text(json.dumps(run))
    project.csv.write_text(project.csv.read_text() + "Adelie,Dream,1,1,1,1,male,2009\n")
    found = uses(project, project.csv)
    assert [plain.of(found)["runs"][0]["files"][0][key] for key in ("sha256", "content")] == [None, "no hash recorded"]
    told = project.benison("lineage", "penguins.csv", "--verify")
    assert told.returncode == 1, "all files together have another hash"
    assert "the content that it read is unknown  changed" in told.stdout


def test_ml_metadata_answers_for_a_run_whose_folder_is_gone(pushed: Project, tmp_path: Path) -> None:
    project = pushed.copy(tmp_path / "copy")
    before = lineage(project, "birds").graph
    shutil.rmtree(project.root / "runs")
    found = lineage(project, "birds")
    assert found.graph is not None
    assert before is not None
    assert found.graph.from_metadata
    assert [file.sha256 for file in found.graph.files] == [file.sha256 for file in before.files]
    assert {a.uri for a in found.graph.artifacts} == {a.uri for a in before.artifacts}
    edges = {(step.id, a.uri) for step in found.graph.steps for each in step.inputs.values() for a in each}
    assert edges == {(step.id, a.uri) for step in before.steps for each in step.inputs.values() for a in each}
    assert [use.versions[0].name for use in uses(project, project.csv).uses] == ["birds"]
    (project.root / "metadata.sqlite").unlink()
    found = lineage(project, "birds")
    assert found.graph is None
    assert any("is no longer on record" in note for note in found.notes)
    assert json.dumps(plain.of(found))


# --- OpenLineage ------------------------------------------------------------------------------------------------------


@pytest.fixture
def endpoint() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An endpoint for events: its address, and the events that arrived."""
    events: list[dict[str, Any]] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/api/v1/lineage"
            events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(201)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", events
    server.shutdown()
    thread.join()
    server.server_close()


def test_each_node_has_events_with_its_datasets_and_its_parent(
    moved: Project, endpoint: tuple[str, list[dict[str, Any]]]
) -> None:
    address, events = endpoint
    found = lineage(moved, "birds").graph
    assert found is not None
    assert openlineage.send(found, address) == len(events) == 2 * (1 + len(found.steps))
    parent = events[0]["run"]["runId"]
    assert [(e["job"]["name"], e["eventType"]) for e in (events[0], events[-1])] == [
        ("birds", "START"),
        ("birds", "COMPLETE"),
    ]
    by_job = {event["job"]["name"]: event for event in events}
    trainer = by_job["birds.Trainer.deep"]
    assert trainer["run"]["facets"]["parent"]["run"]["runId"] == parent
    assert {d["name"] for d in trainer["inputs"]} == {
        "birds.Transform.transformed_examples",
        "birds.Transform.transform_graph",
        "birds.SchemaGen.schema",
        "birds.Tuner.deep.best_hyperparameters",
    }
    (csv,) = by_job["birds.CsvExampleGen"]["inputs"]
    assert csv["namespace"] == "file"
    assert csv["facets"]["version"]["datasetVersion"] == checksum.of_file(moved.csv)
    assert "island" in {column["name"] for column in csv["facets"]["schema"]["fields"]}
    (pushed,) = by_job["birds"]["outputs"]
    assert (pushed["name"], pushed["facets"]["version"]["datasetVersion"]) == ("birds", moved.versions()[0])
    again = [json.loads(json.dumps(event)) for event in events]
    openlineage.send(found, address)
    assert events[len(again) :] == again  # names and ids are stable


def test_a_failed_node_has_a_fail_event_with_the_reason(moved: Project, tmp_path: Path) -> None:
    found = lineage(moved, moved.first_run()["id"]).graph
    assert found is not None
    step = next(step for step in found.steps if step.id == "Transform")
    failed = replace(step, state="failed", reason="no column x", outputs={})
    run = replace(found.run, outcome="failed")
    openlineage.send(graph.RunGraph(run, (failed,)), str(tmp_path / "events.jsonl"))
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [event["eventType"] for event in events] == ["START", "START", "FAIL", "FAIL"]
    assert events[2]["run"]["facets"]["errorMessage"]["message"] == "no column x"


def test_a_dead_endpoint_gives_one_warning_and_fails_no_run(moved: Project, capsys: pytest.CaptureFixture[str]) -> None:
    run = runs.history(moved.root)[-1]
    config = config_file.load(moved.folder / "birds.yaml", {"lineage.openlineage": "http://127.0.0.1:9"})
    after_run.follow(moved.root, run, lambda: config)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(
        "warning: OpenLineage: http://127.0.0.1:9: the endpoint does not take OpenLineage events"
    )
