"""Runs on disk: outcomes, `run.json`, history, and the lock."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benison.pipelines.compilation.compiled import Compiled, Node
from benison.pipelines.records import runs
from benison.serving.errors import UsageError

IR = Path("ir")
COMPILED = Compiled(
    "p",
    IR,
    (
        Node("A", (), "Gen", "A", IR),
        Node("Blessing", ("A",), "B", "Blessing", IR),
        Node("Pusher", ("A",), "P", "Pusher", IR),
    ),
)


def _pushed(**properties: object) -> dict:
    return {"pushed_model": [{"uri": "", "type": "PushedModel", "properties": properties}]}


@pytest.mark.parametrize(
    ("states", "outputs", "outcome"),
    [
        (["complete", "complete", "complete"], _pushed(pushed=1), "pushed"),
        (["cached", "cached", "complete"], _pushed(already_served=1), "already_served"),
        (["complete", "not_blessed", "skipped"], {}, "not_blessed"),
        (["complete", "complete", "not_pushed"], _pushed(pushed=0), "not_pushed"),
        (["failed", "waiting", "waiting"], {}, "failed"),
        (["invalid", "waiting", "waiting"], {}, "invalid"),
        (["complete", "complete", "complete"], {}, "complete"),
    ],
)
def test_the_outcome_follows_from_the_nodes(tmp_path: Path, states: list[str], outputs: dict, outcome: str) -> None:
    with runs.begin(tmp_path, "p") as run:
        run.plan(COMPILED)
        for node, state in zip(run.nodes, states, strict=True):
            node.state = state
        run.nodes[-1].outputs = outputs
    assert run.outcome == outcome
    assert "waiting" not in {node.state for node in run.nodes}
    (kept,) = runs.history(tmp_path)
    assert kept == run


def test_a_part_that_does_not_exist_leaves_no_run(tmp_path: Path) -> None:
    def plan(run: runs.Run) -> None:
        run.part = {"only": "Blessng"}
        raise UsageError("no such node")

    with pytest.raises(UsageError), runs.begin(tmp_path, "p") as run:
        plan(run)
    assert list(runs.history(tmp_path)) == []


def test_the_earlier_runs_are_those_of_which_a_node_has_ended(tmp_path: Path) -> None:
    made = []
    for state in ("complete", "cached", "failed", "complete"):
        with runs.begin(tmp_path, "p") as run:
            run.plan(COMPILED)
            run.nodes[0].state = state
        made.append(run)
    assert [other.id for other in runs.earlier(tmp_path, made[-1])] == [made[1].id, made[0].id]


@pytest.mark.parametrize(("error", "outcome"), [(KeyboardInterrupt, "interrupted"), (RuntimeError, "failed")])
def test_an_interrupted_run_records_its_outcome(tmp_path: Path, error: type[BaseException], outcome: str) -> None:
    def break_off() -> None:
        with runs.begin(tmp_path, "p") as run:
            run.plan(COMPILED)
            raise error

    with pytest.raises(error):
        break_off()
    assert runs.history(tmp_path)[0].outcome == outcome


def test_a_second_run_of_the_same_pipeline_is_refused_naming_the_first(tmp_path: Path) -> None:
    with runs.begin(tmp_path, "p") as first:
        with pytest.raises(UsageError, match=f"run {first.id} of pipeline p is under way"), runs.begin(tmp_path, "p"):
            pass
        with runs.begin(tmp_path, "q"):
            pass
    with runs.begin(tmp_path, "p"):
        pass


_KILLED = """
import os, signal, sys
from pathlib import Path
from benison.pipelines.compilation.compiled import Compiled, Node
from benison.pipelines.records import runs
with runs.begin(Path(sys.argv[1]), "p") as run:
    run.plan(Compiled("p", Path("ir"), (Node("A", (), "Gen", "A", Path("ir")),)))
    run.nodes[0].state = "running"
    run.save()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_is_interrupted_and_the_next_run_records_it(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], timeout=60)
    assert done.returncode == -signal.SIGKILL
    (run,) = runs.history(tmp_path)
    assert (run.outcome, run.nodes[0].state) == ("interrupted", "not_run")
    assert 0 <= run.seconds < 60
    assert runs.read(run.folder / runs.FILE).outcome == "running"
    with runs.begin(tmp_path, "other"):
        assert runs.read(run.folder / runs.FILE).outcome == "running"  # of another pipeline
    with runs.begin(tmp_path, "p"):
        assert runs.read(run.folder / runs.FILE) == run


def test_a_run_under_way_is_running(tmp_path: Path) -> None:
    with runs.begin(tmp_path, "p"):
        assert [run.outcome for run in runs.history(tmp_path)] == ["running"]


def test_a_run_has_a_temporary_folder(tmp_path: Path) -> None:
    with runs.begin(tmp_path, "p") as run:
        assert run.temporary == tmp_path / "tmp" / run.id
        assert run.temporary.is_dir()
    assert not run.temporary.exists()


def test_history_skips_invalid_files(tmp_path: Path) -> None:
    with runs.begin(tmp_path, "p"):
        pass
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "run.json").write_text("{")
    assert len(runs.history(tmp_path)) == 1


def test_usual_times_are_those_of_nodes_that_ran_without_the_cache(tmp_path: Path) -> None:
    for state, seconds in (("complete", 5.0), ("cached", 0.1)):
        with runs.begin(tmp_path, "p") as run:
            run.plan(COMPILED)
            run.nodes[0].state, run.nodes[0].seconds = state, seconds
    assert runs.usual_seconds(tmp_path, "p") == {"A": 5.0}
