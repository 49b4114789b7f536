"""A whole Airflow on this machine, for trying and for the tests: what `make airflow` runs.

    python .ci/airflow_standalone.py [--root ROOT] [--port N] [--manifests FOLDER] [--dags FOLDER] [PIPELINE...]

Compiles the pipelines (default: every shipped one) into ROOT/airflow/manifests, starts Airflow's four components on
loopback with LocalExecutor, waits until they are healthy and every DAG is there, prints where it is, and on Ctrl-C or
TERM ends all that was started. BENISON_AIRFLOW_DB names another database than SQLite, such as
postgresql+psycopg2://user:password@127.0.0.1/airflow. Settings that Airflow takes from its environment (AIRFLOW__…) win
over those set here. Each component runs under dags/benison_guard.py, so that nothing outlives this process either way.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CLONE = Path(__file__).resolve().parent.parent
GUARD = CLONE / "dags/benison_guard.py"
USER = "admin"
# In each: the arguments of `airflow`. Logs are read from their files: with --skip-serve-logs no port is open for them,
# which Airflow would bind on every interface.
COMPONENTS: Mapping[str, Sequence[str]] = {
    "api-server": ("api-server", "--host", "127.0.0.1"),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
START = 120.0  # seconds until all is healthy
PATIENCE = 10.0  # seconds between TERM and KILL
WAIT_FOR_WRITERS = 60.0  # seconds that a process waits for another one's writes to SQLite


class StartError(Exception):
    """Airflow did not start; says why, and which log says more."""


def settings(home: Path, port: int, dags: Path, manifests: Path, root: Path) -> dict[str, str]:
    """Airflow's settings, and those that the DAG files and the operator read."""
    url = f"http://127.0.0.1:{port}"
    kept = remembered(home / "secrets.json")
    airflow = {
        "CORE__DAGS_FOLDER": dags,
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__LOAD_EXAMPLES": False,
        "CORE__FERNET_KEY": kept["fernet_key"],
        "CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": home / "passwords.json",
        "CORE__PARALLELISM": max(4, 2 * (os.cpu_count() or 1)),
        "API__BASE_URL": url,
        "API__PORT": port,
        "API__SECRET_KEY": kept["secret_key"],
        "API__WORKERS": 1,
        "API_AUTH__JWT_SECRET": kept["jwt_secret"],
        "DATABASE__SQL_ALCHEMY_CONN": os.environ.get("BENISON_AIRFLOW_DB") or sqlite(home),
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": 10,  # seconds until a pipeline compiled meanwhile is there
        "SCHEDULER__ENABLE_HEALTH_CHECK": False,
        "USAGE_DATA_COLLECTION__ENABLED": False,
    }
    return {
        "AIRFLOW_HOME": str(home),
        **{f"AIRFLOW__{name}": str(value) for name, value in airflow.items()},
        **{name: value for name, value in os.environ.items() if name.startswith("AIRFLOW__")},
        "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1", "localhost"])),
        "BENISON_MANIFESTS": str(manifests),
        "BENISON_PYTHON": os.environ.get("BENISON_PYTHON") or str(CLONE / ".venv/bin/python"),
        "BENISON_ROOT": str(root),
    }


def sqlite(home: Path) -> str:
    """Airflow's own SQLite database, for SQLAlchemy.

    One process writes to it at a time. By default the others give up after 5 s with "database is locked"; here they
    wait longer.
    """
    return f"sqlite:///{home / 'airflow.sqlite'}?timeout={WAIT_FOR_WRITERS:.0f}"


def remembered(file: Path) -> dict[str, str]:
    """Keys and the password, made at the first start and kept: readable by their owner alone."""
    try:
        return dict(json.loads(file.read_text()))
    except FileNotFoundError:
        pass
    from base64 import urlsafe_b64encode

    made = {name: secrets.token_urlsafe(64) for name in ("secret_key", "jwt_secret")}
    made |= {"fernet_key": urlsafe_b64encode(os.urandom(32)).decode(), "password": secrets.token_urlsafe(12)}
    write_privately(file, json.dumps(made))
    return made


def write_privately(file: Path, text: str) -> None:
    """Writes a file that nobody else may read."""
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)


class Standalone:
    """The components of one Airflow. A context manager: leaving it ends them.

    Args:
        airflow: the program `airflow`.
        environment: theirs.
        logs: folder with one log per component.
    """

    def __init__(self, airflow: Path, environment: Mapping[str, str], logs: Path) -> None:
        self._airflow = airflow
        self._environment = environment
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Standalone:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():  # all at once, then wait
            if process.stdin is not None:
                process.stdin.close()
        for process in self._running.values():
            process.wait()

    def once(self, *arguments: str) -> None:
        """Runs a command of Airflow's to its end.

        Raises:
            StartError: it failed.
        """
        log = self._logs / f"{arguments[0]}.log"
        with log.open("wb") as out:
            done = subprocess.run([self._airflow, *arguments], env=self._environment, stdout=out, stderr=out)
        if done.returncode:
            raise StartError(f"airflow {' '.join(arguments)} failed; see {log}")

    def start(self, name: str) -> None:
        """Starts a component."""
        command = [sys.executable, "-I", str(GUARD), str(PATIENCE), str(self._airflow), *COMPONENTS[name]]
        with (self._logs / f"{name}.log").open("ab") as out:
            self._running[name] = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=out, stderr=out, env=self._environment, start_new_session=True
            )

    def check(self) -> None:
        """Looks whether all still run.

        Raises:
            StartError: one has ended.
        """
        for name, process in self._running.items():
            if process.poll() is not None:
                raise StartError(
                    f"airflow {name} ended with exit code {process.returncode}; see {self._logs / name}.log"
                )


