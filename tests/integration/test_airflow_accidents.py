"""On a real Airflow, a Trainer is cleared and killed while it trains, and cleared again after it has ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from benison.components import processes
from benison.pipelines.records.runs import Run
from benison.pipelines.running.scheduled_run import IR
from tests.integration import lineage
from tests.integration.airflow_birds import PATIENCE, SLOW, begun, compiled, recorded
from tests.integration.airflow_here import Here, alive, eventually
from tests.integration.lineage import Execution

pytestmark = [pytest.mark.system, pytest.mark.soak, pytest.mark.timeout(7200)]

NAME = "terns"
TRAINER, GUARD = "Trainer.deep", "benison_guard.py"
EPOCHS = 400  # some tens of seconds
FORM = {f"ensemble.members.deep.{key}": EPOCHS for key in ("epochs", "patience")}
RETRIES = "airflow: {retries: 3, retry_delay_s: 1}\n"


@dataclass(frozen=True)
class Accidents:
    """A run whose Trainer was cleared, killed twice, and cleared once more after the end of the run.

    Attributes:
        ended: the processes of the attempts that were ended, and their guards.
        first: states of the tasks at the end of the run.
        executions: the executions at the end of the run.
        second: states of the tasks after the finished Trainer was cleared.
        again: the executions after that.
        run: run.json after that.
    """

    ended: list[int]
    first: Mapping[str, str]
    executions: list[Execution]
    second: Mapping[str, str]
    again: list[Execution]
    run: Run


@pytest.fixture(scope="module")
def accidents(here: Here, tmp_path_factory: pytest.TempPathFactory) -> Accidents:
    compiled(here, tmp_path_factory.mktemp("accidents") / NAME, NAME, SLOW + RETRIES)
    triggered = here.api.trigger(NAME, conf=FORM)
    eventually(lambda: here.api.tasks(NAME, triggered).get("Begin", {}).get("state") == "success", PATIENCE)
    folder = begun(here, NAME, triggered)
    ended: list[int] = []

    ended += _family(_training(folder, 1))
    here.api.clear(NAME, triggered, TRAINER)
    eventually(lambda: alive(ended) == [], 300)
    node = _training(folder, 2)
    ended += _family(node)
    os.kill(_parent(_parent(node)), signal.SIGKILL)  # Airflow's process for the task
    eventually(lambda: alive(ended) == [], 300)
    node = _training(folder, 3)
    ended += _family(node)
    os.kill(node, signal.SIGKILL)
    eventually(lambda: alive(ended) == [], 300)
    first = here.ended(NAME, triggered, PATIENCE)
    executions = lineage.of_run(here.root, NAME, folder.name)

    here.api.clear(NAME, triggered, TRAINER)
    second = here.ended(NAME, triggered, PATIENCE)
    again = lineage.of_run(here.root, NAME, folder.name)
    return Accidents(ended, first, executions, second, again, recorded(here, NAME, triggered))


def _training(folder: Path, attempt: int) -> int:
    """Wait until an attempt trains (counted from 1), and return the node's process."""
    log, header = folder / f"{TRAINER}.log", f"{TRAINER}, attempt "

    def epochs() -> str:
        _, *printed = log.read_text().split(header) if log.exists() else [""]
        return printed[attempt - 1] if len(printed) >= attempt else ""

    eventually(lambda: f"Epoch 5/{EPOCHS}" in epochs(), PATIENCE)
    expected = {"benison.pipelines.scheduled_node", folder.name, TRAINER}
    (node,) = [pid for pid in processes.all_ids() if expected <= set(words := _words(pid)) and GUARD not in words]
    return node


def _family(node: int) -> list[int]:
    return processes.process_tree(_parent(node))  # its parent is the guard


def _words(process: int) -> list[str]:
    """Return a command line, with only the file name of the guard's script."""
    try:
        return [word.rpartition("/")[2] for word in Path(f"/proc/{process}/cmdline").read_text().split("\0")]
    except OSError:  # the process has ended
        return []


def _parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def test_the_run_continues_to_the_end_each_time(accidents: Accidents) -> None:
    assert set(accidents.first.values()) == {"success"}
    # Training again with the same data and seed gives the same model, which may be served already.
    assert {task for task, state in accidents.second.items() if state != "success"} <= {"Pusher"}
    assert accidents.run.outcome in ("pushed", "already_served")


def test_nothing_of_a_node_outlives_it(here: Here, accidents: Accidents) -> None:
    assert len(accidents.ended) >= 6
    assert alive(accidents.ended) == []
    eventually(lambda: _of_nodes(here) == [])


def _of_nodes(here: Here) -> list[list[str]]:
    """Return the command lines of the processes that steps in this ROOT have started."""
    command_lines = []
    for process in processes.all_ids():
        environment = processes.environment(process)
        # Airflow's own processes are left out; they have the secret.
        if environment.get("BENISON_ROOT") == str(here.root) and environment.get("SECRET_OF_AIRFLOWS") != "hush":
            command_lines.append(_words(process))
    return command_lines


def test_attempts_that_were_ended_are_closed_and_leave_nothing_half_done(here: Here, accidents: Accidents) -> None:
    executions = lineage.by_node(accidents.executions)
    assert [execution.state for execution in executions.pop(TRAINER)] == ["FAILED", "FAILED", "FAILED", "COMPLETE"]
    assert {tuple(execution.state for execution in attempts) for attempts in executions.values()} == {("COMPLETE",)}
    lineage.assert_whole(accidents.executions, accidents.run.folder / IR)


def test_a_cleared_trainer_that_had_ended_runs_again_and_keeps_its_earlier_outputs(accidents: Accidents) -> None:
    before, after = [lineage.by_node(attempts)[TRAINER] for attempts in (accidents.executions, accidents.again)]
    assert after[:-1] == before
    assert after[-1].state == "COMPLETE"
    for old, new in zip(before[-1].outputs.values(), after[-1].outputs.values(), strict=True):
        assert old[0].uri != new[0].uri
        assert old[0].uri.is_dir()


def test_the_nodes_after_a_cleared_trainer_run_again_on_its_new_outputs(accidents: Accidents) -> None:
    counted = {node: len(attempts) for node, attempts in lineage.by_node(accidents.again).items()}
    earlier = {node: len(attempts) for node, attempts in lineage.by_node(accidents.executions).items()}
    again = {node for node, count in counted.items() if count > earlier[node]}
    assert again == {
        *(TRAINER, "MemberScores", "EnsembleBuilder", "Baseline", "EnsembleScores"),
        *("Evaluator", "ColumnImportance", "Blessing", "ServingValidator", "Pusher"),
    }
    lineage.assert_whole(accidents.again, accidents.run.folder / IR)
