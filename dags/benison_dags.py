"""The DAGs of every compiled pipeline: one per manifest, and a second one for a pipeline with a schedule.

`benison compile NAME… -o FOLDER` writes the manifests; BENISON_MANIFESTS names that folder (default: `manifests/`
beside this file). This file imports only Airflow and the standard library. Other settings, which must be set where DAG
files are parsed:

    BENISON_POOLS    Airflow's pools, separated by commas. A pool that is not listed is not used: a task in a pool that
                     does not exist never starts, and a DAG file may not read Airflow's database.
    BENISON_NOTIFY   receivers of notifications, besides the manifests' `notify` (benison_notify)
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

FORMAT = 3  # the manifest format that this file reads
# In the order in which the graph shows them.
GROUPS = {
    "ingest": "Read the data and its spans",
    "validate": "Check schema, anomalies and drift",
    "train": "Compute features and train the members",
    "ensemble": "Combine the members, evaluate and bless",
    "deploy": "Test on a model server, push and promote",
}
_BLESSES = frozenset({"Blessing", "ServingValidator"})


class ManifestError(Exception):
    """A manifest cannot be used; Airflow shows this as the import error of the DAG file."""


def folder() -> Path:
    """Return the folder of the manifests."""
    return Path(os.environ.get("BENISON_MANIFESTS") or Path(__file__).with_name("manifests")).absolute()


def manifests(directory: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the manifests in a folder, ordered by file name.

    Raises:
        ManifestError: a file is not a manifest, or has another format.
    """
    for file in sorted(directory.glob("*.json")):
        try:
            manifest = json.loads(file.read_text())
        except ValueError as error:
            raise ManifestError(
                f"{file}: not valid JSON ({error}); compile it again: benison compile {file.stem}"
            ) from None
        version = manifest.get("manifest") if isinstance(manifest, dict) else None
        if version != FORMAT:
            raise ManifestError(
                f"{file}: got manifest format {version!r}, expected {FORMAT}; compile it again (benison compile "
                f"{file.stem}) or use the dags/ folder of the Benison release that wrote it"
            )
        yield file, manifest


def dags(file: Path, manifest: Mapping[str, Any]) -> Iterator[DAG]:
    """Yield the DAGs of a pipeline: NAME, and NAME_by_date if it has a schedule."""
    yield by_form(file, manifest)
    if manifest["schedule"]:
        yield by_date(manifest)


def by_form(file: Path, manifest: Mapping[str, Any]) -> DAG:
    """Return the DAG with the pipeline's nodes, which its form, a REST call or a new span starts."""
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
        begin = step(
            task_id="Begin", step="begin", doc_md="Checks the form's values and compiles the pipeline for this run."
        )
        tasks = nodes(manifest, step)
        # A teardown also runs after failed tasks, and does not count for the state of the DAG run.
        finish = step(task_id="Finish", step="finish", doc_md="Records the outcome of the run.").as_teardown()
        for node in manifest["nodes"]:
            tasks[node["id"]].set_upstream([tasks[name] for name in node["upstream"]] or [begin])
        finish.set_upstream([begin, *tasks.values()])
    # Set last, because each new task deep-copies the params that the DAG has by then. A running task still sees them.
    dag.params.update({parameter["name"]: param(parameter) for parameter in manifest["parameters"]})
    return dag


def nodes(manifest: Mapping[str, Any], step: Callable[..., BenisonNodeOperator]) -> dict[str, BenisonNodeOperator]:
    """Create a task per node, in its group. Call this within the DAG.

    Args:
        manifest: the pipeline's manifest.
        step: creates one of its operators.
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
    """Return the DAG on a timetable, which is created paused: for each period it starts NAME with the period's span.

    It starts the other DAG instead of running nodes itself, so that only one run of a pipeline is active at a time. The
    run of a period starts when the period is over.
    """
    name, spans = manifest["name"], manifest["spans"]
    with DAG(
        f"{name}_by_date",
        description=f"{name} for the span of each date",
        doc_md=f"Starts `{name}` with the span of the logical date. Use it for a schedule and for backfills.",
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
            deferrable=True,  # a waiting task must not occupy the worker that the other DAG's run needs
            poke_interval=5,
        )
    return dag


def param(parameter: Mapping[str, Any]) -> Param:
    """Return a field of the form."""
    field_type = parameter["type"]
    schema = {key: parameter[key] for key in ("minimum", "maximum", "pattern") if parameter[key] is not None}
    if parameter["max_length"] is not None:
        schema["maxLength"] = parameter["max_length"]
    if parameter["enum"] is not None:
        schema["enum"] = [*parameter["enum"], *([None] if parameter["nullable"] else [])]
    return Param(
        parameter["default"],
        type=[field_type, "null"] if parameter["nullable"] else field_type,
        description=parameter["help"],
        title=parameter["name"].replace(".", " "),  # spaces, so that the browser can wrap it
        **schema,
    )


def usable_pool(name: str | None) -> str:
    """Return the pool if BENISON_POOLS lists it, else Airflow's default pool."""
    known = {pool.strip() for pool in os.environ.get("BENISON_POOLS", "").split(",")}
    return name if name and name in known else "default_pool"


def first_day(period: str) -> datetime:
    """Return the first day of a period such as 2013, 2013-01 or 2013-01-31."""
    year, month, day = [*map(int, period[:10].split("-")), 1, 1][:3]
    return datetime(year, month, day, tzinfo=timezone.utc)


_collects = gc.isenabled()
gc.disable()  # everything created here stays alive, and the collector would take a fifth of the time
try:
    for _file, _manifest in manifests(folder()):
        for _dag in dags(_file, _manifest):
            globals()[_dag.dag_id] = _dag
finally:
    if _collects:
        gc.enable()
