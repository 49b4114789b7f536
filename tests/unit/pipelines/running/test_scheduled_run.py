"""Scheduled runs: several processes write one `run.json`, and a second run of the pipeline is refused."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benison.pipelines.compilation.compiled import Compiled, Node
from benison.pipelines.finish import finish
from benison.pipelines.records import attempts, locks, runs
from benison.pipelines.running import scheduled_run
from benison.serving.errors import UsageError

_NODES = ("Gen", "Trainer.a", "Trainer.b", "Blessing", "Pusher")
_SETTINGS = scheduled_run.RunSettings(cache=True, params={"k": "v"}, import_path=("/somewhere",))
# Records the start and the end of a node many times.
_WRITER = """
import sys
from pathlib import Path
from benison.pipelines.running import scheduled_run
root, run_id, node = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
for _ in range(40):
    scheduled_run.record_start(root, run_id, node)
    scheduled_run.record_end(root, run_id, node, "complete", "", {"out": [{"uri": node, "type": "Model", "properties": {}}]})
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    scheduled_run.begin(tmp_path, "p-1", "p", _SETTINGS)
    nodes = tuple(Node(name, (), name.partition(".")[0], name, tmp_path / "pipeline.json") for name in _NODES)
    scheduled_run.plan(tmp_path, "p-1", Compiled("p", tmp_path / "pipeline.json", nodes))
    return tmp_path


def _states(root: Path) -> dict[str, str]:
    return {node.id: node.state for node in runs.read(root / "runs/p-1/run.json").nodes}


def _end(root: Path, **states: str) -> None:
    for name, state in states.items():
        scheduled_run.record_start(root, "p-1", name)
        scheduled_run.record_end(root, "p-1", name, state, "", {})


def test_the_values_of_the_form_are_in_the_record_of_the_run(root: Path) -> None:
    scheduled_run.begin(root, "p-2", "p", _SETTINGS, {"seed": "8"})
    assert runs.read(root / "runs/p-2/run.json").sets == {"seed": "8"}


def test_every_process_reads_the_settings_that_begin_wrote(root: Path) -> None:
    assert scheduled_run.read_settings(root, "p-1") == replace(_SETTINGS, host=scheduled_run.this_host())


@pytest.mark.parametrize(
    ("began", "sqlite", "refused"),
    [
        (("other", "other"), "/root/metadata.sqlite", True),
        (("other", "other"), None, False),  # PostgreSQL or MySQL
        (("", ""), "/root/metadata.sqlite", False),  # a run that an earlier release began
        (("other", "this"), "/root/metadata.sqlite", False),  # another container of this machine
        (("this", "other"), "/root/metadata.sqlite", False),  # this machine has restarted
        (("this", "this"), "/root/metadata.sqlite", False),
    ],
)
def test_sqlite_on_a_disk_that_two_machines_share_is_refused(
    monkeypatch: pytest.MonkeyPatch, began: tuple[str, str], sqlite: str | None, refused: bool
) -> None:
    monkeypatch.setattr(scheduled_run, "this_host", lambda: ("this", "this"))
    message = "Begin ran on other and this task runs on this, but ML Metadata is the SQLite file /root/metadata.sqlite"
    with pytest.raises(UsageError, match=message) if refused else contextlib.nullcontext():
        scheduled_run.check_host("p-1", replace(_SETTINGS, host=began), sqlite)


def test_processes_that_write_at_the_same_time_lose_no_record(root: Path) -> None:
    command = [sys.executable, "-c", _WRITER, str(root), "p-1"]
    writers = [subprocess.Popen([*command, name]) for name in _NODES]
    assert [writer.wait(60) for writer in writers] == [0] * len(writers)
    run = runs.read(root / "runs/p-1/run.json")
    assert {node.outputs["out"][0]["uri"] for node in run.nodes} == set(_NODES)
    assert {node.state for node in run.nodes} == {"complete"}


def test_a_run_that_is_not_finished_shows_as_running(root: Path) -> None:
    (run,) = runs.history(root)
    assert (run.id, run.outcome) == ("p-1", "running")


def test_finishing_after_a_refusal_skips_the_nodes_after_it(root: Path) -> None:
    _end(root, **{"Gen": "complete", "Trainer.a": "complete", "Trainer.b": "cached", "Blessing": "not_blessed"})
    assert scheduled_run.finish(root, "p-1").outcome == "not_blessed"
    assert _states(root)["Pusher"] == "skipped"


@pytest.mark.parametrize(("state", "outcome"), [("failed", "failed"), ("invalid", "invalid")])
def test_finishing_after_a_failure_leaves_the_rest_not_run(root: Path, state: str, outcome: str) -> None:
    _end(root, Gen=state)
    assert scheduled_run.finish(root, "p-1").outcome == outcome
    assert _states(root)["Pusher"] == "not_run"


