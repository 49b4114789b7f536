"""A run on Airflow, seen as a local one: triggered by REST, followed node by node."""

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
# What Airflow calls the states in which a task has yet to start, or starts again.
_STATES: Mapping[str, str] = {
    "running": "running",
    "restarting": "running",
    "success": "complete",
    "skipped": "skipped",
    "failed": "failed",
    "upstream_failed": "not_run",
    "removed": "not_run",
}


def run(airflow: AirflowClient, dag: str, given: Mapping[str, str], observe: Callable[[Run], None]) -> Run:
    """Triggers a pipeline's DAG and follows it to its end.

    Args:
        airflow: signed in.
        dag: the pipeline's name.
        given: values of the form's fields, as text.
        observe: called with the run as it goes.

    Returns:
        The run; a node that failed is in it. Its outcome is what the nodes say.

    Raises:
        UsageError: there is no such DAG, or a value is not allowed.
        AirflowError: Airflow cannot be reached.
    """
    fields = airflow.parameters(dag)
    run_id = airflow.trigger(dag, conf={name: parse_value(name, text, fields) for name, text in given.items()})
    page = f"{airflow.url}/dags/{dag}/runs/{run_id}"
    followed = Run(run_id, dag, Path(), time.time())
    followed.nodes = [
        NodeRun(task, task.partition(".")[0], f"{page}/tasks/{task}") for task in task_order(airflow, dag)
    ]
    while True:
        state = str(airflow.run(dag, run_id)["state"])  # before the tasks: once it has ended they have, too
        tasks = airflow.tasks(dag, run_id)
        for node in followed.nodes:
            if node.id in tasks:
                update_node(node, tasks[node.id], lambda name: airflow.result(dag, run_id, name))
        observe(followed)
        if state in ("success", "failed"):
            failed = state == "failed" and not followed.failed_nodes  # as where somebody marked it as failed
            followed.seconds = time.time() - followed.started
            followed.folder = run_folder(airflow.result(dag, run_id, "Begin"))
            followed.outcome = "failed" if failed else followed.outcome_of_nodes()
            return followed
        time.sleep(_POLL_S)


def parse_value(name: str, text: str, fields: Mapping[str, Mapping[str, Any]]) -> Any:
    """The value of a form's field, by the type that the field has.

    Raises:
        UsageError: there is no such field, or the text is no value of its type; Airflow itself checks the bounds.
    """
    if name not in fields:
        raise UsageError(f"{name}: no such field in the form{did_you_mean(name, fields)}; it has {', '.join(fields)}")
    kinds = fields[name].get("schema", {}).get("type", "string")
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    if text in ("", "null") and "null" in kinds:
        return None
    if "string" in kinds:
        return text
    try:
        return json.loads(text)
    except ValueError:
        raise UsageError(f"{name}: got {text!r}, expected {' or '.join(kinds)} as in JSON") from None


def run_folder(begun: Any) -> Path:
    """Where Airflow's side keeps the run, as its first task says; a folder of this machine where ROOT is shared."""
    return Path(begun["folder"]) if isinstance(begun, dict) and "folder" in begun else Path()


def task_order(airflow: AirflowClient, dag: str) -> list[str]:
    """The tasks of a DAG, each after those that it waits for."""
    after = airflow.downstream(dag)
    before: dict[str, set[str]] = {task: set() for task in after}
    for task, names in after.items():
        for name in names:
            before[name].add(task)
    return list(graphlib.TopologicalSorter(before).static_order())


def update_node(node: NodeRun, task: Mapping[str, Any], result: Callable[[str], Any]) -> None:
    """Takes up what Airflow says of a task; what the node itself says of its end is asked for once."""
    state = _STATES.get(str(task["state"]), "waiting")
    if state == node.state and state != "running":
        return
    if task["start_date"]:
        node.started = datetime.fromisoformat(str(task["start_date"]).replace("Z", "+00:00")).timestamp()
    if state in ("complete", "skipped", "failed"):
        if node.seconds is not None:
            return
        node.seconds = float(task["duration"] or 0.0)
        said = result(node.id)
        if isinstance(said, dict):
            node.state, node.reason, node.outputs = said["state"], said.get("reason", ""), said.get("outputs", {})
            return
        node.reason = "Airflow's log of the task says why" if state == "failed" else ""
    else:
        node.seconds = None  # it starts again
    node.state = state
