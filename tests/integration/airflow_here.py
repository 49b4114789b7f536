"""A real Airflow for tests, from `.airflow-venv`, with compiled pipelines and with pipelines whose nodes are fake."""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benison.pipelines.airflow.api import PASSWORD, URL, USER, AirflowClient, configured
from benison.pipelines.airflow.manifest import FORMAT, write_dag_file

CLONE = Path(__file__).parents[2]
AIRFLOW = CLONE / ".airflow-venv/bin/airflow"
ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")

# Replaces TFX's interpreter for runs of pipelines named acts_…, whose nodes do what their names say. All other runs use
# the real interpreter.
ACTOR = f"""#!{sys.executable}
import json, os, signal, subprocess, sys, time

words = sys.argv[1:]
after = dict(zip(words, words[1:]))
run = after.get("--run", after.get("--run-id", ""))
if not run.startswith("acts_"):
    os.execv({sys.executable!r}, [{sys.executable!r}, *words])
folder = os.path.join(after["--root"], "acts", run)
os.makedirs(folder, exist_ok=True)
step, node, attempt = words[1].rpartition(".")[2].removeprefix("scheduled_"), after.get("--node", ""), after.get("--attempt", "")

def note(name, text):
    with open(os.path.join(folder, name + ".new"), "w") as file:
        file.write(text)
    os.rename(os.path.join(folder, name + ".new"), os.path.join(folder, name))

recorded = run.startswith("acts_fails")  # a run.json as of real nodes
if recorded:
    from pathlib import Path
    from benison.pipelines.records.runs import NodeRun
    from benison.pipelines.running import scheduled_run
    root = Path(after["--root"])

def answer(state, reason="", code=0, **more):
    if recorded and step == "node":
        scheduled_run.record_end(root, run, node, state, reason, {{}})
    print(json.dumps({{"state": state, "outputs": {{}}, "reason": reason, **more}}), flush=True)
    sys.exit(code)

note(step + node + attempt, json.dumps({{"argv": words, "environment": dict(os.environ)}}))
print(f"this is {{step}} {{node}}, attempt {{attempt}}", file=sys.stderr, flush=True)
if recorded and step == "begin":
    scheduled_run.begin(root, run, "acts_fails", scheduled_run.RunSettings(True))
    with scheduled_run.update_run(root, run) as record:
        record.nodes = [NodeRun(name, "Acts", "") for name in ("Fails", "After")]
elif recorded and step == "node":
    scheduled_run.record_start(root, run, node)
elif recorded:
    os.execv({sys.executable!r}, [{sys.executable!r}, *words])
if node == "Invalid":
    answer("invalid", "column 'fare': 17 % of the rows are missing", 4)
if node == "Refuses":
    answer("not_blessed", "accuracy 0.31 is below 0.8", report={{"metrics": {{"ensemble": {{"accuracy": 0.31}}}}}})
if node == "Pusher":
    if os.path.exists(os.path.join(folder, "nodeRefuses1")):
        note("skips", "")
        answer("skipped", "Refuses refused the model: accuracy 0.31 is below 0.8", because="Refuses")
    answer("complete", report={{"version": 7, "path": "/versions/7", "metrics": {{"accuracy": 0.9}}}})
if node == "PushesNothing":
    note("skips", "")
    answer("not_pushed", "version 8 is served now, and the run compared its candidate with version 7: run again")
if os.path.exists(os.path.join(folder, "skips")) and node == "After":
    answer("skipped", "a node that it depends on was skipped")
if node == "Fails" and not os.path.exists(os.path.join(folder, "repaired")):
    answer("failed", "the disk is full", 1)
if node == "Restarted" and not os.path.exists(os.path.join(folder, "restarted")):
    note("processes", "[%d]" % os.getpid())
    time.sleep(600)
if node == "FailsOnce" and attempt == "1":
    answer("failed", "the disk is full", 1)
if node == "Sleeps" and attempt == "1":
    sleeper = "import time; time.sleep(600)"
    children = [
        subprocess.Popen([sys.executable, "-c", sleeper]),
        subprocess.Popen([sys.executable, "-c", sleeper], start_new_session=True, env={{}}),
        subprocess.Popen(
            [sys.executable, "-c", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + sleeper],
            start_new_session=True,
        ),
    ]
    note("processes", json.dumps([os.getpid(), *(child.pid for child in children)]))
    time.sleep(600)
answer("complete", window=[])
"""


