"""The pod template for KubernetesExecutor fits Kubernetes' schema and Airflow's requirements."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from benison.serving.deploy.schema_check import check_kubernetes
from benison.serving.errors import UsageError

FILE = Path(__file__).parents[3] / "dags/pod_template.yaml"


@pytest.fixture
def pod() -> dict[str, Any]:
    return dict(yaml.safe_load(FILE.read_text()))


def check(pod: dict[str, Any]) -> None:
    """Check a pod with the schema of a Deployment, whose template is a pod without its kind."""
    spec = {"selector": {}, "template": {"metadata": pod["metadata"], "spec": pod["spec"]}}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}, "spec": spec}
    check_kubernetes(FILE.name, deployment)


def test_it_fits_kubernetes_schema(pod: dict[str, Any]) -> None:
    assert (pod["apiVersion"], pod["kind"]) == ("v1", "Pod")
    check(pod)


def test_a_wrong_field_would_be_found(pod: dict[str, Any]) -> None:
    pod["spec"]["containers"][0]["comand"] = ["airflow"]
    with pytest.raises(UsageError, match="comand"):
        check(pod)


def test_airflow_finds_its_container_and_decides_on_retries(pod: dict[str, Any]) -> None:
    assert [container["name"] for container in pod["spec"]["containers"]] == ["base"]
    assert pod["spec"]["restartPolicy"] == "Never"


def test_a_pod_lives_long_enough_to_end_what_a_task_started(pod: dict[str, Any]) -> None:
    operator = (FILE.parent / "benison_operator.py").read_text()
    patience = re.search(r"^PATIENCE = ([\d.]+)", operator, re.MULTILINE)
    assert patience is not None
    assert pod["spec"]["terminationGracePeriodSeconds"] > float(patience[1])


def test_the_operators_settings_are_there_and_no_secret(pod: dict[str, Any]) -> None:
    (container,) = pod["spec"]["containers"]
    named = {entry["name"] for entry in container["env"]}
    assert {"BENISON_PYTHON", "BENISON_ROOT", "BENISON_MANIFESTS"} <= named
    assert not [name for name in named if re.search("SECRET|PASSWORD|KEY|METADATA", name)]
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    root = next(entry["value"] for entry in container["env"] if entry["name"] == "BENISON_ROOT")
    assert root in mounts


def test_a_pod_reaches_the_api_server_and_finds_the_dag_files_by_the_names_of_make_airflows_bundles(
    pod: dict[str, Any],
) -> None:
    (container,) = pod["spec"]["containers"]
    values = {entry["name"]: entry["value"] for entry in container["env"]}
    assert re.fullmatch("http://[a-z-]+:8080/execution/", values["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"])
    bundles = json.loads(values["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"])
    paths = {bundle["name"]: bundle["kwargs"]["path"] for bundle in bundles}
    assert paths == {"dags-folder": values["PYTHONPATH"], "benison-manifests": values["BENISON_MANIFESTS"]}
    standalone = (FILE.parents[1] / ".ci/airflow_standalone.py").read_text()
    assert all(f'"{name}"' in standalone for name in paths)
