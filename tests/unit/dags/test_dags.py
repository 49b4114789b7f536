"""Manifests become DAGs, with nothing but Airflow and the standard library."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.integration.airflow_bad import BAD, STRAYS, write_bad, write_stray
from tests.integration.airflow_here import ACTS, SEED, manifest, write
from tests.unit.dags.in_airflow import CLONE, InAirflow

pytestmark = pytest.mark.system

CHAIN: list[dict[str, Any]] = [
    {"id": "Gen", "group": "ingest", "doc": "Reads"},
    {"id": "Trainer.deep", "group": "train", "upstream": ["Gen"]},
    {"id": "Pusher", "kind": "Pusher", "group": "deploy", "upstream": ["Trainer.deep"]},
]
ALL = sorted([*(entry["name"] for entry in ACTS), "acts_spans_by_date"])
# The DAGs of all DAG files in BENISON_MANIFESTS, each in a module of its own, as Airflow reads them.
LISTED = """
import os, runpy
from pathlib import Path
from airflow.sdk import DAG
dags, errors = {}, {}
for file in sorted(Path(os.environ["BENISON_MANIFESTS"]).glob("*.dag.py")):
    try:
        values = runpy.run_path(str(file))
    except Exception as error:
        errors[file.name] = f"{type(error).__name__}: {error}"
    else:
        dags |= {dag.dag_id: dag for dag in values.values() if isinstance(dag, DAG)}
"""


def test_a_manifest_becomes_a_dag_of_its_nodes_in_groups(in_airflow: InAirflow, tmp_path: Path) -> None:
    write(
        tmp_path / "manifests",
        manifest("birds", *CHAIN, owners=["ann", "bob"], tags=["b", "a"], retries=3, parameters=[SEED]),
    )
    answer = in_airflow(
        LISTED
        + """
dag = dags["birds"]
result = {
    "tasks": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
    "groups": sorted(group for group in dag.task_group.get_task_group_dict() if group),
    "owner": dag.get_task("Gen").owner, "tags": sorted(dag.tags), "retries": dag.get_task("Gen").retries,
    "teardown": [task.task_id for task in dag.tasks if task.is_teardown], "runs": dag.max_active_runs,
    "outlets": [asset.uri for asset in dag.get_task("Pusher").outlets], "doc": dag.doc_md, "form": dict(dag.params), "copies": [len(task.params) for task in dag.tasks],
}
""",
        BENISON_MANIFESTS=str(tmp_path / "manifests"),
    )
    assert answer == {
        "tasks": {
            "Begin": ["Finish", "Gen"],
            "Gen": ["Finish", "Trainer.deep"],
            "Trainer.deep": ["Finish", "Pusher"],
            "Pusher": ["Finish"],
            "Finish": [],
        },
        "groups": ["deploy", "ingest", "train"],
        "owner": "ann, bob",
        "tags": ["a", "b"],
        "retries": 3,
        "teardown": ["Finish"],
        "runs": 1,
        "outlets": ["benison://birds/model"],
        "doc": "# birds\n\nIts nodes only act.",
        "form": {"seed": 7},
        "copies": [0, 0, 0, 0, 0],  # a copy of the form in each task would make reading many DAGs four times as slow
    }


def test_the_helpers_of_a_tuner_are_mapped_tasks_beside_it(in_airflow: InAirflow, tmp_path: Path) -> None:
    nodes: list[dict[str, Any]] = [
        {"id": "Gen"},
        {"id": "Tuner.deep", "upstream": ["Gen"], "helpers": 2},
        {"id": "T", "upstream": ["Tuner.deep"]},
    ]
    write(tmp_path / "manifests", manifest("birds", *nodes))
    answer = in_airflow(
        LISTED
        + """
