"""The DAGs of a compiled pipeline: one of its nodes, and a second one for a pipeline with a schedule.

`benison compile NAME… -o FOLDER` writes a manifest and a DAG file per pipeline, `NAME.json` and `NAME.dag.py`. The DAG
file calls `of_file` here. So Airflow reads each pipeline alone: a manifest that cannot be used is the import error of
its own DAG file, and all other pipelines live. `benison_strays.py` reports manifests without a DAG file.

This file imports only Airflow and the standard library. Other settings, which must be set where DAG files are parsed:

    BENISON_POOLS    Airflow's pools, separated by commas. A pool that is not listed is not used: a task in a pool that
                     does not exist never starts, and a DAG file may not read Airflow's database.
    BENISON_NOTIFY   receivers of notifications, besides the manifests' `notify` (benison_notify)
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, Param, TaskGroup
from airflow.sdk.exceptions import AirflowFailException
from benison_notify import BenisonNotifier
from benison_operator import HELPERS, BenisonNodeOperator

FORMAT = 3  # the manifest format that this file reads
DAG_FILE = ".dag.py"  # how the name of a pipeline's DAG file ends
# In the order in which the graph shows them.
GROUPS = {
    "ingest": "Read the data and its spans",
    "validate": "Check schema, anomalies and drift",
    "train": "Compute features and train the members",
    "ensemble": "Combine the members, evaluate and bless",
    "deploy": "Test on a model server, push and promote",
}
BY_DATE = "_by_date"  # how the id of the DAG with a timetable ends
_BLESSES = frozenset({"Blessing", "ServingValidator"})
_LARGEST = 2**53 - 1  # Airflow's messages hold integers of 64 bits, JSON keeps these exactly
_NO_TEXT = re.compile("[\0\ud800-\udfff]")  # NUL, and halves of characters
_OWNERS = 2000  # characters of all owners in Airflow's database
_LIMITS = {"retries": (0, 1000), "retry_delay_s": (1, 86_400), "timeout_s": (1, 31_536_000)}


class ManifestError(Exception):
    """A manifest cannot be used; Airflow shows this as the import error of the pipeline's DAG file."""


def of_file(dag_file: str) -> dict[str, DAG]:
    """Return the DAGs of the manifest beside a DAG file, by their ids.

    Args:
        dag_file: the path of NAME.dag.py.

    Raises:
        ManifestError: the manifest cannot be used; the message names pipeline and file.
    """
    file = Path(dag_file).absolute()
    name = file.name.removesuffix(DAG_FILE)
    file = file.with_name(f"{name}.json")
    try:
        manifest = read(file)
        check(file, manifest)
        found = {dag.dag_id: dag for dag in dags(file, manifest)}
        for dag in found.values():
            dag.validate()
            dag.check_cycle()
    except ManifestError:
        raise
    except Exception as error:
        reason = f"no key {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
        raise ManifestError(f"pipeline {name}: {file}: {reason}; {_again(name)}") from None
    return found


def read(file: Path) -> dict[str, Any]:
    """Read a manifest.

    Raises:
        ManifestError: the file cannot be read, is not a manifest, or has another format.
    """
    name = file.stem
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ManifestError(f"pipeline {name}: {file}: {error.strerror}; {_again(name)}") from None
    except ValueError as error:
        raise ManifestError(f"pipeline {name}: {file}: not valid JSON ({error}); {_again(name)}") from None
    version = manifest.get("manifest") if isinstance(manifest, dict) else None
    if version != FORMAT:
        raise ManifestError(
            f"pipeline {name}: {file}: got manifest format {version!r}, expected {FORMAT}; {_again(name)}, or use the "
            "dags/ folder of the Benison release that wrote it"
        )
    return dict(manifest)


