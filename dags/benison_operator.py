"""BenisonNodeOperator: runs one step of a compiled pipeline in TFX's environment, as a subprocess.

Airflow and the standard library only: TFX's environment is another one, named by BENISON_PYTHON (its interpreter), and
works in the folder that BENISON_ROOT names.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
from benison_notify import send_notifications

Step = Literal["begin", "node", "finish"]
_MODULES: dict[Step, str] = {"begin": "begin", "node": "scheduled_node", "finish": "finish"}
NO_USE, INVALID = 2, 4  # exit codes after which trying again is vain
PATIENCE = 10.0  # seconds between TERM and KILL
GUARD = Path(__file__).with_name("benison_guard.py")

# What of the worker's environment a step may see. Airflow's own settings hold secrets, and its PYTHONPATH and virtual
# environment are not TFX's.
_KEPT = frozenset(
    [
        *("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "OMP_NUM_THREADS"),
        *("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER"),
        *("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
        *("CURL_CA_BUNDLE", "GOOGLE_APPLICATION_CREDENTIALS", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"),
    ]
)
_KEPT_PREFIXES = ("BENISON_", "LC_", "TF_", "XLA_")
_NOT_KEPT = "BENISON_AIRFLOW"  # how to sign in to Airflow, its database


class InvalidData(AirflowFailException):
    """The data were found invalid: trying again is vain until they are other ones."""


class BenisonNodeOperator(BaseOperator):
    """Runs a step, writes its lines into the task's log as they come, and returns its result as XCom.

    A step that refuses a model ends green; what the refusal switches off is skipped, with the reason. Invalid data and
    wrong parameters fail without a retry, everything else that goes wrong may be retried. However the task ends,
    nothing that it started lives on (`benison_guard`).

    Args:
        step: `begin` takes up a run, `node` runs one node, `finish` settles the run.
        pipeline: name.
        manifest: path of the pipeline's manifest.
        node: id, for the step `node`.
        verdict: asset whose event says what came of a blessing.
        model: asset whose event says which version was pushed.
        notify: whom to tell of a refused model (`benison_notify`).
        kwargs: the BaseOperator's.
    """

    ui_color = "#e8f1ee"

    def __init__(
        self,
        *,
        step: Step,
        pipeline: str,
        manifest: str,
        node: str = "",
        verdict: Asset | None = None,
        model: Asset | None = None,
        notify: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(outlets=[asset for asset in (verdict, model) if asset is not None], **kwargs)
        self.step = step
        self.pipeline = pipeline
        self.manifest = manifest
        self.node = node
        self.verdict = verdict
        self.model = model
        self.notify = list(notify)
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    def execute(self, context: Any) -> dict[str, Any]:
        """Runs the step.

        Returns:
            What it says of itself: `state`, `outputs`, `reason`, for some a `report`; and the `folder` of the run.

        Raises:
            AirflowSkipException: its condition does not hold, or there was nothing new to push.
            AirflowFailException: a retry would end the same.
            AirflowException: it failed.
        """
        command = self._command(context)
        self.log.info("%s", shlex.join(command))
        code, answer = self._run(command, scrubbed(os.environ))
        if self._killed:
            raise AirflowException(f"{self.task_id}: ended on Airflow's request, with all that it had started")
        folder = os.path.join(required("BENISON_ROOT"), "runs", run_of(self.pipeline, context["dag_run"].run_id))
        result = {**result_of(answer), "folder": folder}
        if code:
            # Airflow takes what a task returns only from those that end well; a reader of the run wants the reason too.
            context["ti"].xcom_push(key="return_value", value=result)
            error = failure(self.task_id, code, str(result.get("reason", "")))
            self.log.error("%s", error)  # in the log as a line, above the traceback that nobody needs
            raise error
        return self._settled(result, context)

    def on_kill(self) -> None:
        """Has the step ended; Airflow calls this in a signal handler, so `execute` does the waiting."""
        self._killed = True
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def _command(self, context: Any) -> list[str]:
        python, root = required("BENISON_PYTHON"), required("BENISON_ROOT")
        run = run_of(self.pipeline, context["dag_run"].run_id)
        params = dict(context["params"])
        command = [python, "-m", f"benison.pipelines.{_MODULES[self.step]}", "--root", root]
        if self.step == "begin":
            given = [f"--param={name}={json.dumps(value)}" for name, value in params.items()]
            return [*command, "--run-id", run, "--manifest", self.manifest, *given]
        if self.step == "finish":
            return [*command, "--run-id", run]
        no_cache = ["--no-cache"] if params.get("cache") is False else []
        return [*command, "--run", run, "--node", self.node, "--attempt", str(context["ti"].try_number), *no_cache]

    def _run(self, command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
        """The exit code of a command, and what it printed on stdout; stderr goes into the log."""
        with tempfile.TemporaryFile() as answers:
            process = subprocess.Popen(
                [sys.executable, "-I", str(GUARD), str(PATIENCE), *command],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=answers,
                stderr=subprocess.PIPE,
                env=dict(environment),
                cwd="/",  # python -m looks for modules in the current folder first
                start_new_session=True,  # Airflow kills the whole group of a task that is slow to end; not the guard
            )
            self._process = process
            reader = threading.Thread(target=self._log_lines, args=(process.stderr,), daemon=True)
            reader.start()
            try:
                process.wait()
            finally:  # a timeout comes as an exception
                _end(process)
                reader.join(PATIENCE)
            answers.seek(0)
            return process.returncode, answers.read().decode(errors="replace")

    def _log_lines(self, stream: IO[bytes]) -> None:
        buffered = os.fdopen(os.dup(stream.fileno()), "rb")
        with buffered:
            for line in buffered:
                self.log.info("%s", line.decode(errors="replace").rstrip())

    def _settled(self, result: dict[str, Any], context: Any) -> dict[str, Any]:
        """What a step that ended well means to Airflow."""
        state, reason, report = result["state"], str(result.get("reason", "")), result.get("report") or {}
        if state == "skipped":
            self._skip(context, result, reason)
        if self.verdict is not None:
            context["outlet_events"][self.verdict].extra.update(
                blessed=state != "not_blessed",
                reason=reason,
                run=run_of(self.pipeline, context["dag_run"].run_id),
                **report,
            )
        if state == "not_blessed":
            self.log.warning("not blessed: %s", reason)
            send_notifications(self.notify, "not_blessed", reason, context)
        if self.model is not None:
            if report.get("already_served"):
                self._skip(context, result, f"version {report.get('version')} is served already: nothing was pushed")
            context["outlet_events"][self.model].extra.update(report)
        return result

    def _skip(self, context: Any, result: Mapping[str, Any], reason: str) -> None:
        context["ti"].xcom_push(key="return_value", value={**result, "state": "skipped", "reason": reason})
        raise AirflowSkipException(reason)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Lets the guard end what is left, and waits for it."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(PATIENCE + 5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def failure(task: str, code: int, reason: str) -> AirflowException:
    """The exception for an exit code other than 0: of a kind that is retried, or not."""
    if code == INVALID:
        return InvalidData(f"{task}: {reason or 'the data are invalid'}")
    if code == NO_USE:
        return AirflowFailException(f"{task}: {reason or 'wrong parameters; the log says which'}")
    if code > 128:
        with contextlib.suppress(ValueError):
            return AirflowException(f"{task}: ended by {signal.Signals(code - 128).name}")
    return AirflowException(f"{task}: {reason or f'exit code {code}; the log says more'}")


def result_of(answer: str) -> dict[str, Any]:
    """The result that stands in the last line of a step's stdout; a failure with a reason where there is none."""
    lines = [line for line in answer.splitlines() if line.strip()]
    try:
        result = json.loads(lines[-1])
    except (IndexError, ValueError):
        result = None
    if not isinstance(result, dict) or "state" not in result:
        return {"state": "failed", "outputs": {}, "reason": ""}
    return result


