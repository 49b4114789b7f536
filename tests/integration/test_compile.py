"""`benison compile`, and a run of its output as a scheduler does it, with retries, kills and cleared tasks."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benison.components import processes
from tests.integration.conftest import Project, make
from tests.integration.scheduler import Answered, Scheduler, ended, wait_until

# A member that waits for a child process if a file says so, so that a test kills a node that is certainly running.
_HOLD = """

def held_linear(inputs, hp):
    import subprocess
    from pathlib import Path
    request = Path(__file__).with_name("hold")
    if request.exists():
        request.unlink()
        child = subprocess.Popen(["sleep", "600"])
        request.with_name("held").write_text(f"{child.pid}\\n")
        child.wait()
    return linear(inputs, hp)
"""
_MEMBERS = """  members:
    linear: {function: held_linear, epochs: 30, hyperparameters: {learning_rate: 0.03}}
"""


@dataclass(frozen=True)
class Story:
    """A complete run with kills and retries, and the answer of each task."""

    scheduler: Scheduler
    project: Project
    answers: dict[str, Answered]
    marked: Answered
    killed: Answered
    terminated: Answered
    replaced: Answered
    children: tuple[int, ...]
    cleared: Answered


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    project = make(tmp_path_factory.mktemp("compiled") / "pipelines")
    project.models.write_text(project.models.read_text() + _HOLD)
    yaml = project.folder / "birds.yaml"
    before, members, after = re.split(r"(  members:\n(?:    .*\n)+)", yaml.read_text())
    assert "linear:" in members
    yaml.write_text(f"{before}{_MEMBERS}{after}")
    done = project.benison("compile", "birds.yaml", "-o", "airflow/manifests")
    assert done.returncode == 0, done.stderr
    scheduler = Scheduler(project.folder / "airflow/manifests/birds.json", project.root, "birds-manual__2026")

    answers = {
        "Begin": scheduler.begin(
            "ensemble.members.linear.epochs=4",
            "ensemble.members.linear.hyperparameters.learning_rate=0.02",
            "blessing.confidence=0.9",
            "blessing.rules.0.min=0.5",
            "seed=11",
            "serving.promote=manual",
        )
    }
    accidents = {"marked": scheduler.node("StatisticsGen")}  # as if CsvExampleGen had been marked as successful by hand
    children = []
    for node in scheduler.nodes:
        name = node["id"]
        if name == "Trainer.linear":
            accidents["terminated"], terminated = _hit(scheduler, project, name, signal.SIGTERM)
            accidents["killed"], killed = _hit(scheduler, project, name, signal.SIGKILL)
            accidents["replaced"], replaced = _replaced(scheduler, project, name, answers)
            children += [terminated, killed, replaced]
            continue
        answers[name] = scheduler.node(name)
        if name == "SchemaGen":  # clear a task that has succeeded
            accidents["cleared"] = scheduler.node(name)
    answers["Finish"] = scheduler.finish()
    return Story(scheduler, project, answers, children=tuple(children), **accidents)


def _hit(scheduler: Scheduler, project: Project, node: str, number: int) -> tuple[Answered, int]:
    """Send a signal to a running node; return its answer and the id of its child."""
    process, child = _at_work(scheduler, project, node)
    os.kill(process.pid, number)
    if number == signal.SIGKILL:
        # Its child keeps the pipes open, and is an orphan until the next attempt.
        code = process.wait(60)
        process.stdout.close()
        process.stderr.close()
        return Answered(code, {}, ""), child
    return ended(process), child


def _replaced(scheduler: Scheduler, project: Project, node: str, answers: dict[str, Answered]) -> tuple[Answered, int]:
    """Start a second attempt while the first one runs."""
    process, child = _at_work(scheduler, project, node)
    answers[node] = scheduler.node(node)
    return ended(process), child


def _at_work(scheduler: Scheduler, project: Project, node: str) -> tuple[subprocess.Popen[str], int]:
    held = project.folder / "held"
    held.unlink(missing_ok=True)
    (project.folder / "hold").touch()
    process = scheduler.start(node)
    wait_until(lambda: held.is_file() and held.read_text().endswith("\n"), process)
    return process, int(held.read_text())


@pytest.fixture(scope="module")
def lineage(story: Story) -> Iterator[Any]:
    from benison.pipelines.records import metadata_store

    with metadata_store.of_root(story.scheduler.root, {}) as handle:
        yield handle.store


def _executions(lineage: Any, node: str) -> list[Any]:
    context = lineage.get_context_by_type_and_name("node", f"birds.{node}")
    return sorted(lineage.get_executions_by_context(context.id), key=lambda execution: execution.id)


def _states(lineage: Any, node: str) -> list[str]:
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    return [mlmd.Execution.State.Name(execution.last_known_state) for execution in _executions(lineage, node)]


def _inputs(lineage: Any, execution: int) -> list[str]:
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    events = lineage.get_events_by_execution_ids([execution])
    read = [event.artifact_id for event in events if event.type == mlmd.Event.INPUT]
    return [artifact.uri for artifact in lineage.get_artifacts_by_id(read)]


def test_every_node_of_the_manifest_succeeds(story: Story) -> None:
    answers = {
        name: (answer.code, answer.answer.get("state"), answer.printed[-2000:])
        for name, answer in story.answers.items()
    }
    wrong = {name: answer for name, answer in answers.items() if answer[:2] not in ((0, "complete"), (0, "cached"))}
    assert not wrong
    assert set(answers) == {node["id"] for node in story.scheduler.nodes} | {"Begin", "Finish"}


def test_run_json_is_that_of_a_local_run(story: Story) -> None:
    run = story.scheduler.run_json()
    assert run["outcome"] == "pushed"
    assert [node["id"] for node in run["nodes"]] == [node["id"] for node in story.scheduler.nodes]
    assert set(story.scheduler.states().values()) == {"complete"}
    assert all(Path(node["log"]).is_file() and node["seconds"] > 0 for node in run["nodes"])
    shown = story.project.benison("runs")
    assert "birds-manual__2026" in shown.stdout
    assert "pushed" in shown.stdout


def test_what_a_node_prints_is_in_its_log_and_live_on_stderr(story: Story) -> None:
    log = (story.scheduler.folder / "CsvExampleGen.log").read_text()
    assert "rows: train" in log
    assert "rows: train" in story.answers["CsvExampleGen"].printed


def test_values_of_the_form_are_those_in_the_metadata(story: Story, lineage: Any) -> None:
    trainer = _executions(lineage, "Trainer.linear")[-1].custom_properties
    recipe = json.loads(trainer["custom_config"].string_value)["recipe"]
    assert (recipe["epochs"], recipe["seed"]) == (4, 11)
    assert recipe["hyperparameters"] == {"learning_rate": 0.02}
    blessing = str(_executions(lineage, "Blessing")[-1])
    assert "0.9" in blessing
    assert "0.5" in blessing
    pushed = story.answers["Pusher"].answer["report"]
    assert pushed["not_promoted"] == "`serving.promote` is manual"
    assert pushed["promoted"] is False


def test_a_decision_and_a_push_are_reported(story: Story) -> None:
    decided = story.answers["Blessing"].answer["report"]
    assert decided["metrics"]["ensemble"]["accuracy"] > 0.8
    assert all(verdict["passed"] for verdict in decided["verdicts"])
    pushed = story.answers["Pusher"].answer["report"]
    assert pushed["version"] == int(story.project.versions()[-1])
    assert pushed["metrics"] == decided["metrics"]["ensemble"]
    assert json.loads(Path(pushed["manifest"]).read_text())["version"] == pushed["version"]


def test_a_node_names_the_node_whose_outputs_are_missing_and_is_not_retried(story: Story) -> None:
    assert story.marked.code == 2
    assert story.marked.answer["reason"].startswith(
        "the outputs of CsvExampleGen are missing, because CsvExampleGen has not run in this run; "
    )


def test_a_node_that_gets_sigterm_fails_with_that_reason(story: Story, lineage: Any) -> None:
    assert story.terminated.code == 1
    assert story.terminated.answer["state"] == "failed"
    assert story.terminated.answer["reason"] == "ended by SIGTERM"


def test_a_later_attempt_ends_a_live_earlier_one(story: Story) -> None:
    assert story.replaced.code == 1
    assert story.replaced.answer["reason"] == "ended by SIGTERM"


def test_no_child_of_an_attempt_outlives_it_or_the_next_one(story: Story) -> None:
    assert [pid for pid in story.children if processes.start_time(pid) is not None] == []


def test_a_killed_attempt_is_closed_as_failed_by_the_next_one(story: Story, lineage: Any) -> None:
    assert story.killed.code == -signal.SIGKILL
    assert _states(lineage, "Trainer.linear") == ["FAILED", "FAILED", "FAILED", "COMPLETE"]


def test_failed_attempts_leave_no_incomplete_artifact(story: Story, lineage: Any) -> None:
    done = _executions(lineage, "Trainer.linear")[-1].id
    folder = story.scheduler.root / "artifacts/birds/Trainer.linear"
    assert {path.name for path in folder.glob("[!.]*/*")} == {str(done)}
    assert {path.name for path in folder.glob(".system/executor_execution/*")} <= {str(done)}


def test_a_finished_node_that_is_cleared_runs_again_into_new_folders(story: Story, lineage: Any) -> None:
    first, second = (answer.answer for answer in (story.answers["SchemaGen"], story.cleared))
    assert second["state"] == "complete"
    before, after = (Path(answer["outputs"]["schema"][0]["uri"]) for answer in (first, second))
    assert before != after
    assert before.is_dir()
    assert after.is_dir()
    (validator,) = _executions(lineage, "ExampleValidator")
    assert str(after) in _inputs(lineage, validator.id)
    assert str(before) not in _inputs(lineage, validator.id)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("seed=-1", "seed: got -1, expected an integer >= 0 and <= 4294967295"),
        ("ensemble.members.liner.epochs=1", "did you mean 'ensemble.members.linear.epochs'?"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_without_a_retry(story: Story, value: str, message: str) -> None:
    refused = Scheduler(story.scheduler.manifest, story.scheduler.root, "refused").begin(value)
    assert refused.code == 2
    assert message in refused.answer["reason"]
    assert message in refused.printed