def check(file: Path, manifest: Mapping[str, Any]) -> None:
    """Check what `benison compile` checks too, because a file may have been copied or edited.

    Raises:
        ManifestError: the name is not the file's or is also a DAG of another pipeline, a number is beyond its limits,
            a text holds what is none, or the schedule has no date.
    """
    name = manifest["name"]
    problem = f"pipeline {name}: {file}: "
    if name != file.stem:
        raise ManifestError(
            f"{problem}the file of a pipeline {name} must be called {name}.json; remove this one, or {_again(name)}"
        )
    for key, (least, most) in _LIMITS.items():
        value = manifest[key]
        if value is not None and not (isinstance(value, int) and least <= value <= most):
            raise ManifestError(
                f"{problem}airflow.{key}: got {str(value)[:40]}, expected an integer from {least} to {most}"
            )
    # Airflow's database may refuse what follows, and then the dag-processor ends, with all pipelines.
    for value in _leaves(manifest):
        if isinstance(value, (int, float)) and not abs(value) <= _LARGEST:
            raise ManifestError(
                f"{problem}got the number {str(value)[:40]}, expected at most {_LARGEST}; {_again(name)}"
            )
        if isinstance(value, str) and (character := _NO_TEXT.search(value)):
            raise ManifestError(
                f"{problem}got the character U+{ord(character[0]):04X} in {ascii(value)[:40]}, which PostgreSQL cannot "
                f"store; {_again(name)}"
            )
    if len(owners := ", ".join(manifest["owners"])) > _OWNERS:
        raise ManifestError(
            f"{problem}airflow.owners: got {len(owners)} characters, expected at most {_OWNERS} in all; {_again(name)}"
        )
    if schedule := manifest["schedule"]:
        _check_schedule(problem, schedule)
    other = file.with_name(f"{name.removesuffix(BY_DATE)}.json")
    if name.endswith(BY_DATE) and _has_schedule(other):
        raise ManifestError(f"{problem}{other} has a schedule, so its second DAG has this name; rename one of the two")


def _check_schedule(problem: str, schedule: str) -> None:
    from croniter import croniter

    if schedule.startswith("@"):
        return
    try:
        croniter(schedule).get_next()
    except ValueError as error:  # the base of croniter's errors
        raise ManifestError(
            f"{problem}schedule: got {schedule!r}, expected cron such as '0 6 * * 1': {error}"
        ) from None


def _has_schedule(file: Path) -> bool:
    """Return True for a manifest with a schedule; a file that is no manifest is reported by its own DAG file."""
    try:
        return bool(read(file)["schedule"])
    except (ManifestError, KeyError):
        return False


def _leaves(value: Any) -> Iterator[Any]:
    """Yield the numbers, texts and keys in a manifest."""
    if isinstance(value, dict):
        yield from value
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    if parts is None:
        yield value
    else:
        for part in parts:
            yield from _leaves(part)


def _again(name: str) -> str:
    return f"compile it again (benison compile {name})"


def folder() -> Path:
    """Return the folder of the manifests."""
    return Path(os.environ.get("BENISON_MANIFESTS") or Path(__file__).with_name("manifests")).absolute()


def strays(directory: Path) -> Iterator[str]:
    """Yield a message for each manifest without a DAG file, such as one of an earlier release."""
    for file in sorted(directory.glob("*.json")):
        if file.with_name(f"{file.stem}{DAG_FILE}").exists():
            continue  # the DAG file reports it
        try:
            read(file)
        except ManifestError as error:
            yield f"{error}, or remove it"
        else:
            yield f"pipeline {file.stem}: {file}: has no DAG file {file.stem}{DAG_FILE} beside it; {_again(file.stem)}"


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
        # A teardown also runs after failed tasks, and in a run that somebody marked as failed. Its state is that of the
        # DAG run: it fails if the run has failed. So Airflow clears it with the failed tasks.
        finish = step(
            task_id="Finish",
            step="finish",
            doc_md="Records the outcome of the run, and fails if the run has failed.",
            verdict=Asset(f"benison://{manifest['name']}/verdict") if judges(manifest) else None,
            judges=judges(manifest),
        ).as_teardown(on_failure_fail_dagrun=True)
        helpers = {
            node["id"]: helpers_of(node, manifest, file, tasks[node["id"]].task_group)
            for node in manifest["nodes"]
            if node.get("helpers")
        }
        for node in manifest["nodes"]:
            upstream = [tasks[name] for name in node["upstream"]] or [begin]
            for task in filter(None, (tasks[node["id"]], helpers.get(node["id"]))):
                task.set_upstream(upstream)
        finish.set_upstream([begin, *tasks.values(), *helpers.values()])
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
    model = Asset(manifest["assets"]["model"])
    return {
        node["id"]: step(
            task_id=node["id"],
            task_group=groups.get(node["group"]),
            step="node",
            node=node["id"],
            helpers=node.get("helpers", 0),
            doc_md=node["doc"],
            # After a skipped task the node runs too and is skipped with the reason; Airflow's own skip has no log.
            trigger_rule="none_failed",
            model=model if node["kind"] == "Pusher" else None,
        )
        for node in manifest["nodes"]
    }


