"""Trigger a run on Airflow by its REST API, and follow it node by node like a local run."""

from __future__ import annotations

import graphlib
import json
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from benison.pipelines.airflow.api import AirflowClient
from benison.pipelines.records.runs import NodeRun, Run
from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError

_POLL_S = 2.0
# Benison's state for each of Airflow's; a task in any other state has not started yet.
_STATES: Mapping[str, str] = {
    "running": "running",
    "restarting": "running",
    "success": "complete",
    "skipped": "skipped",
    "failed": "failed",
    "upstream_failed": "not_run",
    "removed": "not_run",
}


def run(airflow: AirflowClient, dag: str, form_values: Mapping[str, str], observe: Callable[[Run], None]) -> Run:
    """Trigger a pipeline's DAG and follow it to its end.

    Args:
        airflow: a client that is signed in.
        dag: the pipeline's name.
        form_values: values of the form's fields, as text.
        observe: called with the run after each poll.

    Returns:
        The run. A failed node raises no exception; the outcome follows from the nodes' states.

    Raises:
        UsageError: there is no such DAG, or a value is not allowed.
        AirflowError: Airflow cannot be reached.
    """
    fields = airflow.parameters(dag)
    run_id = airflow.trigger(dag, conf={name: parse_value(name, text, fields) for name, text in form_values.items()})
    page = f"{airflow.url}/dags/{dag}/runs/{run_id}"
    followed = Run(run_id, dag, Path(), time.time())
    followed.nodes = [
        NodeRun(task, task.partition(".")[0], f"{page}/tasks/{task}") for task in task_order(airflow, dag)
    ]
    while True:
        state = str(airflow.run(dag, run_id)["state"])  # read before the tasks: if the run has ended, so have they
        tasks = airflow.tasks(dag, run_id)
        for node in followed.nodes:
            if node.id in tasks:
                update_node(node, tasks[node.id], lambda name: airflow.result(dag, run_id, name))
        observe(followed)
        if state in ("success", "failed"):
            failed = state == "failed" and not followed.failed_nodes  # such as a run that somebody marked as failed
            followed.seconds = time.time() - followed.started
            followed.folder = run_folder(airflow.result(dag, run_id, "Begin"))
            followed.outcome = "failed" if failed else followed.outcome_of_nodes()
            return followed
        time.sleep(_POLL_S)


def parse_value(name: str, text: str, fields: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return the value of a form's field, with the field's type.

    Raises:
        UsageError: there is no such field, or the text is not a value of its type. Airflow checks the bounds.
    """
    if name not in fields:
        raise UsageError(f"{name}: no such field in the form{did_you_mean(name, fields)}; it has {', '.join(fields)}")
    types = fields[name].get("schema", {}).get("type", "string")
    types = [types] if isinstance(types, str) else list(types)
    if text in ("", "null") and "null" in types:
        return None
    if "string" in types:
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise UsageError(f"{name}: got {text!r}, expected {' or '.join(types)} as in JSON") from None


def run_folder(begin_result: Any) -> Path:
    """Return the run's folder from the result of Begin; it exists on this machine only if ROOT is shared."""
    has_folder = isinstance(begin_result, dict) and "folder" in begin_result
    return Path(begin_result["folder"]) if has_folder else Path()


def task_order(airflow: AirflowClient, dag: str) -> list[str]:
    """Return the tasks of a DAG in topological order."""
    downstream = airflow.downstream(dag)
    upstream: dict[str, set[str]] = {task: set() for task in downstream}
    for task, names in downstream.items():
        for name in names:
            upstream[name].add(task)
    return list(graphlib.TopologicalSorter(upstream).static_order())


def update_node(node: NodeRun, task: Mapping[str, Any], result: Callable[[str], Any]) -> None:
    """Update a node from Airflow's task instance; fetch the node's own result once, when the task has ended."""
    state = _STATES.get(str(task["state"]), "waiting")
    if state == node.state and state != "running":
        return
    if task["start_date"]:
        node.started = datetime.fromisoformat(str(task["start_date"]).replace("Z", "+00:00")).timestamp()
    if state in ("complete", "skipped", "failed"):
        if node.seconds is not None:
            return
        node.seconds = float(task["duration"] or 0.0)
        answer = result(node.id)
        if isinstance(answer, dict):
            node.state, node.reason, node.outputs = answer["state"], answer.get("reason", ""), answer.get("outputs", {})
            return
        node.reason = "see the task's log in Airflow" if state == "failed" else ""
    else:
        node.seconds = None  # Airflow retries the task, or somebody cleared it
    node.state = state
