"""The DAGs of every compiled pipeline: one per manifest, and with a schedule a second one that goes by the date.

`benison compile NAME… -o FOLDER` writes the manifests; BENISON_MANIFESTS names that folder (default: `manifests/`
beside this file). Airflow and the standard library only. Other settings, read where DAG files are parsed:

    BENISON_POOLS    the pools that there are, separated by commas: a task in a pool that does not exist never starts,
                     and a DAG file may not ask Airflow's database. A pool that is not named here is not used.
    BENISON_NOTIFY   whom to tell, besides the manifests' `notify` (benison_notify)
"""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, Param, TaskGroup
from benison_notify import BenisonNotifier
from benison_operator import BenisonNodeOperator

FORM = 1  # of manifests that are understood here
# In the order in which the graph shows them.
GROUPS = {
    "ingest": "Spans taken in, counted and checked",
    "validate": "Schema, anomalies, drift",
    "train": "Features and members",
    "ensemble": "The members together, and the blessing",
    "deploy": "Tried on a model server, pushed, promoted",
}
_BLESSES = frozenset({"Blessing", "ServingValidator"})


class ManifestError(Exception):
    """A manifest cannot be used; Airflow shows this as the import error of the DAG file."""


def folder() -> Path:
    """Where the manifests are."""
    return Path(os.environ.get("BENISON_MANIFESTS") or Path(__file__).with_name("manifests")).absolute()


