"""A run that is killed, terminated or loses its terminal: the next start leaves nothing of it, and `runs` says so."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from benison.components import processes
from tests.integration import fork_server
from tests.integration.conftest import Project, make
from tests.waiting import eventually

MARK = "KILLED_RUN"  # in the environment of a run and of all that it starts
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
LONGEST_S = 40.0  # until a run gets its signal; about what a run takes
START_S = 300.0  # until a node of a run works, on a busy machine
MODEL_SERVER = "benison.serving.server.main"


@dataclass
class Victim:
    """A run that gets a signal.

    Attributes:
        process: `benison run`.
        mark: the value of MARK.
        number: the signal.
        ports: the ports on which its processes listened then.
        folder: the run's folder; None if it was not there yet.
    """

    process: subprocess.Popen[bytes]
    mark: str
    number: signal.Signals = signal.SIGKILL
    ports: set[int] = field(default_factory=set)
    folder: Path | None = None

    def family(self) -> list[int]:
        return processes.started_with(MARK, self.mark)


@dataclass(frozen=True)
class Scene:
    """A project, and the TMPDIR of its runs."""

    project: Project
    temporary: Path

    def start(self, *options: str) -> Victim:
        mark = uuid.uuid4().hex
        own = {name: value for name, value in os.environ.items() if not name.startswith("BENISON_")}
        with fork_server.bypassed():  # a forked process would not have the runner as its parent
            process = subprocess.Popen(
                self.project.command("run", "birds.yaml", *options),
                cwd=self.project.folder,
                env={**own, "TMPDIR": str(self.temporary), MARK: mark},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
            )
        return Victim(process, mark)

    def runs(self) -> set[Path]:
        return {file.parent for file in self.project.root.glob("runs/birds-*/run.json")}

    def end(self, victim: Victim, number: signal.Signals, before: set[Path]) -> None:
        """Send a signal, and wait until the process has ended."""
        victim.number = number
        victim.ports = listening(victim.family())
        victim.folder = next(iter(self.runs() - before), None)
        victim.process.send_signal(number)
        victim.process.wait(60)

    def assert_nothing_is_left(self, victim: Victim, living: set[Path]) -> None:
        """Assert that nothing of an ended run is left, except its record."""
        eventually(lambda: not victim.family(), 5, lambda: list(map(command_line, victim.family())))
        assert not victim.ports & listening(psutil.pids())
        assert list(self.temporary.iterdir()) == []
        folder = self.project.root / "tmp"
        assert {path.name for path in folder.iterdir()} <= {run.name for run in living}


def listening(pids: list[int]) -> set[int]:
    """Return the ports on which some processes listen."""
    connections = [c for c in psutil.net_connections("inet") if c.pid in pids and c.status == psutil.CONN_LISTEN]
    return {int(connection.laddr.port) for connection in connections if connection.laddr}


def command_line(pid: int) -> str:
    """Return the command line of a process, '' if it has ended."""
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return ""


def outcomes(project: Project) -> dict[str, str]:
    """Return what `benison runs` shows for each run."""
    lines = project.benison("runs").stdout.splitlines()
    position = lines[0].split().index("outcome")
    return {words[0]: words[position + 1] for words in map(str.split, lines[1:])}  # the time of the start is two words


def unfinished(project: Project) -> list[str]:
    """Return the runs that have unfinished executions in ML Metadata."""
    from ml_metadata import metadata_store
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    file = str(project.root / "metadata.sqlite")
    store = metadata_store.MetadataStore(
        mlmd.ConnectionConfig(sqlite=mlmd.SqliteMetadataSourceConfig(filename_uri=file))
    )
    open_ = (mlmd.Execution.NEW, mlmd.Execution.RUNNING)
    contexts = [
        context
        for execution in store.get_executions()
        if execution.last_known_state in open_
        for context in store.get_contexts_by_execution(execution.id)
    ]
    return sorted({context.name for context in contexts if context.type == "pipeline_run"})


def node_runs(scene: Scene, before: set[Path], node: str) -> bool:
    """Return True while a node of a run that was not there before is running."""
    for folder in scene.runs() - before:
        states = {record["id"]: record["state"] for record in json.loads((folder / "run.json").read_text())["nodes"]}
        return states.get(node) == "running"
    return False


def serves(victim: Victim) -> bool:
    """Return True once the model server of a run listens."""
    servers = [pid for pid in victim.family() if MODEL_SERVER in command_line(pid)]
    return bool(listening(servers))


@pytest.fixture
def scene(tmp_path: Path, pushed: Project) -> Iterator[Scene]:
    scene = Scene(pushed.copy(tmp_path / "own"), tmp_path / "temporary")
    scene.temporary.mkdir()
    yield scene
    processes.terminate(pid for pid in psutil.pids() if MARK in processes.environment(pid))


@pytest.mark.system  # four starts from the interpreter
def test_a_run_that_ends_by_a_signal_leaves_nothing_after_the_next_start(scene: Scene) -> None:
    """Each run is the next start after the one before it; all but a few nodes are cached."""
    budget = ("--set", "serving.budget.p99_ms=5000")
    moments = [
        (signal.SIGTERM, "Trainer.linear", ("--set", "ensemble.members.linear.epochs=3000", *budget)),
        (signal.SIGHUP, "Trainer.linear", ("--set", "ensemble.members.linear.epochs=3001", *budget)),
        (signal.SIGKILL, "ServingValidator", budget),
    ]
    victims: list[Victim] = []
    for number, node, options in moments:
        before = scene.runs()
        victim = scene.start(*options)
        eventually(lambda: node_runs(scene, before, node), START_S, lambda: (node, victim.process.poll()))  # noqa: B023
        if node == "ServingValidator":
            eventually(lambda: serves(victim), START_S)  # noqa: B023
        (running,) = scene.runs() - before
        assert outcomes(scene.project)[running.name] == "running"
        for earlier in victims[-1:]:
            scene.assert_nothing_is_left(earlier, {running})
        assert set(unfinished(scene.project)) <= {running.name}
        scene.end(victim, number, before)
        assert victim.process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)
        victims.append(victim)
    assert victims[-1].ports
    assert scene.project.run(*budget).returncode == 0
    scene.assert_nothing_is_left(victims[-1], set())
    assert unfinished(scene.project) == []
    ended = outcomes(scene.project)
    assert [ended[victim.folder.name] for victim in victims] == ["interrupted"] * 3


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_thirty_runs_that_end_at_any_moment_leave_nothing(tmp_path: Path) -> None:
    scene = Scene(make(tmp_path / "own"), tmp_path / "temporary")
    scene.temporary.mkdir()
    chance = random.Random(16)
    victims: list[Victim] = []  # since the last start that came so far as to have a record
    for number in itertools.islice(itertools.cycle(SIGNALS), 30):
        before = scene.runs()
        victim = scene.start("--no-cache")
        time.sleep(chance.uniform(0, LONGEST_S))  # a random moment, not a wait for something
        if scene.runs() - before:
            for earlier in victims:
                scene.assert_nothing_is_left(earlier, scene.runs() - before)
            victims.clear()
        scene.end(victim, number, before)
        victims.append(victim)
        if victim.folder and victim.process.returncode in (-number, 130):
            assert outcomes(scene.project)[victim.folder.name] == "interrupted"
    done = scene.project.run(real=True)
    assert done.returncode in (0, 3), done.stdout + done.stderr
    for victim in victims:
        scene.assert_nothing_is_left(victim, set())
    assert unfinished(scene.project) == []
    assert "running" not in outcomes(scene.project).values()
