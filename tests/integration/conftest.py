"""A user's project outside the clone, run by the command line as its user would."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration import fork_server

if TYPE_CHECKING:
    from tests.integration.airflow_here import Here, Hook, Mailbox

CLONE = Path(__file__).parents[2]
BENISON = Path(sys.executable).with_name("benison")
# Before a command: without it, the user root writes to folders of any permissions.
UNPRIVILEGED = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a temporary folder that all workers of xdist share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session", autouse=True)
def forked_processes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Start Benison's processes as forks (tests/integration/fork_server.py); all workers of xdist share the servers."""
    if request.config.getoption("real_processes"):
        yield
        return
    with fork_server.install(shared_folder(tmp_path_factory) / "fork-servers"):
        yield


@pytest.fixture
def real_processes() -> Iterator[None]:
    """Start every process of the test from the interpreter."""
    with fork_server.bypassed():
        yield


@dataclass(frozen=True)
class Project:
    """A folder with a YAML, its own features and models, a CSV, and a ROOT."""

    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / ".benison"

    @property
    def csv(self) -> Path:
        return self.folder / "penguins.csv"

    @property
    def models(self) -> Path:
        return self.folder / "my_models.py"

    @property
    def base(self) -> Path:
        return self.root / "serving" / "birds"

    def command(self, *words: str) -> list[str]:
        return [str(BENISON), *words]

    def benison(self, *words: str, seconds: float = 600, real: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command; `real` starts it and its workers from the interpreter."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("BENISON_")} | {"COLUMNS": "200"}
        return subprocess.run(
            self.command(*words),
            executable=BENISON if real else None,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    def run(self, *options: str, real: bool = False) -> subprocess.CompletedProcess[str]:
        return self.benison("run", "birds.yaml", *options, real=real)

    def first_run(self) -> dict[str, Any]:
        return dict(json.loads(min(self.root.glob("runs/birds-*/run.json")).read_text()))

    def last_run(self) -> dict[str, Any]:
        newest = max(self.root.glob("runs/birds-*/run.json"), key=lambda file: file.stat().st_mtime)
        return dict(json.loads(newest.read_text()))

    def states(self) -> dict[str, str]:
        return {node["id"]: node["state"] for node in self.last_run()["nodes"]}

    def versions(self) -> list[str]:
        return sorted(path.name for path in self.base.iterdir() if path.name.isdigit())

    def copy(self, folder: Path) -> Project:
        """The project as it is, with its ROOT, in another folder; paths in ML Metadata still name this one."""
        shutil.copytree(self.folder, folder)
        return Project(folder)


def make(folder: Path) -> Project:
    """The penguins as somebody's own project: the shipped features and models as files, fewer epochs."""
    from palmerpenguins import __file__ as package

    folder.mkdir(parents=True)
    project = Project(folder)
    shutil.copy(Path(package).parent / "data" / "penguins.csv", project.csv)
    shutil.copy(CLONE / "pipelines/penguins/features.py", folder / "my_features.py")
    shutil.copy(CLONE / "pipelines/penguins/models.py", project.models)
    (folder / "birds.yaml").write_text(
        """
name: birds
problem: multiclass
label: species
data: {csv: penguins.csv, missing: ["", NA]}
features: my_features.py
models: my_models.py
slices: [island]
ensemble:
  members:
    linear: {epochs: 30, hyperparameters: {learning_rate: 0.03}}
    quadratic: {epochs: 20, hyperparameters: {learning_rate: 0.01, dropout: 0.2}}
    deep:
      epochs: 12
      hyperparameters: {dropout: 0.1}
      tuner: {trials: 2, epochs: 3, space: {units: [16, 32], learning_rate: {min: 0.003, max: 0.03, sampling: log}}}
blessing:
  rules: [{metric: accuracy, min: 0.8}]
"""
    )
    return project


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return the project of all workers whose first run pushed a version; only test_main_job runs it again."""
    folder = shared_folder(tmp_path_factory) / "pushed"
    project = Project(folder / "pipelines")  # a name that a user may well choose
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            shutil.rmtree(project.folder, ignore_errors=True)
            done = make(project.folder).run()
            assert done.returncode == 0, done.stdout + done.stderr
            project.copy(folder / "after-first-run")
            (folder / "done").touch()
    return project


@pytest.fixture(scope="session")
def pushed(original: Project) -> Project:
    """Return the project as its first run left it, to read; its artifacts are in the folder of `original`."""
    return Project(original.folder.with_name("after-first-run"))


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Install Benison's wheel in a new environment; the variables let it find its dependencies without installing them.

    Python ignores .pth files on PYTHONPATH, so the clone's editable install stays out of it.
    """
    folder = tmp_path_factory.mktemp("wheel")
    uv = [sys.executable, str(CLONE / ".ci/bootstrap.py"), "uv"]
    for words in (
        ["build", "--quiet", "--wheel", "--out-dir", str(folder / "dist"), str(CLONE)],
        ["venv", "--quiet", "--python", sys.executable, str(folder / "venv")],
    ):
        subprocess.run([*uv, *words], check=True, cwd=CLONE, capture_output=True, timeout=300)
    (wheel,) = (folder / "dist").glob("*.whl")
    install = ["pip", "install", "--quiet", "--no-deps", "--python", str(folder / "venv/bin/python"), str(wheel)]
    subprocess.run([*uv, *install], check=True, cwd=folder, capture_output=True, timeout=300)
    return folder / "venv/bin/benison", {"PYTHONPATH": sysconfig.get_path("purelib")}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Models for the model server by offset; a version's offset is its number."""
    from tests.integration.model_server import write_model

    folder = tmp_path_factory.mktemp("made")
    return {offset: write_model(folder / str(offset), offset) for offset in (1, 2, 3)}


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server, moto's."""
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same with an empty bucket, `bucket`, and an environment that leads there and nowhere else."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    leads_there = {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",  # this machine has no role to ask for
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "no_proxy": "127.0.0.1",
    }
    for name, value in leads_there.items():
        monkeypatch.setenv(name, value)
    for method, path in (("POST", "/moto-api/reset"), ("PUT", "/bucket")):
        urllib.request.urlopen(urllib.request.Request(s3_server + path, method=method)).close()
    return s3_server


@pytest.fixture(scope="session")
def hook() -> Iterator[Hook]:
    """Start a webhook that Airflow's notifier posts to."""
    from tests.integration.airflow_here import Hook

    hook = Hook()
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


@pytest.fixture(scope="session")
def mailbox() -> Iterator[Mailbox]:
    """Start a mail server for Airflow's e-mails."""
    from tests.integration.airflow_here import Mailbox

    mailbox = Mailbox()
    yield mailbox
    mailbox.server.stop()


@pytest.fixture(scope="session")
def here(tmp_path_factory: pytest.TempPathFactory, hook: Hook, mailbox: Mailbox) -> Iterator[Here]:
    """The one Airflow of the tests; at its end no process may be left."""
    from tests.integration import airflow_here as airflow

    folder = tmp_path_factory.mktemp("airflow")
    airflow.write(folder / "manifests", *airflow.ACTS)
    with airflow.running(folder, folder / "manifests", folder / "root", hook.settings | mailbox.settings) as here:
        yield here
    assert airflow.alive(airflow.processes(here)) == []