def helpers_of(node: Mapping[str, Any], manifest: Mapping[str, Any], file: Path, group: TaskGroup | None) -> Any:
    """Create the mapped task of a Tuner's helpers: an executor spreads them over its workers.

    Airflow starts the Tuner first, because more tasks wait for it. Helpers that start when it has ended do nothing.
    """
    return BenisonNodeOperator.partial(
        task_id=f"{node['id']}{HELPERS}",
        task_group=group,
        step="help",
        pipeline=manifest["name"],
        manifest=str(file),
        node=node["id"],
        trigger_rule="none_failed",
        doc_md=f"Run trials of {node['id']}, as many as are left for them.",
    ).expand(number=list(range(1, node["helpers"] + 1)))


def judges(manifest: Mapping[str, Any]) -> list[str]:
    """Return the nodes that bless or refuse the model, in topological order."""
    return [node["id"] for node in manifest["nodes"] if node["kind"] in _BLESSES]


def by_date(manifest: Mapping[str, Any]) -> DAG:
    """Return the DAG on a timetable, which is created paused: for each period it starts NAME with the period's span.

    It starts the other DAG instead of running nodes itself, so that only one run of a pipeline is active at a time. The
    run of a period starts when the period is over.
    """
    name, spans = manifest["name"], manifest["spans"]
    with DAG(
        f"{name}{BY_DATE}",
        description=f"{name} for the span of each date",
        doc_md=f"Starts `{name}` with the span of the logical date. Use it for a schedule and for backfills.",
        tags=list(manifest["tags"]),
        schedule=CronDataIntervalTimetable(manifest["schedule"], timezone="UTC"),
        start_date=first_day(spans["first"]) if spans else datetime(2000, 1, 1, tzinfo=timezone.utc),
        max_active_runs=1,
        catchup=False,
        is_paused_upon_creation=True,
        default_args={"owner": ", ".join(manifest["owners"]), "retries": 0},
        user_defined_macros={"run_of_period": run_of_period},
    ) as dag:
        TriggerDagRunOperator(
            task_id="run",
            trigger_dag_id=name,
            trigger_run_id="{{ run_of_period(data_interval_start | default(none)) }}",
            conf={"span": "{{ data_interval_start | ds }}"} if spans else {},
            logical_date=None,
            reset_dag_run=True,
            wait_for_completion=True,
            deferrable=True,  # a waiting task must not occupy the worker that the other DAG's run needs
            poke_interval=5,
        )
    return dag


def run_of_period(start: datetime | None) -> str:
    """Return the id of the run of a period.

    It has the time of day, if that is not midnight, because a schedule may have several periods a day.

    Raises:
        AirflowFailException: the DAG was triggered without a date.
    """
    if start is None:
        raise AirflowFailException(
            "this run has no date, which chooses the period: trigger it with a logical date (airflow dags trigger "
            "--logical-date 2013-03-01 …), or trigger the pipeline's own DAG"
        )
    return f"by_date__{start:%Y-%m-%d}" + (f"T{start:%H%M}" if start.hour or start.minute else "")


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