from airflow.sdk.definitions.mappedoperator import MappedOperator
dag = dags["birds"]
helpers = dag.get_task("Tuner.deep.helpers")
result = {
    "mapped": isinstance(helpers, MappedOperator), "numbers": helpers.expand_input.value["number"],
    "upstream": sorted(helpers.upstream_task_ids), "downstream": sorted(helpers.downstream_task_ids),
    "of the trainer": sorted(dag.get_task("T").upstream_task_ids), "helped": dag.get_task("Tuner.deep").helpers,
}
""",
        BENISON_MANIFESTS=str(tmp_path / "manifests"),
    )
    assert answer == {
        "mapped": True,
        "numbers": [1, 2],
        "upstream": ["Gen"],
        "downstream": ["Finish"],
        "of the trainer": ["Tuner.deep"],
        "helped": 2,
    }


def test_a_pipeline_with_spans_and_a_schedule_gives_two_dags(in_airflow: InAirflow, tmp_path: Path) -> None:
    spans = {"first": "2013-01", "every": "month", "first_number": 1}
    assets = {"model": "benison://f/model", "spans": "benison://f/spans"}
    write(tmp_path / "m", manifest("f", *CHAIN, spans=spans, schedule="@monthly", assets=assets))
    answer = in_airflow(
        LISTED
        + """
by_date = dags["f_by_date"]
result = {
    "names": sorted(dags), "asset": str(dags["f"].timetable.asset_condition.objects[0].uri),
    "paused": [dags["f"].is_paused_upon_creation, by_date.is_paused_upon_creation],
    "start": by_date.start_date.isoformat(), "catchup": by_date.catchup,
    "conf": by_date.get_task("run").conf, "starts": by_date.get_task("run").trigger_dag_id,
}
""",
        BENISON_MANIFESTS=str(tmp_path / "m"),
    )
    assert answer == {
        "names": ["f", "f_by_date"],
        "asset": "benison://f/spans",
        "paused": [False, True],
        "start": "2013-01-01T00:00:00+00:00",
        "catchup": False,
        "conf": {"span": "{{ data_interval_start | ds }}"},
        "starts": "f",
    }


def test_each_period_of_a_schedule_has_a_run_of_its_own_also_within_a_day(
    in_airflow: InAirflow, tmp_path: Path
) -> None:
    write(tmp_path / "m", manifest("f", *CHAIN, schedule="@hourly"))
    code = """
from datetime import datetime
import jinja2
rendering = jinja2.Environment(undefined=jinja2.StrictUndefined)
rendering.globals.update(dags["f_by_date"].user_defined_macros)
template = rendering.from_string(dags["f_by_date"].get_task("run").trigger_run_id)
result = [template.render(data_interval_start=datetime(2013, 3, 1, *time)) for time in [(0, 0), (0, 30), (6, 0)]]
try:
    template.render()
except Exception as error:
    result.append(f"{type(error).__name__}: {error}")
"""
    *runs, error = in_airflow(LISTED + code, BENISON_MANIFESTS=str(tmp_path / "m"))
    assert runs == ["by_date__2013-03-01", "by_date__2013-03-01T0030", "by_date__2013-03-01T0600"]
    assert error.startswith("AirflowFailException: this run has no date, which chooses the period: trigger it with")


FIELDS: list[tuple[dict[str, Any], Any, Any]] = [
    ({"type": "integer", "default": 7, "minimum": 0}, 0, -1),
    ({"type": "number", "default": 0.5, "maximum": 1}, 1, 1.5),
    ({"type": "string", "default": "auto", "enum": ["auto", "manual"]}, "manual", "never"),
    ({"type": "string", "default": None, "nullable": True, "pattern": "^[0-9]+$"}, None, "x"),
    ({"type": "string", "default": "a", "nullable": True, "enum": ["a"]}, None, "b"),
    ({"type": "string", "default": "a", "max_length": 3}, "abc", "abcd"),
    ({"type": "integer", "default": 7, "maximum": 9}, 9, 10**20),
    ({"type": "boolean", "default": True}, False, "no"),
]


def test_a_field_of_the_form_takes_what_fits_and_nothing_else(in_airflow: InAirflow) -> None:
    empty: dict[str, Any] = dict.fromkeys(("enum", "minimum", "maximum", "pattern", "max_length")) | {
        "nullable": False,
        "name": "x",
        "help": "why",
    }
    code = f"""
