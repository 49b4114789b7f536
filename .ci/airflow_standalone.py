"""Run a complete Airflow on this machine, to try it and for the tests. `make airflow` runs this.

    python .ci/airflow_standalone.py [--root ROOT] [--port N] [--manifests FOLDER] [--dags FOLDER] [PIPELINE...]

It compiles the pipelines (default: every shipped one) into ROOT/airflow/manifests and starts Airflow's four components
on loopback with LocalExecutor. When they are healthy and list every DAG, it prints their address. Ctrl-C or SIGTERM
ends all of them. BENISON_AIRFLOW_DB replaces SQLite by another database, such as
postgresql+psycopg2://user:password@127.0.0.1/airflow. Settings in Airflow's environment variables (AIRFLOW__…) take
precedence over those set here. Each component runs under dags/benison_guard.py, so none outlives this process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

CLONE = Path(__file__).resolve().parent.parent
GUARD = CLONE / "dags/benison_guard.py"
USER = "admin"
# The arguments of `airflow` for each component.
COMPONENTS: Mapping[str, Sequence[str]] = {
    "api-server": ("api-server", "--host", "127.0.0.1"),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
# Airflow's own log server, which it would start on every interface. The pages ask it for the logs of running tasks.
LOG_SERVER = ("-m", "uvicorn", "airflow.utils.serve_logs.log_server:create_app", "--factory", "--host", "127.0.0.1")
MODULES = Path(__file__).resolve().parent / "airflow_modules"  # modules that Airflow imports
UMASK = 0o027  # of Airflow: its files are for the owner and the group
SETTINGS = "airflow.env"
DAG_FILE = ".dag.py"  # how the name of a pipeline's DAG file ends
START = 120.0  # seconds until everything must be healthy
NEW_PIPELINES = 10  # seconds until Airflow looks for new DAG files and reads the known ones again
PATIENCE = 10.0  # seconds between SIGTERM and SIGKILL
WAIT_FOR_WRITERS = 60.0  # seconds that a process waits while another one writes to SQLite


class StartError(Exception):
    """Airflow did not start; the message gives the reason and the log."""


def settings(home: Path, port: int, dags: Path, manifests: Path, root: Path, log_port: int) -> dict[str, str]:
    """Return Airflow's settings, and those that the DAG files and the operator read."""
    url = f"http://127.0.0.1:{port}"
    kept = load_secrets(home / "secrets.json")
    airflow = {
        "CORE__DAGS_FOLDER": dags,
        "DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles(dags, manifests)),
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__HOSTNAME_CALLABLE": "benison_loopback.hostname",  # where the api-server asks for logs
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
        "DAG_PROCESSOR__REFRESH_INTERVAL": NEW_PIPELINES,
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": NEW_PIPELINES,
        "LOGGING__FILE_TASK_HANDLER_NEW_FILE_PERMISSIONS": "0o640",
        "LOGGING__FILE_TASK_HANDLER_NEW_FOLDER_PERMISSIONS": "0o750",
        "LOGGING__TRIGGER_LOG_SERVER_PORT": log_port,
        "LOGGING__WORKER_LOG_SERVER_PORT": log_port,
        "SCHEDULER__ENABLE_HEALTH_CHECK": False,
        "USAGE_DATA_COLLECTION__ENABLED": False,
    }
    return {
        "AIRFLOW_HOME": str(home),
        **{f"AIRFLOW__{name}": str(value) for name, value in airflow.items()},
        **{name: value for name, value in os.environ.items() if name.startswith("AIRFLOW__")},
        "PYTHONPATH": os.pathsep.join(filter(None, [str(dags), str(MODULES), os.environ.get("PYTHONPATH")])),
        "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1", "localhost"])),
        "BENISON_MANIFESTS": str(manifests),
        "BENISON_PYTHON": os.environ.get("BENISON_PYTHON") or str(CLONE / ".venv/bin/python"),
        "BENISON_ROOT": str(root),
    }


def write_settings(file: Path, variables: Mapping[str, str], airflow: Path) -> None:
    """Write the settings for a shell, in which `airflow` is then this Airflow; they contain secrets.

    PYTHONPATH is set for `airflow` only, because other programs of the shell must not see it.
    """
    exports = [f"export {name}={shlex.quote(text)}" for name, text in variables.items() if name != "PYTHONPATH"]
    program = f'PYTHONPATH={shlex.quote(variables["PYTHONPATH"])} {shlex.quote(str(airflow))} "$@"'
    head = f"# Written by `make airflow`, again at each start. For `airflow` in a shell: . {shlex.quote(str(file))}"
    write_privately(file, "\n".join([head, *exports, f"airflow() {{ {program}; }}", ""]))