def manifest(name: str, *nodes: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """Return a manifest of fake nodes."""
    return {
        "manifest": FORMAT,
        "name": name,
        "description": "acts",
        "doc": f"# {name}\n\nIts nodes only act.",
        "owners": ["birdwatchers"],
        "tags": ["acts"],
        "ir": "",
        "config": None,
        "nodes": [{"doc": "", "group": "train", "kind": "Acts", "upstream": [], **node} for node in nodes],
        "parameters": [],
        "schedule": None,
        "spans": None,
        "assets": {"model": f"benison://{name}/model", "spans": None},
        "retries": 1,
        "retry_delay_s": 1,
        "timeout_s": None,
        "pool": None,
        "alone": [],
        "notify": [],
        **more,
    }


SEED: dict[str, Any] = {
    **{"name": "seed", "type": "integer", "default": 7, "help": "Where chance begins", "enum": None, "minimum": 0},
    **{"maximum": 2**32 - 1, "pattern": None, "nullable": False, "max_length": None},
}
SPAN: dict[str, Any] = {**SEED, "name": "span", "type": "string", "default": None, "minimum": None, "nullable": True}
CHAIN: list[dict[str, Any]] = [{"id": "Acts"}, {"id": "After", "upstream": ["Acts"]}]
ACTS = [
    manifest("acts_well", *CHAIN, {"id": "Pusher", "kind": "Pusher", "upstream": ["After"]}, parameters=[SEED]),
    manifest("acts_invalid", {"id": "Invalid"}, {"id": "After", "upstream": ["Invalid"]}),
    manifest("acts_told", {"id": "Invalid"}, notify=["mailto:ml@example.org", "slack:#models"]),
    manifest("acts_once", {"id": "FailsOnce"}, {"id": "After", "upstream": ["FailsOnce"]}),
    manifest(
        "acts_refused",
        {"id": "Refuses", "kind": "Blessing"},
        {"id": "Pusher", "kind": "Pusher", "upstream": ["Refuses"]},
        {"id": "After", "upstream": ["Pusher"]},
    ),
    manifest(
        "acts_not_pushed",
        {"id": "PushesNothing", "kind": "Pusher"},
        {"id": "After", "upstream": ["PushesNothing"]},
    ),
    manifest("acts_sleeps", {"id": "Sleeps"}, {"id": "After", "upstream": ["Sleeps"]}, pool="no-such-pool"),
    manifest("acts_fails", {"id": "Fails"}, {"id": "After", "upstream": ["Fails"]}, retries=0),
    manifest("acts_late", {"id": "Sleeps"}, timeout_s=6, retries=0),
    manifest(
        "acts_spans",
        *CHAIN,
        parameters=[SPAN],
        schedule="@monthly",
        spans={"first": "2013-01", "every": "month", "first_number": 1},
        assets={"model": "benison://acts_spans/model", "spans": "benison://acts_spans/spans"},
    ),
]


class Hook:
    """A webhook that stores notifications. It also has the one method of Slack's API that the notifier uses."""

    def __init__(self) -> None:
        self.notifications: list[dict[str, Any]] = []
        self.slack: list[dict[str, Any]] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                notifications = hook.slack if self.path == "/api/chat.postMessage" else hook.notifications
                notifications.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                answer = b'{"ok": true}'
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        address = f"http://127.0.0.1:{self.server.server_port}"
        self.url = f"{address}/secret-path"
        slack = {"conn_type": "slack", "password": "xoxb-hush", "extra": {"base_url": f"{address}/api/"}}
        self.settings = {"BENISON_NOTIFY": self.url, "AIRFLOW_CONN_SLACK_API_DEFAULT": json.dumps(slack)}
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def about(self, dag: str, run: str) -> list[tuple[str, str]]:
        """Return the notifications about a run: event and task."""
        return [
            (entry["event"], entry["task"])
            for entry in self.notifications
            if (entry["pipeline"], entry["run"]) == (dag, run)
        ]


class Mailbox:
    """A mail server that stores the messages."""

    def __init__(self) -> None:
        from aiosmtpd.controller import Controller

        from tests.integration.model_server import free_port

        self.messages: list[EmailMessage] = []
        port = free_port()
        self.server = Controller(self, hostname="127.0.0.1", port=port)
        self.server.start()
        extra = {"disable_ssl": True, "disable_tls": True, "from_email": "airflow@example.org"}
        mail = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": extra}
        self.settings = {"AIRFLOW_CONN_SMTP_DEFAULT": json.dumps(mail)}

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """Store a message; aiosmtpd calls this."""
        self.messages.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"


@dataclass(frozen=True)
class Here:
    """A running Airflow and its folders."""

    api: AirflowClient
    root: Path
    manifests: Path
    password: str
    process: subprocess.Popen[str]
    settings: Mapping[str, str]

    def airflow(self, *words: str) -> str:
        """Run a command of Airflow's own command line, as docs/airflow.md describes, and return its output."""
        file = self.root / "airflow/airflow.env"
        command = ["sh", "-c", f'. {shlex.quote(str(file))} && airflow "$@"', "sh", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def create_backfill(self, *words: str) -> None:
        """Create a backfill as docs/airflow.md describes: on SQLite it fails if another process writes at the same time."""
        for _ in range(10):
            try:
                self.airflow("backfill", "create", *words)
            except AssertionError as error:
                if "database is locked" not in str(error):
                    raise
            else:
                return
        raise AssertionError("locked ten times")

    def ask(self, method: str, path: str, body: Mapping[str, Any]) -> None:
        """Send a request to Airflow's API that Benison itself does not need."""
        request = urllib.request.Request(
            f"{self.api.url}/api/v2/{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {self.api.token}"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=30):
            pass

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a command that uses this Airflow."""
        return {URL: self.api.url, USER: "admin", PASSWORD: self.password}

    def ended(self, dag: str, run: str, seconds: float = 120) -> dict[str, str]:
        """Wait until a run has ended and return the states of its tasks."""
        eventually(lambda: self.api.run(dag, run)["state"] in ("success", "failed"), seconds)
        return {task: str(about["state"]) for task, about in self.api.tasks(dag, run).items()}

    def act(self, dag: str) -> tuple[str, dict[str, str]]:
        """Run a pipeline of fake nodes to its end."""
        run = self.api.trigger(dag)
        return run, self.ended(dag, run)

    def acted(self, dag: str, run: str, note: str) -> Path:
        """Wait for a file that a fake node writes, and return its path."""
        named = re.sub(r"[^A-Za-z0-9_.-]", "-", run)
        eventually(lambda: any(self.root.glob(f"acts/{dag}-{named}*/{note}")))
        (path,) = self.root.glob(f"acts/{dag}-{named}*/{note}")
        return path


@contextlib.contextmanager
def running(
    folder: Path, manifests: Path, root: Path, environment: Mapping[str, str], dags: Path = CLONE / "dags"
) -> Iterator[Here]:
    """Start an Airflow on free ports, and end it with all its processes.

    Args:
        folder: the folder of the fake interpreter and the log.
        manifests: the folder of the manifests.
        root: ROOT.
        environment: further environment variables of Airflow.
        dags: the DAG files.
    """
    assert AIRFLOW.exists(), f"no {AIRFLOW}: make airflow-setup"
    actor = folder / "actor"
    actor.write_text(ACTOR)
    actor.chmod(0o755)
    command = [sys.executable, str(CLONE / ".ci/airflow_standalone.py"), "--root", str(root), "--port", "0"]
    log = folder / "standalone.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command, "--manifests", str(manifests), "--dags", str(dags)],
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "BENISON_PYTHON": str(actor), "SECRET_OF_AIRFLOWS": "hush", **environment},
        )
    try:
        eventually(lambda: "Ctrl-C stops it" in log.read_text() or process.poll() is not None, 300)
        output = log.read_text()
        assert process.poll() is None, output
        settings = _settings(root / "airflow/airflow.env", dags) | dict(environment)
        yield Here(configured(settings), root, manifests, settings[PASSWORD], process, settings)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _settings(file: Path, dags: Path) -> dict[str, str]:
    """Return the settings that the launcher gives Airflow, for programs that are started without a shell."""
    shell = ["env", "-i", "sh", "-c", f". {shlex.quote(str(file))} && env -0"]
    text = subprocess.run(shell, check=True, capture_output=True, text=True).stdout
    exported = dict(entry.split("=", 1) for entry in text.split("\0") if entry)
    return {**exported, "PATH": os.environ["PATH"], "PYTHONPATH": f"{dags}:{CLONE / '.ci/airflow_modules'}"}


def eventually(holds: Callable[[], object], seconds: float = 60) -> None:
    """Wait until a condition holds; check less often the longer it takes, because each check costs Airflow time."""
    began = time.monotonic()
    while not holds():
        waited = time.monotonic() - began
        assert waited < seconds, f"did not hold within {seconds} s"
        time.sleep(min(0.2 + waited / 50, 5))


def processes(here: Here) -> list[int]:
    """Return every process id that a fake node has written to a file."""
    return [process for file in here.root.glob("acts/*/processes") for process in json.loads(file.read_text())]


def alive(processes: Sequence[int]) -> list[int]:
    """Return the processes that are alive; zombies are not."""
    living = []
    for process in processes:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                living.append(process)
    return living


def write(folder: Path, *manifests: Mapping[str, Any]) -> None:
    """Write manifests and their DAG files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in manifests:
        (folder / f"{entry['name']}.json").write_text(json.dumps(entry))
        write_dag_file(folder, entry["name"])