def manifests(where: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The manifests in a folder, by name.

    Raises:
        ManifestError: a file is none, or of a form that is not known here.
    """
    for file in sorted(where.glob("*.json")):
        try:
            found = json.loads(file.read_text())
        except ValueError as error:
            raise ManifestError(f"{file}: no JSON ({error}); write it anew: benison compile {file.stem}") from None
        form = found.get("manifest") if isinstance(found, dict) else None
        if form != FORM:
            raise ManifestError(
                f"{file}: got a manifest of form {form!r}, expected {FORM}; write it anew (benison compile "
                f"{file.stem}) or take the dags/ of the Benison that wrote it"
            )
        yield file, found


def dags(file: Path, manifest: Mapping[str, Any]) -> Iterator[DAG]:
    """The DAGs of a pipeline: NAME, and NAME_by_date where it has a schedule."""
    yield by_form(file, manifest)
    if manifest["schedule"]:
        yield by_date(manifest)


def by_form(file: Path, manifest: Mapping[str, Any]) -> DAG:
    """The DAG with the pipeline's nodes: started by its form, by REST, or by a new span."""
    spans = manifest["assets"]["spans"]
    receivers = list(manifest.get("notify") or [])
    seconds = manifest["timeout_s"]
    common = {
        "owner": ", ".join(manifest["owners"]),
        "retries": manifest["retries"],
        "retry_delay": timedelta(seconds=manifest["retry_delay_s"]),
        "execution_timeout": timedelta(seconds=seconds) if seconds else None,
        "pool": usable_pool(manifest["pool"]),
        "on_failure_callback": [BenisonNotifier(receivers)],
    }
    step = partial(BenisonNodeOperator, pipeline=manifest["name"], manifest=str(file), notify=receivers)
    with DAG(
        manifest["name"],
        description=manifest["description"],
        doc_md=manifest["doc"],
        tags=list(manifest["tags"]),
        schedule=[Asset(spans)] if spans else None,
        max_active_runs=1,
        catchup=False,
        is_paused_upon_creation=False,
        default_args=common,
    ) as dag:
        begin = step(task_id="Begin", step="begin", doc_md="Checks the form, compiles this run.")
        tasks = nodes(manifest, step)
        # Of the run's state it says nothing: that is the nodes'. A teardown also runs where the others failed.
        finish = step(task_id="Finish", step="finish", doc_md="Settles the run.").as_teardown()
        for node in manifest["nodes"]:
            tasks[node["id"]].set_upstream([tasks[name] for name in node["upstream"]] or [begin])
        finish.set_upstream([begin, *tasks.values()])
    # Last: each task would deep-copy what the DAG has by then. A running task gets the DAG's all the same.
    dag.params.update({parameter["name"]: param(parameter) for parameter in manifest["parameters"]})
    return dag


def nodes(manifest: Mapping[str, Any], step: Callable[..., BenisonNodeOperator]) -> dict[str, BenisonNodeOperator]:
    """A task per node, in its group; called within the DAG.

    Args:
        manifest: of the pipeline.
        step: makes one of its operators.
    """
    used = {node["group"] for node in manifest["nodes"]}
    groups = {
        name: TaskGroup(name, prefix_group_id=False, tooltip=text) for name, text in GROUPS.items() if name in used
    }
    verdict, model = Asset(f"benison://{manifest['name']}/verdict"), Asset(manifest["assets"]["model"])
    return {
        node["id"]: step(
            task_id=node["id"],
            task_group=groups.get(node["group"]),
            step="node",
            node=node["id"],
            doc_md=node["doc"],
            verdict=verdict if node["kind"] in _BLESSES else None,
            model=model if node["kind"] == "Pusher" else None,
        )
        for node in manifest["nodes"]
    }


def by_date(manifest: Mapping[str, Any]) -> DAG:
    """The DAG on a timetable, paused at first: for each period it starts NAME with that period's span.

    It starts the other DAG instead of running nodes itself, so that runs of a pipeline go one at a time whoever asked.
    A period's run comes when the period is over.
    """
    name, spans = manifest["name"], manifest["spans"]
    with DAG(
        f"{name}_by_date",
        description=f"{name} for the span of each date",
        doc_md=f"Starts `{name}` with the span that the logical date lies in; for a schedule, and for backfills.",
        tags=list(manifest["tags"]),
        schedule=CronDataIntervalTimetable(manifest["schedule"], timezone="UTC"),
        start_date=first_day(spans["first"]) if spans else datetime(2000, 1, 1, tzinfo=timezone.utc),
        max_active_runs=1,
        catchup=False,
        is_paused_upon_creation=True,
        default_args={"owner": ", ".join(manifest["owners"]), "retries": 0},
    ) as dag:
        TriggerDagRunOperator(
            task_id="run",
            trigger_dag_id=name,
            trigger_run_id="by_date__{{ data_interval_start | ds }}",
            conf={"span": "{{ data_interval_start | ds }}"} if spans else {},
            logical_date=None,
            reset_dag_run=True,
            wait_for_completion=True,
            deferrable=True,  # dates that wait in the workers would keep the run that they wait for out of them
            poke_interval=5,
        )
    return dag


def param(parameter: Mapping[str, Any]) -> Param:
    """A field of the form."""
    kind = parameter["type"]
    schema = {key: parameter[key] for key in ("minimum", "maximum", "pattern") if parameter[key] is not None}
    if parameter["enum"] is not None:
        schema["enum"] = [*parameter["enum"], *([None] if parameter["nullable"] else [])]
    return Param(
        parameter["default"],
        type=[kind, "null"] if parameter["nullable"] else kind,
        description=parameter["help"],
        title=parameter["name"].replace(".", " "),  # so that it can be broken into lines
        **schema,
    )


def usable_pool(name: str | None) -> str:
    """The pool where it is known to exist, else Airflow's default one."""
    known = {pool.strip() for pool in os.environ.get("BENISON_POOLS", "").split(",")}
    return name if name and name in known else "default_pool"


def first_day(period: str) -> datetime:
    """The first day of a period such as 2013, 2013-01 or 2013-01-31."""
    year, month, day = [*map(int, period[:10].split("-")), 1, 1][:3]
    return datetime(year, month, day, tzinfo=timezone.utc)


_collects = gc.isenabled()
gc.disable()  # all that is made here stays; to look for garbage in it takes a fifth of the time
try:
    for _file, _manifest in manifests(folder()):
        for _dag in dags(_file, _manifest):
            globals()[_dag.dag_id] = _dag
finally:
    if _collects:
        gc.enable()
