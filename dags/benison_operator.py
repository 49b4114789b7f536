"""BenisonNodeOperator: run one step of a compiled pipeline as a subprocess in TFX's environment.

This file imports only Airflow and the standard library. BENISON_PYTHON names the interpreter of TFX's environment, and
BENISON_ROOT names the folder of artifacts and runs.
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
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import IO, Any, Literal

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.exceptions import (
    AirflowException,
    AirflowFailException,
    AirflowRescheduleException,
    AirflowSkipException,
)
from benison_notify import send_notifications

Step = Literal["begin", "node", "help", "finish"]
_MODULES: dict[Step, str] = {"begin": "begin", "node": "scheduled_node", "help": "search_worker", "finish": "finish"}
HELPERS = ".helpers"  # ends the id of the mapped task with the helpers of a Tuner
_HELPER = re.compile(rf".+{re.escape(HELPERS)}(_\d+)?")
USAGE, INVALID = 2, 4  # exit codes of steps that must not be retried
PATIENCE = 10.0  # seconds between SIGTERM and SIGKILL
LONGEST_RUN = 170  # characters of Benison's id of a run: ML Metadata's names, which end with a node, have at most 255
BEGIN, FINISH = "Begin", "Finish"  # the tasks that are not nodes
_ENDED = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
GUARD = Path(__file__).with_name("benison_guard.py")

# The worker's environment variables that a step gets. Airflow's own settings hold secrets, and its PYTHONPATH and
# virtual environment are not TFX's.
_KEPT = frozenset(
    [
        *("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "OMP_NUM_THREADS"),
        *("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "TMPDIR", "TZ", "USER"),
        *("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
        *("CURL_CA_BUNDLE", "GOOGLE_APPLICATION_CREDENTIALS", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE"),
    ]
)
_KEPT_PREFIXES = ("BENISON_", "LC_", "TF_", "XLA_")
_NOT_KEPT = "BENISON_AIRFLOW"  # credentials of Airflow and its database


class InvalidData(AirflowFailException):
    """The data is invalid; do not retry until the data has changed."""


class RunFailed(AirflowFailException):
    """The run has failed; the failed task has been reported already."""


class BenisonNodeOperator(BaseOperator):
    """Runs a step, copies its output into the task's log, and returns its result as XCom.

    A step that refuses a model succeeds, and the nodes that depend on it are skipped with the reason. Invalid data and
    wrong parameters fail without a retry; other failures may be retried. When the task ends, `benison_guard` ends every
    process that it started.

    Args:
        step: `begin` begins a run, `node` runs one node, `finish` records the run's outcome.
        pipeline: the pipeline's name.
        manifest: path of the pipeline's manifest.
        node: the node's id, for the steps `node` and `help`.
        helpers: number of mapped tasks that help this Tuner.
        number: number of the helper, for the step `help`, which runs trials of a Tuner.
        verdict: the asset whose event holds the run's verdict, for the step `finish`.
        judges: the nodes that bless or refuse the model, for the step `finish`.
        model: the asset whose event holds the pushed version.
        notify: receivers of a notification when a model is refused (`benison_notify`).
        kwargs: arguments of BaseOperator.
    """

    ui_color = "#e8f1ee"

    def __init__(
        self,
        *,
        step: Step,
        pipeline: str,
        manifest: str,
        node: str = "",
        helpers: int = 0,
        number: int = 0,
        verdict: Asset | None = None,
        judges: Sequence[str] = (),
        model: Asset | None = None,
        notify: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        outlets = [*(kwargs.pop("outlets", None) or ()), *(asset for asset in (verdict, model) if asset is not None)]
        super().__init__(outlets=outlets, **kwargs)  # a mapped task passes its own outlets, too
        self.step = step
        self.pipeline = pipeline
        self.manifest = manifest
        self.node = node
        self.helpers = helpers
        self.number = number
        self.verdict = verdict
        self.judges = list(judges)
        self.model = model
        self.notify = list(notify)
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False

    def execute(self, context: Any) -> dict[str, Any]:
        """Run the step.

        Returns:
            The step's result: `state`, `outputs`, `reason`, for some steps a `report`; and the `folder` of the run.

        Raises:
            AirflowSkipException: the node's condition does not hold, or there was nothing new to push.
            AirflowRescheduleException: Airflow is shutting down; the task starts again without using up a retry.
            AirflowFailException: the step failed and a retry would fail too.
            AirflowException: the step failed.
        """
        folder = os.path.join(required("BENISON_ROOT"), "runs", run_of(self.pipeline, context["dag_run"].run_id))
        if self.step == "begin" and self._is_alone(context):
            self.log.info("the record of the run is kept: to start it again, clear Begin with its downstream tasks")
            return {"state": "complete", "outputs": {}, "reason": "", "folder": folder}
        command = self._command(context)
        self.log.info("%s", shlex.join(command))
        code, answer = self._run(command, scrubbed(os.environ))
        if self._killed:
            raise self._end_of_killed(context)
        result = {**result_of(answer), "folder": folder}
        # The record may be that of an earlier attempt, if the run was cleared and then marked as failed.
        if self.step == "finish" and self._states(context).get(BEGIN) != "success":
            raise RunFailed(f"{self.task_id}: the run has failed: it did not begin")
        if code:
            # Airflow stores the return value only of successful tasks, but a client of the run needs the reason too.
            context["ti"].xcom_push(key="return_value", value=result)
            error = failure(self.task_id, code, str(result.get("reason", "")))
            self.log.error("%s", error)  # one clear line in the log, above Airflow's traceback
            if isinstance(error, AirflowFailException) or context["ti"].try_number > context["ti"].max_tries:
                self._finish_if_last(context)
            raise error
        if self.step == "finish":
            return self._conclude(result, context)
        self._finish_if_last(context)
        return self._publish(result, context)

    def on_kill(self) -> None:
        """End the step. Airflow calls this in a signal handler, so only `execute` waits for the end."""
        self._killed = True
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def _command(self, context: Any) -> list[str]:
        python, root = required("BENISON_PYTHON"), required("BENISON_ROOT")
        run = run_of(self.pipeline, context["dag_run"].run_id)
        params = dict(context["params"])
        command = [python, "-m", f"benison.pipelines.{_MODULES[self.step]}", "--root", root]
        if self.step == "begin":
            options = [f"--param={name}={json.dumps(value)}" for name, value in params.items()]
            return [*command, "--run-id", run, "--manifest", self.manifest, *options]
        if self.step == "finish":
            return finish_command(run, self._states(context))
        if self.step == "help":
            return [*command, "--run", run, "--node", self.node, "--number", str(self.number)]
        helped = ["--helped"] if self.helpers else []
        no_cache = ["--no-cache"] if params.get("cache") is False else []
        return [
            *command,
            "--run",
            run,
            "--node",
            self.node,
            "--attempt",
            str(context["ti"].try_number),
            *no_cache,
            *helped,
        ]

    def _end_of_killed(self, context: Any) -> Exception:
        """Return the exception of a step that Airflow ended.

        Airflow gives a task that was cleared, or marked by hand, another state first. A task that is still running
        there was ended because Airflow or this machine is shutting down.
        """
        self.log.warning("ended on Airflow's request, with all its processes")
        with contextlib.suppress(Exception):  # Airflow may be gone by now
            if self._states(context).get(self.task_id) == "running":
                return AirflowRescheduleException(datetime.now(timezone.utc) + timedelta(seconds=1))
        return AirflowException(f"{self.task_id}: ended on Airflow's request, with all its processes")

    def _states(self, context: Any) -> dict[str, str]:
        """Return the states of the run's tasks in Airflow, without helpers; '' for one that has not been scheduled."""
        ti = context["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).get(ti.run_id, {})
        return {
            task: str(getattr(state, "value", state) or "")
            for task, state in states.items()
            if not _HELPER.fullmatch(task)
        }

    def _is_alone(self, context: Any) -> bool:
        """Return True if the run began before, and somebody cleared its Begin without any other task."""
        states = {task: state for task, state in self._states(context).items() if task != BEGIN}
        ran = any(state in ("success", "failed") for task, state in states.items() if task != FINISH)
        return ran and set(states.values()) <= _ENDED

    def _finish_if_last(self, context: Any) -> None:
        """Record the outcome of a run whose Finish will not run again, after the last task that was cleared."""
        if self.step != "node":
            return
        states = self._states(context)
        others = {state for task, state in states.items() if task != self.task_id}
        if states.get(FINISH) in _ENDED and others <= _ENDED:
            run = run_of(self.pipeline, context["dag_run"].run_id)
            # The state of this task is that of its node's record, which the node has written.
            states.pop(self.task_id, None)
            self._run(finish_command(run, states), scrubbed(os.environ))

    def _conclude(self, result: dict[str, Any], context: Any) -> dict[str, Any]:
        """End the run in Airflow as it has ended here: fail, or emit the verdict.

        Raises:
            RunFailed: a task has failed or never ran, such as in a run that somebody marked as failed.
        """
        states = self._states(context)
        nodes = {task: state for task, state in states.items() if task not in (BEGIN, FINISH)}
        failed = [task for task, state in states.items() if state == "failed"]
        results = self._results(context, nodes) if "skipped" in nodes.values() or self.judges else {}
        # Airflow skips the tasks that are left of a run that somebody marks as failed, and also as successful. Neither
        # run has succeeded.
        never_ran = [task for task, state in nodes.items() if state == "skipped" and not results.get(task)]
        if failed or never_ran or "upstream_failed" in nodes.values():
            why = f"failed: {', '.join(failed)}" if failed else f"never ran: {', '.join(never_ran)}"
            reason = str(result.get("reason") or why)
            context["ti"].xcom_push(key="return_value", value=result)
            raise RunFailed(f"{self.task_id}: the run has failed: {reason}")
        if self.verdict is not None:
            run = run_of(self.pipeline, context["dag_run"].run_id)
            context["outlet_events"][self.verdict].extra.update(run=run, **self._verdict(results))
        return result

    def _results(self, context: Any, tasks: Mapping[str, str]) -> dict[str, Any]:
        return {task: context["ti"].xcom_pull(task_ids=task) for task in tasks}

    def _verdict(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Return the verdict of all judges: whether the model is blessed, the reason if not, and their reports."""
        verdict: dict[str, Any] = {"blessed": bool(self.judges), "reason": ""}
        for judge in self.judges:
            result = results.get(judge) or {}
            verdict |= result.get("report") or {}
            if result.get("state") not in ("complete", "cached"):
                verdict["blessed"] = False
                verdict["reason"] = verdict["reason"] or str(result.get("reason", ""))
        return verdict

    def _run(self, command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
        """Run a command with its stderr in the task's log; return its exit code and its stdout."""
        with tempfile.TemporaryFile() as answers:
            process = subprocess.Popen(
                [sys.executable, "-I", str(GUARD), str(PATIENCE), *command],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=answers,
                stderr=subprocess.PIPE,
                env=dict(environment),
                cwd="/",  # python -m would import modules from the current folder first
                umask=int(os.environ.get("BENISON_UMASK", "-1"), 8),  # -1: that of the worker
                start_new_session=True,  # Airflow kills the process group of a slow task; the guard must survive that
            )
            self._process = process
            reader = threading.Thread(target=self._log_lines, args=(process.stderr,), daemon=True)
            reader.start()
            try:
                process.wait()
            finally:  # Airflow raises a task's timeout as an exception
                _end(process)
                reader.join(PATIENCE)
            answers.seek(0)
            return process.returncode, answers.read().decode(errors="replace")

    def _log_lines(self, stream: IO[bytes]) -> None:
        buffered = os.fdopen(os.dup(stream.fileno()), "rb")
        with buffered:
            for line in buffered:
                self.log.info("%s", line.decode(errors="replace").rstrip())

    def _publish(self, result: dict[str, Any], context: Any) -> dict[str, Any]:
        """Publish the result of a successful step: skip the task, emit asset events, send notifications."""
        state, reason, report = result["state"], str(result.get("reason", "")), result.get("report") or {}
        if page := result.get("page"):
            self.log.info("report of the run, one HTML file: %s", page)
        if state == "skipped":
            if because := result.get("because"):
                page = str(getattr(context["ti"], "log_url", "") or "").rpartition("/tasks/")[0]
                reason += f"; see its log, {page}/tasks/{because}, and its XCom `return_value`"
            self._skip(context, result, reason)
        if state == "not_blessed":
            self.log.warning("not blessed: %s", reason)
            send_notifications(self.notify, "not_blessed", reason, context)
        if state == "not_pushed":
            self.log.warning("not pushed: %s", reason)
            self._skip(context, result, f"not pushed: {reason}")
        if self.model is not None:
            if report.get("already_served"):
                self._skip(context, result, f"version {report.get('version')} is already served; nothing was pushed")
            if not report.get("pushed", True) and not report.get("promoted", True):
                reason = (
                    f"version {report.get('version')} was pushed before; not promoted: {report.get('not_promoted')}"
                )
                self._skip(context, result, reason)
            context["outlet_events"][self.model].extra.update(report)
        return result

    def _skip(self, context: Any, result: Mapping[str, Any], reason: str) -> None:
        context["ti"].xcom_push(key="return_value", value={**result, "state": "skipped", "reason": reason})
        self.log.info("skipped: %s", reason)  # Airflow's own line about it has no reason
        raise AirflowSkipException(reason)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the guard to end the remaining processes, and wait for it."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(PATIENCE + 5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def finish_command(run: str, states: Mapping[str, str]) -> list[str]:
    """Return the command that records the outcome of a run.

    Args:
        run: Benison's id of the run.
        states: the states of its tasks in Airflow.
    """
    python, root = required("BENISON_PYTHON"), required("BENISON_ROOT")
    tasks = {task: state for task, state in states.items() if task not in (BEGIN, FINISH)}
    command = [python, "-m", f"benison.pipelines.{_MODULES['finish']}", "--root", root, "--run-id", run]
    return [*command, "--tasks", json.dumps(tasks)]


def failure(task: str, code: int, reason: str) -> AirflowException:
    """Return the exception for an exit code other than 0; its type decides if Airflow retries the task."""
    if code == INVALID:
        return InvalidData(f"{task}: {reason or 'the data is invalid'}")
    if code == USAGE:
        return AirflowFailException(f"{task}: {reason or 'wrong parameters; see the log'}")
    if code > 128:
        with contextlib.suppress(ValueError):
            return AirflowException(f"{task}: ended by {signal.Signals(code - 128).name}")
    return AirflowException(f"{task}: {reason or f'exit code {code}; see the log'}")


def result_of(answer: str) -> dict[str, Any]:
    """Parse the result in the last line of a step's stdout; return a failure without a reason if there is none."""
    lines = [line for line in answer.splitlines() if line.strip()]
    try:
        result = json.loads(lines[-1])
    except (IndexError, ValueError):
        result = None
    if not isinstance(result, dict) or "state" not in result:
        return {"state": "failed", "outputs": {}, "reason": ""}
    return result


def run_of(pipeline: str, run_id: str) -> str:
    """Return Benison's run id for an Airflow run id; it can be a folder's name.

    Airflow's ids contain `:` and `+`. A digest keeps two ids apart that differ only in such characters, or only after
    the part that is kept.
    """
    plain = re.sub(r"[^A-Za-z0-9_.-]", "-", run_id)
    if plain == run_id and run_id.startswith(f"{pipeline}-") and len(run_id) <= LONGEST_RUN:
        return run_id
    digest = hashlib.sha256(run_id.encode()).hexdigest()[:6]
    return f"{pipeline}-{plain[: LONGEST_RUN - len(pipeline) - len(digest) - 2]}-{digest}"


def required(name: str) -> str:
    """Return an environment variable of the worker.

    Raises:
        AirflowFailException: it is not set; the message says what it must hold.
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
    """Return the environment variables that a step gets; BENISON_KEEP names further ones, separated by commas."""
    extra = {name.strip() for name in environment.get("BENISON_KEEP", "").split(",")}
    kept = {
        name: value
        for name, value in environment.items()
        if name in _KEPT | extra or (name.startswith(_KEPT_PREFIXES) and not name.startswith(_NOT_KEPT))
    }
    folder = os.path.dirname(environment.get("BENISON_PYTHON", ""))
    # Beam and TFX start programs of their own environment by name, so its bin folder comes first.
    return {
        **kept,
        "PATH": os.pathsep.join(filter(None, [folder, kept.get("PATH", os.defpath)])),
        "PYTHONUNBUFFERED": "1",
    }