def bundles(dags: Path, manifests: Path) -> list[dict[str, Any]]:
    """Return Airflow's DAG bundles: the folder of dags/, and that of the manifests unless it is inside."""
    local = "airflow.dag_processing.bundles.local.LocalDagBundle"
    folders = {"dags-folder": dags} | ({} if manifests.is_relative_to(dags) else {"benison-manifests": manifests})
    return [{"name": name, "classpath": local, "kwargs": {"path": str(folder)}} for name, folder in folders.items()]


def sqlite(home: Path) -> str:
    """Return the SQLAlchemy address of Airflow's own SQLite database.

    Only one process can write to it at a time. By default the others fail after 5 s with "database is locked"; here
    they wait longer.
    """
    return f"sqlite:///{home / 'airflow.sqlite'}?timeout={WAIT_FOR_WRITERS:.0f}"


def load_secrets(file: Path) -> dict[str, str]:
    """Load the keys and the password; create them at the first start, in a file that only its owner can read."""
    try:
        return dict(json.loads(file.read_text()))
    except FileNotFoundError:
        pass
    from base64 import urlsafe_b64encode

    created = {name: secrets.token_urlsafe(64) for name in ("secret_key", "jwt_secret")}
    created |= {"fernet_key": urlsafe_b64encode(os.urandom(32)).decode(), "password": secrets.token_urlsafe(12)}
    write_privately(file, json.dumps(created))
    return created


def write_privately(file: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(text)


def open_log(file: Path, how: int) -> BinaryIO:
    """Open a log to write to; it may show rows of the data, so only its owner and the group can read it."""
    return open(os.open(file, os.O_WRONLY | os.O_CREAT | how, 0o640), "wb")


class Standalone:
    """The components of one Airflow, as a context manager that ends them.

    Args:
        airflow: the program `airflow`.
        environment: the components' environment.
        logs: the folder of the components' logs.
    """

    def __init__(self, airflow: Path, environment: Mapping[str, str], logs: Path) -> None:
        self._airflow = airflow
        self._environment = environment
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Standalone:
        return self

    def __exit__(self, *_: object) -> None:
        api, *others = COMPONENTS
        for names in (others, [api]):  # tasks that end report to the api-server, so it ends last
            processes = [self._running[name] for name in names if name in self._running]
            for process in processes:
                if process.stdin is not None:
                    process.stdin.close()
            for process in processes:
                process.wait()

    def once(self, *arguments: str) -> None:
        """Run a command of Airflow's to its end.

        Raises:
            StartError: the command failed.
        """
        log = self._logs / f"{arguments[0]}.log"
        with open_log(log, os.O_TRUNC) as out:
            done = subprocess.run([self._airflow, *arguments], env=self._environment, stdout=out, stderr=out)
        if done.returncode:
            raise StartError(f"airflow {' '.join(arguments)} failed; see {log}")

    def start(self, name: str) -> None:
        """Start a component."""
        self._start(name, [str(self._airflow), *COMPONENTS[name]])

    def start_log_server(self, port: int) -> None:
        """Start Airflow's log server on loopback."""
        python = self._airflow.with_name("python")
        self._start("log-server", [str(python), *LOG_SERVER, "--port", str(port), "--no-access-log"])

    def _start(self, name: str, words: Sequence[str]) -> None:
        command = [sys.executable, "-I", str(GUARD), str(PATIENCE), *words]
        with open_log(self._logs / f"{name}.log", os.O_APPEND) as out:
            self._running[name] = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=out, stderr=out, env=self._environment, start_new_session=True
            )

    def check(self) -> None:
        """Check that all components are running.

        Raises:
            StartError: a component has ended.
        """
        for name, process in self._running.items():
            if process.poll() is not None:
                raise StartError(
                    f"airflow {name} ended with exit code {process.returncode}; see {self._logs / name}.log"
                )