import json
from benison_dags import param
def fits(parameter, value):
    try:
        param(parameter).resolve(value)
    except Exception as error:
        return type(error).__name__
    return "fits"
fields = json.loads({json.dumps(json.dumps([[{**empty, **field}, good, bad] for field, good, bad in FIELDS]))})
result = [[fits(field, field["default"]), fits(field, good), fits(field, bad)] for field, good, bad in fields]
"""
    assert in_airflow(code) == [["fits", "fits", "ParamValidationError"]] * len(FIELDS)


@pytest.mark.parametrize(
    ("requested", "known", "used"),
    [
        ("gpu", "cpu, gpu", "gpu"),
        ("gpu", "cpu", "default_pool"),
        ("gpu", "", "default_pool"),
        (None, "gpu", "default_pool"),
    ],
)
def test_only_a_pool_that_is_known_to_exist_is_used(
    in_airflow: InAirflow, requested: str, known: str, used: str
) -> None:
    code = f"from benison_dags import usable_pool; result = usable_pool({requested!r})"
    assert in_airflow(code, BENISON_POOLS=known) == used


def _bag(in_airflow: InAirflow, folder: Path) -> dict[str, Any]:
    """Read a folder with Airflow's own DagBag, with dags/ in its bundle; return the DAGs and the import errors."""
    (folder / "bundle").mkdir()
    for file in (CLONE / "dags").glob("benison_*.py"):
        (folder / "bundle" / file.name).symlink_to(file)
    (folder / "bundle/manifests").symlink_to(folder / "m")
    code = f"""
from pathlib import Path
from airflow.dag_processing.dagbag import DagBag
bag = DagBag({str(folder / "bundle")!r}, bundle_path=Path({str(folder / "bundle")!r}), bundle_name="b")
result = [sorted(bag.dags), bag.import_errors]
"""
    dags, errors = in_airflow(code, BENISON_MANIFESTS=str(folder / "m"))
    return {"dags": dags, "errors": errors}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_manifest_is_one_import_error_and_all_other_pipelines_live(
    in_airflow: InAirflow, tmp_path: Path, name: str
) -> None:
    write(tmp_path / "m", *ACTS)
    file = write_bad(tmp_path / "m", name)
    bag = _bag(in_airflow, tmp_path)
    assert bag["dags"] == ALL
    ((dag_file, error),) = bag["errors"].items()
    assert dag_file == f"manifests/{name}.dag.py"
    last = error.strip().splitlines()[-1]
    assert last.startswith("benison_dags.ManifestError: pipeline ")
    assert f"/{file.name}: " in last
    assert re.search(BAD[name][1], last), last


@pytest.mark.parametrize("name", STRAYS)
def test_what_is_no_manifest_is_named_and_all_pipelines_live(in_airflow: InAirflow, tmp_path: Path, name: str) -> None:
    write(tmp_path / "m", *ACTS)
    file = write_stray(tmp_path / "m", name)
    bag = _bag(in_airflow, tmp_path)
    assert bag["dags"] == ALL
    assert list(bag["errors"]) == ["benison_strays.py"]
    assert f"ManifestError: pipeline {name}: {file}: " in bag["errors"]["benison_strays.py"]


def test_two_hundred_pipelines_are_read(in_airflow: InAirflow, tmp_path: Path) -> None:
    write(tmp_path / "m", *(manifest(f"p{number}", *CHAIN) for number in range(200)))
    assert in_airflow(LISTED + "result = [len(dags), errors]", BENISON_MANIFESTS=str(tmp_path / "m")) == [200, {}]