def ask(url: str, token: str = "", body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """One request to Airflow's API."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return dict(json.loads(answer.read()))


def wait_for(standalone: Standalone, address: str) -> None:
    """Waits until a page answers.

    Raises:
        StartError: a component ended, or it takes too long.
    """
    until = time.monotonic() + START
    while time.monotonic() < until:
        standalone.check()
        with contextlib.suppress(OSError):
            ask(address)
            return
        time.sleep(0.2)
    raise StartError(f"after {START:.0f} s {address} does not answer; see the api-server's log")


def wait_until_ready(standalone: Standalone, url: str, password: str, expected: set[str]) -> None:
    """Waits until the components are healthy and the DAGs are listed.

    Raises:
        StartError: one ended, a DAG file cannot be read, or it takes too long.
    """
    until, missing = time.monotonic() + START, "the api-server"
    while time.monotonic() < until:
        standalone.check()
        with contextlib.suppress(OSError):
            health = ask(f"{url}/api/v2/monitor/health")
            sick = [name for name, said in health.items() if said and said.get("status") not in ("healthy", None)]
            token = ask(f"{url}/auth/token", body={"username": USER, "password": password})["access_token"]
            errors = ask(f"{url}/api/v2/importErrors", token)["import_errors"]
            if errors:
                raise StartError(f"{errors[0]['filename']}: {errors[0]['stack_trace'].strip().splitlines()[-1]}")
            listed = {dag["dag_id"] for dag in ask(f"{url}/api/v2/dags?limit=500", token)["dags"]}
            missing = ", ".join([*sick, *sorted(expected - listed)])
            if not missing:
                return
        time.sleep(0.5)
    raise StartError(f"after {START:.0f} s Airflow still lacks {missing}")


def compile_pipelines(names: Sequence[str], into: Path, root: Path) -> None:
    """Writes the manifests of pipelines; of every shipped one where none is named.

    Raises:
        StartError: one cannot be compiled; the command has said why.
    """
    shipped = sorted(file.stem for file in (CLONE / "configs").glob("*.yaml"))
    command = [CLONE / ".venv/bin/benison", "compile", *(names or shipped), "-o", into, "--root", root]
    if subprocess.run(list(map(str, command))).returncode:
        raise StartError("benison compile failed; its message is above")


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(arguments: Sequence[str]) -> int:
    """Runs Airflow until it is asked to end; 1 where it does not start."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pipelines", nargs="*", metavar="PIPELINE")
    parser.add_argument("--root", type=Path, default=Path(os.environ.get("BENISON_ROOT") or ".benison"))
    parser.add_argument(
        "--port", type=int, default=int(os.environ.get("BENISON_AIRFLOW_PORT") or 8080), help="0: a free one"
    )
    parser.add_argument("--manifests", type=Path, help="a folder of compiled pipelines: nothing is compiled")
    parser.add_argument("--dags", type=Path, default=CLONE / "dags")
    parser.add_argument("--airflow", type=Path, default=CLONE / ".airflow-venv/bin/airflow")
    given = parser.parse_args(arguments)
    root = given.root.absolute()
    try:
        serve(given, root, root / "airflow", given.port or free_port())
    except StartError as error:
        print(f"airflow: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("airflow: stopped", flush=True)
    return 0


def serve(given: argparse.Namespace, root: Path, home: Path, port: int) -> None:
    """Starts everything, says where it is, and waits.

    Raises:
        StartError: it did not start, or a component ended.
    """
    logs = home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    manifests = (given.manifests or home / "manifests").absolute()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise StartError(
                f"port {port} is taken; give another one: BENISON_AIRFLOW_PORT=8081 make airflow"
            ) from None
    if given.manifests is None:
        compile_pipelines(given.pipelines, manifests, root)
    # SIGINT as well: a shell's background jobs start with it ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    changed = settings(home, port, given.dags.absolute(), manifests, root)
    password = remembered(home / "secrets.json")["password"]
    write_privately(home / "passwords.json", json.dumps({USER: password}))
    url = f"http://127.0.0.1:{port}"
    expected = {file.stem for file in manifests.glob("*.json")}
    with Standalone(given.airflow.absolute(), {**os.environ, **changed}, logs) as standalone:
        print("airflow: starting (half a minute)", flush=True)
        standalone.once("db", "migrate")
        # A scheduler that starts first would fail the tasks of an earlier start: they find no API to report to.
        api, *others = COMPONENTS
        standalone.start(api)
        wait_for(standalone, f"{url}/api/v2/version")
        for name in others:
            standalone.start(name)
        wait_until_ready(standalone, url, password, expected)
        print(
            f"\nAirflow is up: {url}\n  user      {USER}\n  password  {password}\n  logs      {logs}\n\n"
            f"For `benison run NAME --on airflow` and `benison span add`:\n  export BENISON_AIRFLOW_URL={url} "
            f"BENISON_AIRFLOW_USER={USER} BENISON_AIRFLOW_PASSWORD={password}\n\nCtrl-C ends it.",
            flush=True,
        )
        while True:
            standalone.check()
            time.sleep(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
