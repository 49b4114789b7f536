"""A client of Airflow's REST API, as far as Benison needs it: trigger a DAG, follow its run, post an asset event.

It uses the standard library only. BENISON_AIRFLOW_URL holds Airflow's address, BENISON_AIRFLOW_USER and
BENISON_AIRFLOW_PASSWORD the user; `make airflow` prints all three.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from benison.serving.close_names import did_you_mean
from benison.serving.errors import BenisonError, UsageError

URL, USER, PASSWORD = "BENISON_AIRFLOW_URL", "BENISON_AIRFLOW_USER", "BENISON_AIRFLOW_PASSWORD"
_TIMEOUT = 30.0  # seconds per request


class AirflowError(BenisonError):
    """Airflow could not be reached, or a request failed; the message says what to do next."""


@dataclass(frozen=True)
class AirflowClient:
    """A client of a running Airflow 3.

    Attributes:
        url: Airflow's address, without `/api/v2`.
        token: the token from `sign_in`; empty before.
    """

    url: str
    token: str = ""

    def sign_in(self, user: str, password: str) -> AirflowClient:
        """Sign in and return a client with a token.

        Raises:
            AirflowError: Airflow cannot be reached.
            UsageError: the user or password is wrong.
        """
        answer = self._ask("POST", "/auth/token", {"username": user, "password": password})
        return replace(self, token=str(answer["access_token"]))

    def dags(self) -> list[dict[str, Any]]:
        """Return the DAGs: `dag_id`, `is_paused`, `tags` and the other fields."""
        return self._all("/api/v2/dags?exclude_stale=true", "dags")

    def runs(self, dag: str) -> list[dict[str, Any]]:
        """Return the runs of a DAG, oldest first."""
        return self._all(f"/api/v2/dags/{_quoted(dag)}/dagRuns?order_by=run_after", "dag_runs")

    def trigger(self, dag: str, run_id: str | None = None, conf: Mapping[str, Any] | None = None) -> str:
        """Start a run of a DAG.

        Args:
            dag: the DAG's id.
            run_id: the new run's id; None lets Airflow choose.
            conf: values of the form's fields; the others keep their defaults.

        Returns:
            The run's id.

        Raises:
            UsageError: there is no such DAG, or a value is not allowed; the message is Airflow's.
            AirflowError: Airflow cannot be reached, or the request failed.
        """
        self._check_dag(dag)
        body = {"logical_date": None, "conf": dict(conf or {}), **({"dag_run_id": run_id} if run_id else {})}
        return str(self._ask("POST", f"/api/v2/dags/{_quoted(dag)}/dagRuns", body)["dag_run_id"])

    def import_errors(self) -> dict[str, str]:
        """Return the stack traces of the DAG files that Airflow cannot read, by the file's path in its bundle."""
        errors = self._all("/api/v2/importErrors", "import_errors")
        return {str(error["filename"]): str(error["stack_trace"]) for error in errors}

    def run(self, dag: str, run_id: str) -> dict[str, Any]:
        """Return a run: `state`, `start_date` and Airflow's other fields."""
        return self._ask("GET", f"/api/v2/dags/{_quoted(dag)}/dagRuns/{_quoted(run_id)}")

    def tasks(self, dag: str, run_id: str) -> dict[str, dict[str, Any]]:
        """Return the task instances of a run by task id: `state`, `start_date`, `duration`, `try_number`."""
        path = f"/api/v2/dags/{_quoted(dag)}/dagRuns/{_quoted(run_id)}/taskInstances"
        return {str(task["task_id"]): task for task in self._all(path, "task_instances")}

    def result(self, dag: str, run_id: str, task: str) -> Any:
        """Return the result of a task (its XCom `return_value`); None if it has none."""
        path = f"/api/v2/dags/{_quoted(dag)}/dagRuns/{_quoted(run_id)}/taskInstances/{_quoted(task)}/xcomEntries"
        if not any(entry["key"] == "return_value" for entry in self._all(path, "xcom_entries")):
            return None
        return self._ask("GET", f"{path}/return_value?deserialize=true")["value"]

    def downstream(self, dag: str) -> dict[str, list[str]]:
        """Return the tasks of a DAG, each with its downstream tasks."""
        tasks = self._ask("GET", f"/api/v2/dags/{_quoted(dag)}/tasks")["tasks"]
        return {str(task["task_id"]): list(task["downstream_task_ids"]) for task in tasks}

    def log(self, dag: str, run_id: str, task: str, attempt: int = 1) -> str:
        """Return the log of a task's attempt (counted from 1), one line per event."""
        path = f"/api/v2/dags/{_quoted(dag)}/dagRuns/{_quoted(run_id)}/taskInstances/{_quoted(task)}/logs/{attempt}"
        lines = self._ask("GET", path)["content"]
        return "\n".join(str(line.get("event", "")) if isinstance(line, dict) else str(line) for line in lines)

    def clear(self, dag: str, run_id: str, task: str) -> None:
        """Clear a task and all tasks downstream of it, so that they run again; Airflow ends running ones first."""
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": [task], "only_failed": False}
        body |= {"include_downstream": True, "reset_dag_runs": True}
        self._ask("POST", f"/api/v2/dags/{_quoted(dag)}/clearTaskInstances", body)

    def parameters(self, dag: str) -> dict[str, dict[str, Any]]:
        """Return the fields of a DAG's form by name: `value` (the default), `schema`, `description`.

        Raises:
            UsageError: there is no such DAG.
            AirflowError: Airflow cannot be reached, or the request failed.
        """
        self._check_dag(dag)
        return dict(self._ask("GET", f"/api/v2/dags/{_quoted(dag)}/details")["params"] or {})

    def post_event(self, uri: str, extra: Mapping[str, Any] | None = None) -> None:
        """Post an event of an asset, which starts the DAGs that are scheduled by it.

        Args:
            uri: the asset's URI, such as `benison://flights/spans`.
            extra: the event's data, as JSON.

        Raises:
            AirflowError: no DAG knows the asset, or Airflow cannot be reached.
        """
        pattern = urllib.parse.quote(uri, safe="")
        known = {
            str(asset["uri"]): asset["id"] for asset in self._all(f"/api/v2/assets?uri_pattern={pattern}", "assets")
        }
        if uri not in known:
            if unreadable := self._unreadable(uri.removeprefix("benison://").partition("/")[0]):
                raise AirflowError(unreadable)
            raise AirflowError(
                f"{self.url}: no DAG knows the asset {uri}; compile the pipeline into Airflow's manifests "
                "(benison compile NAME -o FOLDER) and wait until its DAG is listed"
            )
        self._ask("POST", "/api/v2/assets/events", {"asset_id": known[uri], "extra": dict(extra or {})})

    def events(self, uri: str) -> list[dict[str, Any]]:
        """Return the events of an asset, oldest first: `timestamp`, `extra`, `source_task_id`."""
        events = self._all("/api/v2/assets/events?order_by=timestamp", "asset_events")
        return [event for event in events if event["uri"] == uri]

    def _check_dag(self, dag: str) -> None:
        known = {str(listed["dag_id"]): listed for listed in self.dags()}
        if dag not in known:
            if unreadable := self._unreadable(dag):
                raise UsageError(unreadable)
            raise UsageError(
                f"{self.url}: no DAG {dag!r}{did_you_mean(dag, known)}; it has {', '.join(sorted(known)) or 'none'} "
                f"(benison compile {dag} -o FOLDER makes one)"
            )

    def _unreadable(self, pipeline: str) -> str:
        """Return the message about a pipeline that Airflow cannot read; empty if it reports none."""
        named = f"pipeline {pipeline}: "
        for file, trace in self.import_errors().items():
            if named in trace or file.rpartition("/")[2] == f"{pipeline}.dag.py":
                lines = [line for line in trace.splitlines() if named in line] or trace.strip().splitlines()[-1:]
                reason = "".join(lines[-1:]).rpartition(named)[2]
                return f"{self.url}: Airflow cannot use the pipeline {pipeline}: {reason}"
        return ""

    def _all(self, path: str, key: str) -> list[dict[str, Any]]:
        """Return every entry of a list that Airflow returns in pages."""
        entries: list[dict[str, Any]] = []
        while True:
            separator = "&" if "?" in path else "?"
            page = self._ask("GET", f"{path}{separator}limit=100&offset={len(entries)}")
            entries += page[key]
            if not page[key] or len(entries) >= page["total_entries"]:
                return entries

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        request = urllib.request.Request(
            self.url.rstrip("/") + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json", **({"Authorization": f"Bearer {self.token}"} if self.token else {})},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
                return dict(json.loads(answer.read() or b"{}"))
        except urllib.error.HTTPError as error:
            raise self._refusal(error, method, path) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise AirflowError(
                f"{self.url}: Airflow does not answer ({reason}); is it running (make airflow), and is {URL} right?"
            ) from None

    def _refusal(self, error: urllib.error.HTTPError, method: str, path: str) -> BenisonError:
        detail = _detail(error.read().decode(errors="replace"))
        if error.code == 401:
            return UsageError(
                f"{self.url}: wrong user or password; set {USER} and {PASSWORD} to a user of this Airflow"
            )
        if error.code == 403:
            return UsageError(f"{self.url}: this user may not {method} {path}; set {USER} to a user who may")
        if error.code in (400, 404, 409, 422):
            return UsageError(f"{self.url}: {method} {path}: {detail}")
        return AirflowError(f"{self.url}: {method} {path}: {error.code} {detail}; see the log of Airflow's api-server")


def configured(environment: Mapping[str, str] | None = None) -> AirflowClient:
    """Return a client of the Airflow that the environment names, signed in if the environment names a user.

    Raises:
        UsageError: BENISON_AIRFLOW_URL is not set or not a web address, or the password is wrong.
        AirflowError: Airflow cannot be reached.
    """
    variables = os.environ if environment is None else environment
    url = variables.get(URL, "").rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise UsageError(
            f"{URL}: got {url or 'nothing'}, expected Airflow's address such as http://127.0.0.1:8080; "
            f"set {URL}, {USER} and {PASSWORD} (make airflow prints them)"
        )
    airflow = AirflowClient(url)
    return airflow.sign_in(variables[USER], variables.get(PASSWORD, "")) if variables.get(USER) else airflow


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")


def _detail(text: str) -> str:
    """Return the message in an error's body, which Airflow writes in several forms."""
    try:
        detail = json.loads(text)["detail"]
    except (ValueError, KeyError, TypeError):
        return text.strip()[:500] or "no message"
    if isinstance(detail, list):  # one entry per wrong field of the request
        return "; ".join(f"{'.'.join(map(str, entry.get('loc', [])))}: {entry.get('msg', '')}" for entry in detail)
    return str(detail.get("reason", detail) if isinstance(detail, dict) else detail)
