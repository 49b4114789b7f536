"""Airflow's REST API, as far as Benison needs it: trigger a DAG, follow its run, tell of an asset.

Standard library only. Where Airflow is comes from BENISON_AIRFLOW_URL, who asks from BENISON_AIRFLOW_USER and
BENISON_AIRFLOW_PASSWORD; `make airflow` prints all three.
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
_TIMEOUT = 30.0  # seconds for one answer


class AirflowError(BenisonError):
    """Airflow could not be reached, or did not do what was asked; says what to do next."""


@dataclass(frozen=True)
class AirflowClient:
    """A running Airflow 3.

    Attributes:
        url: its address, without `/api/v2`.
        token: what `sign_in` got; empty before.
    """

    url: str
    token: str = ""

    def sign_in(self, user: str, password: str) -> AirflowClient:
        """The same Airflow with a token.

        Raises:
            AirflowError: it cannot be reached.
            UsageError: user or password is wrong.
        """
        answer = self._ask("POST", "/auth/token", {"username": user, "password": password})
        return replace(self, token=str(answer["access_token"]))

    def dags(self) -> list[dict[str, Any]]:
        """The DAGs: `dag_id`, `is_paused`, `tags` and the rest."""
        return self._all("/api/v2/dags?exclude_stale=true", "dags")

    def runs(self, dag: str) -> list[dict[str, Any]]:
        """The runs of a DAG, oldest first."""
        return self._all(f"/api/v2/dags/{_quoted(dag)}/dagRuns?order_by=run_after", "dag_runs")

    def trigger(self, dag: str, run_id: str | None = None, conf: Mapping[str, Any] | None = None) -> str:
        """Starts a run of a DAG.

        Args:
            dag: its id.
            run_id: the new run's; None lets Airflow choose.
            conf: values of the form's fields; the others keep their defaults.

        Returns:
            The run's id.

        Raises:
            UsageError: there is no such DAG, or a value is not allowed; the message is Airflow's.
            AirflowError: it cannot be reached, or fails.
        """
        self._check_dag(dag)
        body = {"logical_date": None, "conf": dict(conf or {}), **({"dag_run_id": run_id} if run_id else {})}
        return str(self._ask("POST", f"/api/v2/dags/{_quoted(dag)}/dagRuns", body)["dag_run_id"])

    def run(self, dag: str, run_id: str) -> dict[str, Any]:
        """A run: `state`, `start_date` and the rest of what Airflow says of it."""
        return self._ask("GET", f"/api/v2/dags/{_quoted(dag)}/dagRuns/{_quoted(run_id)}")

    def tasks(self, dag: str, run_id: str) -> dict[str, dict[str, Any]]:
        """The task instances of a run by task id: `state`, `start_date`, `duration`, `try_number`."""
        path = f"/api/v2/dags/{_quoted(dag)}/dagRuns/{_quoted(run_id)}/taskInstances"
        return {str(task["task_id"]): task for task in self._all(path, "task_instances")}

    def result(self, dag: str, run_id: str, task: str) -> Any:
        """What a task returned (its XCom `return_value`); None where it has returned nothing."""
        path = f"/api/v2/dags/{_quoted(dag)}/dagRuns/{_quoted(run_id)}/taskInstances/{_quoted(task)}/xcomEntries"
        if not any(entry["key"] == "return_value" for entry in self._all(path, "xcom_entries")):
            return None
        return self._ask("GET", f"{path}/return_value?deserialize=true")["value"]

    def downstream(self, dag: str) -> dict[str, list[str]]:
        """The tasks of a DAG, each with those that wait for it."""
        found = self._ask("GET", f"/api/v2/dags/{_quoted(dag)}/tasks")["tasks"]
        return {str(task["task_id"]): list(task["downstream_task_ids"]) for task in found}

    def log(self, dag: str, run_id: str, task: str, attempt: int = 1) -> str:
        """The log of a task's attempt, counted from 1; one line an event."""
        path = f"/api/v2/dags/{_quoted(dag)}/dagRuns/{_quoted(run_id)}/taskInstances/{_quoted(task)}/logs/{attempt}"
        lines = self._ask("GET", path)["content"]
        return "\n".join(str(line.get("event", "")) if isinstance(line, dict) else str(line) for line in lines)

    def clear(self, dag: str, run_id: str, task: str) -> None:
        """Has a task run again, and all that wait for it; one that runs is ended first."""
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": [task], "only_failed": False}
        body |= {"include_downstream": True, "reset_dag_runs": True}
        self._ask("POST", f"/api/v2/dags/{_quoted(dag)}/clearTaskInstances", body)

    def parameters(self, dag: str) -> dict[str, dict[str, Any]]:
        """The form's fields of a DAG by name: `value` (the default), `schema`, `description`.

        Raises:
            UsageError: there is no such DAG.
            AirflowError: it cannot be reached, or fails.
        """
        self._check_dag(dag)
        return dict(self._ask("GET", f"/api/v2/dags/{_quoted(dag)}/details")["params"] or {})

    def post_event(self, uri: str, extra: Mapping[str, Any] | None = None) -> None:
        """Posts an event of an asset, which starts the DAGs that wait for it.

        Args:
            uri: of the asset, such as `benison://flights/spans`.
            extra: what the event carries; JSON.

        Raises:
            AirflowError: no DAG there knows the asset, or Airflow cannot be reached.
        """
        pattern = urllib.parse.quote(uri, safe="")
        known = {
            str(asset["uri"]): asset["id"] for asset in self._all(f"/api/v2/assets?uri_pattern={pattern}", "assets")
        }
        if uri not in known:
            raise AirflowError(
                f"{self.url}: no DAG knows the asset {uri}; compile the pipeline into Airflow's manifests "
                "(benison compile NAME -o FOLDER) and wait until its DAG is listed"
            )
        self._ask("POST", "/api/v2/assets/events", {"asset_id": known[uri], "extra": dict(extra or {})})

    def events(self, uri: str) -> list[dict[str, Any]]:
        """The events of an asset, oldest first: `timestamp`, `extra`, `source_task_id`."""
        found = self._all("/api/v2/assets/events?order_by=timestamp", "asset_events")
        return [event for event in found if event["uri"] == uri]

    def _check_dag(self, dag: str) -> None:
        known = {str(found["dag_id"]): found for found in self.dags()}
        if dag not in known:
            raise UsageError(
                f"{self.url}: no DAG {dag!r}{did_you_mean(dag, known)}; it has {', '.join(sorted(known)) or 'none'} "
                f"(benison compile {dag} -o FOLDER makes one)"
            )

    def _all(self, path: str, key: str) -> list[dict[str, Any]]:
        """Every entry of a list that Airflow gives page by page."""
        found: list[dict[str, Any]] = []
        while True:
            joint = "&" if "?" in path else "?"
            page = self._ask("GET", f"{path}{joint}limit=100&offset={len(found)}")
            found += page[key]
            if not page[key] or len(found) >= page["total_entries"]:
                return found

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
        said = _detail(error.read().decode(errors="replace"))
        if error.code == 401:
            return UsageError(f"{self.url}: user or password is wrong; set {USER} and {PASSWORD} as Airflow has them")
        if error.code == 403:
            return UsageError(f"{self.url}: this user may not {method} {path}; ask as one who may ({USER})")
        if error.code in (400, 404, 409, 422):
            return UsageError(f"{self.url}: {method} {path}: {said}")
        return AirflowError(f"{self.url}: {method} {path}: {error.code} {said}; Airflow's api-server log says more")


def configured(environment: Mapping[str, str] | None = None) -> AirflowClient:
    """The Airflow that the environment names, signed in where it names a user.

    Raises:
        UsageError: BENISON_AIRFLOW_URL is not set or no web address, or the password is wrong.
        AirflowError: it cannot be reached.
    """
    given = os.environ if environment is None else environment
    url = given.get(URL, "").rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise UsageError(
            f"{URL}: got {url or 'nothing'}, expected Airflow's address such as http://127.0.0.1:8080; "
            f"set {URL}, {USER} and {PASSWORD} (make airflow prints them)"
        )
    airflow = AirflowClient(url)
    return airflow.sign_in(given[USER], given.get(PASSWORD, "")) if given.get(USER) else airflow


def _quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")


def _detail(text: str) -> str:
    """What an error's body says, of the several forms that Airflow gives it."""
    try:
        detail = json.loads(text)["detail"]
    except (ValueError, KeyError, TypeError):
        return text.strip()[:500] or "no message"
    if isinstance(detail, list):  # one entry per wrong field of the request
        return "; ".join(f"{'.'.join(map(str, one.get('loc', [])))}: {one.get('msg', '')}" for one in detail)
    return str(detail.get("reason", detail) if isinstance(detail, dict) else detail)
