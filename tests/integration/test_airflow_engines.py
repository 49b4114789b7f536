"""Airflow on other databases and executors, and with a killed scheduler: runs end with the same result."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from benison.pipelines.records import runs
from benison.pipelines.running.scheduled_run import IR
from benison.serving.errors import UsageError
from tests.integration import lineage
from tests.integration.airflow_bad import bad_ones
from tests.integration.airflow_birds import PATIENCE, SLOW, compiled, recorded
from tests.integration.airflow_here import (
    ACTS,
    AIRFLOW,
    CLONE,
    Here,
    alive,
    eventually,
    manifest,
    processes,
    running,
    write,
)
from tests.integration.model_server import free_port
from tests.integration.postgresql import postgresql, system_program

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1200)]

_BUNDLES = "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"
WIDE = manifest("acts_wide", *({"id": f"Acts{number}"} for number in range(8)))


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    write(tmp_path / "manifests", *ACTS, WIDE)
    return tmp_path / "manifests"


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    """Start a PostgreSQL on loopback and return its SQLAlchemy address."""
    with postgresql(tmp_path, "airflow") as address:
        yield address.replace("postgresql", "postgresql+psycopg2", 1)


def _two_at_once(here: Here) -> None:
    """Run two pipelines at the same time; one of them has eight parallel nodes."""
    runs = {dag: here.api.trigger(dag) for dag in ("acts_wide", "acts_well")}
    for dag, run in runs.items():
        assert set(here.ended(dag, run, 300).values()) == {"success"}


def test_on_postgresql_two_pipelines_run_at_once(tmp_path: Path, manifests: Path, postgres: str) -> None:
    with running(tmp_path, manifests, tmp_path / "root", {"BENISON_AIRFLOW_DB": postgres}) as here:
        _two_at_once(here)
        assert not (here.root / "airflow/airflow.sqlite").exists()
        with bad_ones(here):
            assert set(here.act("acts_well")[1].values()) == {"success"}
        with pytest.raises(UsageError, match="Invalid input for param seed: 100000000000000000000 is greater than"):
            here.api.trigger("acts_well", conf={"seed": 10**20})
        run, _ = here.act("acts_fails")
        (here.acted("acts_fails", run, "begin").parent / "repaired").touch()
        clear = {"dry_run": False, "dag_run_id": run, "only_failed": True}
        here.ask("POST", "dags/acts_fails/clearTaskInstances", clear)
        assert set(here.ended("acts_fails", run).values()) == {"success"}
        assert {past.outcome for past in runs.history(here.root) if past.pipeline == "acts_fails"} == {"complete"}


@pytest.mark.timeout(2 * PATIENCE + 600)
def test_on_sqlite_two_pipelines_that_train_at_once_lose_nothing(tmp_path: Path) -> None:
    assert _two_that_train(tmp_path, {}) == {"metadata.sqlite", "airflow/airflow.sqlite"}


@pytest.mark.timeout(2 * PATIENCE + 600)
def test_on_postgresql_two_pipelines_that_train_at_once_lose_nothing(tmp_path: Path, postgres: str) -> None:
    """ML Metadata and Airflow both use PostgreSQL."""
    server = postgres.replace("postgresql+psycopg2", "postgresql").rpartition("/")[0]
    create = [system_program("psql"), f"{server}/airflow", "-c", "CREATE DATABASE metadata"]
    subprocess.run(create, check=True, capture_output=True)
    engines = {"BENISON_AIRFLOW_DB": postgres, "BENISON_METADATA": f"{server}/metadata"}
    assert _two_that_train(tmp_path, engines) == set()


def _two_that_train(folder: Path, engines: Mapping[str, str]) -> set[str]:
    """Run two pipelines of two Trainers each at the same time, and check their records.

    Args:
        folder: the folder of Airflow, its ROOT and the projects.
        engines: settings of databases other than SQLite.

    Returns:
        The files of SQLite databases in ROOT, which holds Airflow's home.
    """
    names = ("gulls", "skuas")
    manifests = folder / "manifests"
    write(manifests)
    with running(folder, manifests, folder / "root", engines) as here:
        for name in names:
            compiled(here, folder / name, name, SLOW)
        triggered = {name: here.api.trigger(name) for name in names}
        states = {name: here.ended(name, run, 2 * PATIENCE) for name, run in triggered.items()}
        assert [set(of_tasks.values()) for of_tasks in states.values()] == [{"success"}] * 2
        runs = [recorded(here, name, run) for name, run in triggered.items()]
    for run in runs:
        executions = lineage.of_run(here.root, run.pipeline, run.id, engines)
        assert sorted(execution.node for execution in executions) == sorted(node.id for node in run.nodes)
        lineage.assert_whole(executions, run.folder / IR)
        assert run.outcome == "pushed"
        (version,) = [path for path in (here.root / "serving" / run.pipeline).iterdir() if path.name.isdigit()]
        assert (version / "saved_model.pb").is_file()
    logs = [folder / "standalone.log", *here.root.glob("airflow/logs/**/*.log"), *here.root.glob("runs/*/*.log")]
    assert len(logs) > 2 * sum(len(run.nodes) for run in runs)  # each task has a log of Airflow's and one of ours
    assert [log for log in logs if "database is locked" in log.read_text(errors="replace")] == []
    return {path.relative_to(here.root).as_posix() for path in here.root.glob("**/*.sqlite")}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """Start a Redis on loopback and return its address."""
    port = free_port()
    command = [
        system_program("redis-server"),
        "--bind",
        "127.0.0.1",
        "--port",
        str(port),
        "--save",
        "",
        "--dir",
        str(tmp_path),
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    yield f"redis://127.0.0.1:{port}/0"
    server.terminate()
    server.wait(30)


@contextlib.contextmanager
def _worker(here: Here, name: str, folder: Path) -> Iterator[int]:
    """Run a Celery worker under a guard and return the guard's process id.

    It has a folder of its own, with dags/, the manifests and TFX's interpreter in it, as on another machine; it shares
    only ROOT.
    """
    command = [sys.executable, "-I", str(CLONE / "dags/benison_guard.py"), "10", str(AIRFLOW), "celery", "worker"]
    own = folder / name
    shutil.copytree(CLONE / "dags", own / "dags", ignore=shutil.ignore_patterns("__pycache__", "uv.lock"))
    shutil.copytree(here.manifests, own / "manifests")
    shutil.copy(folder / "actor", own / "actor")
    bundles = json.loads(here.settings[_BUNDLES])
    for bundle in bundles:
        bundle["kwargs"]["path"] = str(own / Path(bundle["kwargs"]["path"]).name)
    places = {
        _BUNDLES: json.dumps(bundles),
        "AIRFLOW__CORE__DAGS_FOLDER": str(own / "dags"),
        "BENISON_MANIFESTS": str(own / "manifests"),
        "BENISON_PYTHON": str(own / "actor"),
        "PYTHONPATH": f"{own / 'dags'}:{CLONE / '.ci/airflow_modules'}",
    }
    with (folder / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--celery-hostname", name, "--concurrency", "2", "--skip-serve-logs"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, **here.settings, **places},
            cwd=own,
        )
    try:
        eventually(lambda: f"{name} ready" in (folder / f"{name}.log").read_text(), 120)
        yield process.pid
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(60)


def test_on_celery_two_workers_in_folders_of_their_own_share_the_nodes(
    tmp_path: Path, manifests: Path, postgres: str, redis: str
) -> None:
    settings = {
        "BENISON_AIRFLOW_DB": postgres,
        "BENISON_PYTHON": str(tmp_path / "actor"),
        "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
        "AIRFLOW__CELERY__BROKER_URL": redis,
        "AIRFLOW__CELERY__RESULT_BACKEND": postgres.replace("postgresql+psycopg2", "db+postgresql+psycopg2"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres,
    }
    with (
        running(tmp_path, manifests, tmp_path / "root", settings) as here,
        _worker(here, "first", tmp_path),
        _worker(here, "second", tmp_path),
    ):
        _two_at_once(here)
        logs = [(tmp_path / f"{name}.log").read_text() for name in ("first", "second")]
        assert all("succeeded" in log for log in logs)
    begun = [json.loads(note.read_text()) for note in here.root.glob("acts/*/begin")]
    manifests_used = {Path(note["argv"][note["argv"].index("--manifest") + 1]).parent for note in begun}
    assert manifests_used <= {tmp_path / name / "manifests" for name in ("first", "second")}
    places = {json.loads(note.read_text())["environment"]["BENISON_PYTHON"] for note in here.root.glob("acts/*/node*")}
    assert places == {str(tmp_path / name / "actor") for name in ("first", "second")}


def test_a_run_continues_after_the_scheduler_was_killed(tmp_path: Path, manifests: Path) -> None:
    root, quick = tmp_path / "root", {"AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15"}
    with running(tmp_path, manifests, root, quick) as here:
        run = here.api.trigger("acts_sleeps")
        here.acted("acts_sleeps", run, "processes")
        started = processes(here)
        (scheduler,) = _processes_named(b"airflow\0scheduler", here.process.pid)
        os.kill(scheduler, signal.SIGKILL)
        assert here.process.wait(60) == 1
        assert alive(started) == []
    with running(tmp_path, manifests, root, quick) as here:
        assert set(here.ended("acts_sleeps", run, 300).values()) == {"success"}


def test_an_orderly_restart_uses_up_no_retry(tmp_path: Path) -> None:
    root, manifests = tmp_path / "root", tmp_path / "manifests"
    write(manifests, manifest("acts_restarted", {"id": "Restarted"}, retries=0))
    with running(tmp_path, manifests, root, {}) as here:
        run = here.api.trigger("acts_restarted")
        note = here.acted("acts_restarted", run, "processes")
        started = processes(here)
    assert alive(started) == []
    (note.parent / "restarted").touch()
    with running(tmp_path, manifests, root, {}) as here:
        assert set(here.ended("acts_restarted", run, 300).values()) == {"success"}
        assert here.api.tasks("acts_restarted", run)["Restarted"]["try_number"] == 1


def _processes_named(words: bytes, below: int) -> list[int]:
    """Return the processes with these words in their command line whose guard is a child of `below`."""
    ids = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            guard = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            parent = int(Path(f"/proc/{guard}/stat").read_text().rpartition(")")[2].split()[1])
            if parent == below and words in (folder / "cmdline").read_bytes():
                ids.append(int(folder.name))
    return ids