@pytest.mark.parametrize("state", ["failed", "invalid", "not_blessed"])
def test_the_last_task_succeeds_whatever_the_nodes_did(root: Path, state: str) -> None:
    """Otherwise a scheduler would report one failure twice."""
    _end(root, Gen=state)
    result, more = finish("p-1", root)
    assert (result.state, more["outcome"]) == ("complete", state)
    assert result.reason.startswith("Gen: ")


def test_a_node_whose_process_was_killed_has_failed(root: Path) -> None:
    scheduled_run.record_start(root, "p-1", "Gen")
    run = scheduled_run.finish(root, "p-1")
    assert (run.nodes[0].state, run.nodes[0].reason) == ("failed", "its process was killed")


@pytest.mark.parametrize(
    ("task", "state", "reason", "outcome"),
    [
        ("failed", "failed", "its process did not start; see the task's log in Airflow", "failed"),
        ("success", "not_run", "its task was marked as successful by hand", "interrupted"),
        ("skipped", "not_run", "its task was skipped by hand, or the run was marked as failed", "interrupted"),
        ("upstream_failed", "not_run", "", "interrupted"),
    ],
)
def test_the_state_of_a_node_that_never_started_is_that_of_its_task(
    root: Path, task: str, state: str, reason: str, outcome: str
) -> None:
    _end(root, **dict.fromkeys(_NODES[:-1], "complete"))
    run = scheduled_run.finish(root, "p-1", {**dict.fromkeys(_NODES, "success"), "Pusher": task})
    assert (run.nodes[-1].state, run.nodes[-1].reason, run.outcome) == (state, reason, outcome)


def test_a_finished_run_continues_if_a_task_is_cleared(root: Path) -> None:
    scheduled_run.finish(root, "p-1")
    scheduled_run.record_start(root, "p-1", "Gen")
    run = runs.read(root / "runs/p-1/run.json")
    assert (run.outcome, run.seconds) == ("running", None)


def test_another_pipelines_run_of_the_same_id_is_refused(root: Path) -> None:
    with pytest.raises(UsageError, match=r"run p-1 in .* is a run of p; use different run ids for each pipeline"):
        scheduled_run.begin(root, "p-1", "q", _SETTINGS)


@pytest.mark.parametrize("run_id", ["", "../x", "a/b", ".hidden", "a b"])
def test_an_id_that_cannot_be_a_folder_is_refused(root: Path, run_id: str) -> None:
    with pytest.raises(UsageError, match="expected an id of letters, digits"):
        scheduled_run.run_folder(root, run_id)


def test_a_run_that_was_not_begun_names_the_command(root: Path) -> None:
    with pytest.raises(
        UsageError, match=r"run p-2: no scheduled run of this id in .*python -m benison\.pipelines\.begin"
    ):
        scheduled_run.read_settings(root, "p-2")


def test_a_second_run_is_refused_while_a_schedulers_is_under_way(root: Path) -> None:
    with pytest.raises(UsageError, match="run p-1 of pipeline p is under way"), locks.pipeline_lock(root, "p", "p-2"):
        pass
    for name, run_id in (("p", "p-1"), ("q", "q-1")):  # the run itself, and a run of another pipeline
        with locks.pipeline_lock(root, name, run_id):
            pass
    scheduled_run.finish(root, "p-1")
    with locks.pipeline_lock(root, "p", "p-2"):
        pass


def test_an_abandoned_run_does_not_block_others_unless_a_node_is_running(root: Path) -> None:
    for file in (root / "runs/p-1").iterdir():
        os.utime(file, (time.time() - 3600,) * 2)
    with locks.pipeline_lock(root, "p", "p-2"):
        pass
    with attempts.sole_attempt(root / "runs/p-1", "Gen"):
        os.utime(root / "runs/p-1/.Gen.attempt", (time.time() - 3600,) * 2)
        with pytest.raises(UsageError, match="is under way"), locks.pipeline_lock(root, "p", "p-2"):
            pass


def test_runs_of_airflow_and_their_parts_belong_to_root(root: Path) -> None:
    run_id = "p-scheduled__2013-04-01T00:00:00+00:00"
    scheduled_run.begin(root, run_id, "p", _SETTINGS)
    assert runs.belongs_to_root(run_id, root)
    assert runs.belongs_to_root(runs.sub_run_id(run_id, "span-3"), root)
    assert not runs.belongs_to_root("p-scheduled__2013-05-01T00:00:00+00:00", root)
    assert json.loads((root / "runs" / run_id / "run.json").read_text())["id"] == run_id