def ask(url: str, token: str = "", body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Send a request to Airflow's API and return the answer."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return dict(json.loads(answer.read()))


def wait_for(standalone: Standalone, address: str) -> None:
    """Wait until an address answers.

    Raises:
        StartError: a component ended, or it took too long.
    """
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        standalone.check()
        with contextlib.suppress(OSError):
            ask(address)
            return
        time.sleep(0.2)
    raise StartError(f"after {START:.0f} s {address} does not answer; see the api-server's log")


def wait_until_ready(standalone: Standalone, url: str, password: str, expected: set[str]) -> dict[str, str]:
    """Wait until the components are healthy and each pipeline's DAG is listed, or its import error is.

    Returns:
        The last line of each import error, by DAG file. The other pipelines work.

    Raises:
        StartError: a component ended, or it took too long.
    """
    deadline, missing = time.monotonic() + START, "the api-server"
    while time.monotonic() < deadline:
        standalone.check()
        with contextlib.suppress(OSError):
            health = ask(f"{url}/api/v2/monitor/health")
            unhealthy = [name for name, part in health.items() if part and part.get("status") not in ("healthy", None)]
            token = ask(f"{url}/auth/token", body={"username": USER, "password": password})["access_token"]
            errors = ask(f"{url}/api/v2/importErrors?limit=500", token)["import_errors"]
            reasons = {error["filename"]: error["stack_trace"].strip().splitlines()[-1] for error in errors}
            unreadable = {Path(name).name.removesuffix(DAG_FILE) for name in reasons}
            listed = {dag["dag_id"] for dag in ask(f"{url}/api/v2/dags?limit=500", token)["dags"]}
            missing = ", ".join([*unhealthy, *sorted(expected - listed - unreadable)])
            if not missing:
                return reasons
        time.sleep(0.5)
    raise StartError(f"after {START:.0f} s these parts of Airflow are not ready: {missing}; see the logs")


def compile_pipelines(names: Sequence[str], folder: Path, root: Path) -> None:
    """Write the manifests of pipelines; by default those of every shipped pipeline.

    Raises:
        StartError: a pipeline cannot be compiled; the command has printed the reason.
    """
    shipped = sorted(file.stem for file in (CLONE / "configs").glob("*.yaml"))
    command = [
        CLONE / ".venv/bin/benison",
        "compile",
        *(names or [*shipped, "--config-only"]),
        "-o",
        folder,
        "--root",
        root,
    ]
    if subprocess.run(list(map(str, command))).returncode:
        raise StartError("benison compile failed; see its message above")


def free_port() -> int:
    """Return a free port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(arguments: Sequence[str]) -> int:
    """Run Airflow until it is stopped; return 1 if it does not start."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pipelines", nargs="*", metavar="PIPELINE")
    parser.add_argument("--root", type=Path, default=Path(os.environ.get("BENISON_ROOT") or ".benison"))
    parser.add_argument(
        "--port", type=int, default=int(os.environ.get("BENISON_AIRFLOW_PORT") or 8080), help="0 chooses a free one"
    )
    parser.add_argument("--manifests", type=Path, help="a folder of compiled pipelines; compiles none")
    parser.add_argument("--dags", type=Path, default=CLONE / "dags")
    parser.add_argument("--airflow", type=Path, default=CLONE / ".airflow-venv/bin/airflow")
    options = parser.parse_args(arguments)
    root = options.root.absolute()
    try:
        serve(options, root, root / "airflow", options.port or free_port())
    except StartError as error:
        print(f"airflow: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("airflow: stopped", flush=True)
    return 0


def serve(options: argparse.Namespace, root: Path, home: Path, port: int) -> None:
    """Start everything, print the address, and wait.

    Raises:
        StartError: Airflow did not start, or a component ended.
    """
    logs = home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    for folder in (home, logs):
        folder.chmod(0o777 & ~UMASK)
    manifests = (options.manifests or home / "manifests").absolute()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise StartError(
                f"port {port} is taken; give another one: BENISON_AIRFLOW_PORT=8081 make airflow"
            ) from None
    if options.manifests is None:
        compile_pipelines(options.pipelines, manifests, root)
    # Also for SIGINT, because a shell starts background jobs with it ignored.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    log_port = free_port()
    # The nodes keep the user's umask: a model server of another user reads what they push.
    umask = {"BENISON_UMASK": f"{os.umask(UMASK):04o}"}
    variables = {**settings(home, port, options.dags.absolute(), manifests, root, log_port), **umask}
    password = load_secrets(home / "secrets.json")["password"]
    write_privately(home / "passwords.json", json.dumps({USER: password}))
    url = f"http://127.0.0.1:{port}"
    client = {"BENISON_AIRFLOW_URL": url, "BENISON_AIRFLOW_USER": USER, "BENISON_AIRFLOW_PASSWORD": password}
    write_settings(home / SETTINGS, {**variables, **client}, options.airflow.absolute())
    expected = {file.name.removesuffix(DAG_FILE) for file in manifests.glob(f"*{DAG_FILE}")}
    with Standalone(options.airflow.absolute(), {**os.environ, **variables}, logs) as standalone:
        print("airflow: starting (about 30 seconds)", flush=True)
        standalone.once("db", "migrate")
        for database in home.glob("airflow.sqlite*"):  # also one of an earlier release
            database.chmod(0o666 & ~UMASK)
        standalone.start_log_server(log_port)
        # The api-server first: without it, the scheduler would fail the tasks of an earlier start.
        api, *others = COMPONENTS
        standalone.start(api)
        wait_for(standalone, f"{url}/api/v2/version")
        for name in others:
            standalone.start(name)
        for file, reason in wait_until_ready(standalone, url, password, expected).items():
            print(f"airflow: warning: {file} cannot be used: {reason.partition(': ')[2] or reason}", flush=True)
        print(
            f"\nAirflow is up: {url}\n  user      {USER}\n  password  {password}\n  logs      {logs}\n\n"
            "For `benison run NAME --on airflow`, `benison span add` and `airflow …` in another terminal:\n"
            f"  . {shlex.quote(str(home / SETTINGS))}\n\nCtrl-C stops it.",
            flush=True,
        )
        while True:
            standalone.check()
            time.sleep(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