def run_of(pipeline: str, run_id: str) -> str:
    """Benison's name for a run of Airflow's, fit for a folder.

    Airflow's ids hold `:` and `+`, and two of them may differ in nothing else: the digest keeps those apart.
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]", "-", run_id)
    if plain == run_id and run_id.startswith(f"{pipeline}-"):
        return run_id
    return f"{pipeline}-{plain}-{hashlib.sha256(run_id.encode()).hexdigest()[:6]}"


def required(name: str) -> str:
    """A setting of this machine.

    Raises:
        AirflowFailException: it is missing; says what it is.
    """
    value = os.environ.get(name, "")
    if not value:
        meaning = {"BENISON_PYTHON": "TFX's interpreter, such as /opt/benison/.venv/bin/python"}
        expected = meaning.get(name, "the folder of artifacts and runs")
        raise AirflowFailException(
            f"{name} is not set where this task runs; expected {expected}. "
            "Set it in the environment of the Airflow worker (docs/airflow.md)"
        )
    return value


def scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    """What of an environment a step gets; BENISON_KEEP names more of it, separated by commas."""
    more = {name.strip() for name in environment.get("BENISON_KEEP", "").split(",")}
    kept = {
        name: value
        for name, value in environment.items()
        if name in _KEPT | more or (name.startswith(_KEPT_PREFIXES) and not name.startswith(_NOT_KEPT))
    }
    folder = os.path.dirname(environment.get("BENISON_PYTHON", ""))
    # Beam and TFX start programs of their own environment by name.
    return {
        **kept,
        "PATH": os.pathsep.join(filter(None, [folder, kept.get("PATH", os.defpath)])),
        "PYTHONUNBUFFERED": "1",
    }
