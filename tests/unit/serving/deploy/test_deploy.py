"""The files of `benison deploy` for each target and setting."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from benison.serving import models_config
from benison.serving.deploy import compose, folder, kubernetes, schema_check, tf_serving
from benison.serving.deploy.settings import Serving
from benison.serving.deploy.targets import OPTIONAL_FILES, TARGETS
from benison.serving.deploy.tf_serving import Deployment
from benison.serving.errors import UsageError
from benison.serving.models_config import Latest, Model, Specific
from benison.serving.server import flags, model_config, text_protos
from benison.serving.server.batching import limits as batching_limits

CLAIM: dict[str, Any] = {"kubernetes": {"claim": "models"}}
STORE: dict[str, Any] = {"base_path": "gs://bucket/models/"}


def deployment(model: Model | None = None, **settings: Any) -> Deployment:
    return Deployment(model or Model("birds", "/srv/serving/birds"), Serving.model_validate(settings))


def service(**settings: Any) -> dict[str, Any]:
    return dict(compose.document(deployment(**settings))["services"]["birds-serving"])


def pod(**settings: Any) -> dict[str, Any]:
    documents = kubernetes.documents(deployment(**{**CLAIM, **settings}))
    return dict(documents["deployment.yaml"]["spec"]["template"])


def container(**settings: Any) -> dict[str, Any]:
    return dict(pod(**settings)["spec"]["containers"][0])


def parsed(**settings: Any) -> flags.Flags:
    found, warnings = flags.parse(tf_serving.flags(Serving.model_validate(settings)))
    assert warnings == []
    return found


def test_the_flags_poll_the_config_and_take_labels_of_versions_not_yet_loaded() -> None:
    found = parsed(config_poll_seconds=3)
    assert found.allow_version_labels_for_unavailable_models
    assert found.model_config_file_poll_wait_seconds == 3
    assert (found.port, found.rest_api_port) == (8500, 8501)


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [({}, 1), (STORE, 60), ({"folder_poll_seconds": 7}, 7), ({**STORE, "folder_poll_seconds": 7}, 7)],
)
def test_an_object_store_is_listed_less_often_than_a_folder(settings: dict[str, Any], seconds: int) -> None:
    assert parsed(**settings).file_system_poll_wait_seconds == seconds


@pytest.mark.parametrize(
    ("settings", "off"),
    [
        ({"batching": None}, ("enable_batching", "batching_parameters_file")),
        ({"monitoring": False}, ("monitoring_config_file",)),
        ({}, ("enable_grpc_healthcheck_service",)),
    ],
)
def test_a_setting_that_is_off_has_no_flag(settings: dict[str, Any], off: tuple[str, ...]) -> None:
    found = parsed(**settings)
    assert not any(getattr(found, name) for name in off)


def test_models_config_keeps_versions_and_labels_and_has_the_path_in_the_container(tmp_path: Path) -> None:
    model = Model("birds", "/srv/serving/birds", Specific(frozenset([3, 4])), {"stable": 3, "canary": 4})
    (tmp_path / "models.config").write_text(tf_serving.models_file(deployment(model))["models.config"])
    read = model_config.read(str(tmp_path / "models.config"))
    assert read.models == {"birds": Model("birds", "/models/birds", model.policy, model.labels)}


CANARY = Model("birds-canary", "/srv/serving/birds", Specific(frozenset([4])), {"canary": 4})
DEEP = Model("birds-deep", "/srv/serving/birds-deep", Specific(frozenset([3])), {"stable": 3})


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({}, "/models"),
        (STORE, "gs://bucket/models"),
        ({"store": "s3://bucket/models"}, "s3://bucket/models"),
        ({"store": "s3://bucket/models", "base_path": "/mnt/bucket"}, "/models"),
    ],
)
def test_the_canary_and_the_members_are_deployed_with_the_model(settings: dict[str, Any], place: str) -> None:
    made = Deployment(Model("birds", "/srv/serving/birds"), Serving.model_validate(settings), [CANARY, DEEP])
    assert {model.name: model.base_path for model in made.models} == {
        "birds": f"{place}/birds",
        "birds-canary": f"{place}/birds",
        "birds-deep": f"{place}/birds-deep",
    }
    assert [model.labels for model in made.models[1:]] == [{"canary": 4}, {"stable": 3}]
    assert models_config.text(made.models) == tf_serving.models_file(made)["models.config"]


def test_the_batching_file_is_what_our_server_and_the_settings_agree_on(tmp_path: Path) -> None:
    wanted = {"max_execution_batch_size": 32, "batch_timeout_micros": 500, "max_batch_size": 256}
    made = tf_serving.read_at_start(Serving.model_validate({"batching": wanted, "resources": {"cpu": 2.5}}))
    (tmp_path / "batching").write_text(made["batching.config"])
    proto = text_protos.read(str(tmp_path / "batching"), text_protos.message_class("BatchingParameters")())
    assert {name: getattr(proto, name).value for name in wanted} == wanted
    assert proto.num_batch_threads.value == 3  # one thread per core
    limits, _ = batching_limits.read_parameters(str(tmp_path / "batching"), 1000)
    assert not limits.refuse_larger


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_the_images_own_entry_point_is_not_used(target: str) -> None:
    command = service()["entrypoint"] if target == "compose" else container()["command"]
    assert command == ["/usr/bin/tensorflow_model_server"]


def binds(made: Deployment) -> dict[str, tuple[str, bool]]:
    """Source and whether it is read-only, by the place in the container."""
    (service,) = compose.document(made)["services"].values()
    return {volume["target"]: (volume["source"], volume["read_only"]) for volume in service["volumes"]}


def test_compose_serves_by_roots_own_models_config_under_the_same_path() -> None:
    made = deployment(Model("birds", "/srv/$1/serving/birds"))
    assert binds(made) == {"/config": ("./config", True), "/srv/$$1/serving": ("/srv/$$1/serving", True)}
    (service,) = compose.document(made)["services"].values()
    assert "--model_config_file=/srv/$$1/serving/models.config" in service["command"]
    assert compose.config_files(made).keys() == {"batching.config", "monitoring.config"}


def test_compose_has_no_empty_config_folder() -> None:
    assert binds(deployment(batching=None, monitoring=False)) == {"/srv/serving": ("/srv/serving", True)}


def test_compose_sees_only_the_models_elsewhere_that_it_serves_and_has_a_copy_of_models_config() -> None:
    models = [Model(model.name, model.base_path.replace("/srv/serving", "/mnt")) for model in (CANARY, DEEP)]
    made = Deployment(Model("birds", "/mnt/birds"), Serving(base_path="/mnt"), models)
    assert binds(made) == {
        "/config": ("./config", True),
        "/models/birds": ("/mnt/birds", True),
        "/models/birds-deep": ("/mnt/birds-deep", True),
    }
    assert "models.config" in compose.config_files(made)


@pytest.mark.parametrize("settings", [STORE, {"store": "s3://bucket/models"}])
def test_compose_needs_no_volume_for_an_object_store(settings: dict[str, Any]) -> None:
    assert binds(deployment(**settings)) == {"/config": ("./config", True)}
    assert "models.config" in compose.config_files(deployment(**settings))


def test_compose_opens_the_ports_on_loopback_by_default() -> None:
    settings = {"rest_port": 9501, "compose": {"host_address": "0.0.0.0"}}
    assert {port["host_ip"] for port in service()["ports"]} == {"127.0.0.1"}
    assert [(port["target"], port["published"]) for port in service(**settings)["ports"]] == [
        (8500, "8500"),
        (8501, "9501"),
    ]
    assert {port["host_ip"] for port in service(**settings)["ports"]} == {"0.0.0.0"}


def test_variables_mean_the_same_in_compose_and_kubernetes() -> None:
    given = {"environment": {"TOKEN": "a$B$(C)"}}
    assert service(**given)["environment"] == {"TOKEN": "a$$B$$(C)"}
    assert container(**given)["env"] == [{"name": "TOKEN", "value": "a$B$$(C)"}]


@pytest.mark.parametrize(("labels", "path"), [({}, ""), ({"canary": 4}, ""), ({"stable": 3}, "/labels/stable")])
def test_a_pod_is_ready_while_the_wanted_version_is_available_and_alive_while_the_port_is_open(
    labels: dict[str, int], path: str
) -> None:
    made = deployment(Model("birds", "/srv/serving/birds", labels=labels), **CLAIM)
    (probes,) = kubernetes.documents(made)["deployment.yaml"]["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe"):
        assert probes[probe]["httpGet"] == {"path": f"/v1/models/birds{path}/metadata", "port": "rest"}
    (service,) = compose.document(made)["services"].values()
    assert f"GET /v1/models/birds{path}/metadata HTTP" in service["healthcheck"]["test"][-1]
    assert probes["livenessProbe"]["tcpSocket"] == {"port": "grpc"}
    assert container(grpc_health=True)["livenessProbe"]["grpc"] == {"port": 8500}


def test_a_change_of_models_config_starts_no_new_pods_and_one_of_the_batching_does() -> None:
    def annotation(model: Model, **settings: Any) -> str:
        made = kubernetes.documents(deployment(model, **CLAIM, **settings))
        return str(made["deployment.yaml"]["spec"]["template"]["metadata"]["annotations"]["benison/read-at-start"])

    one, two = (Model("birds", "/x", Specific(frozenset([number]))) for number in (1, 2))
    assert annotation(one) == annotation(two)
    assert annotation(one) != annotation(one, batching={"batch_timeout_micros": 1})


def test_with_an_autoscaler_the_deployment_names_no_number_of_replicas() -> None:
    made = kubernetes.documents(deployment(kubernetes={"claim": "c", "autoscale": {"min": 2, "max": 5}}))
    assert "replicas" not in made["deployment.yaml"]["spec"]
    assert made["hpa.yaml"]["spec"]["minReplicas"] == 2
    assert (
        kubernetes.documents(deployment(kubernetes={"claim": "c", "replicas": 3}))["deployment.yaml"]["spec"][
            "replicas"
        ]
        == 3
    )


def test_a_cluster_needs_a_volume_or_an_object_store() -> None:
    with pytest.raises(
        UsageError, match=r"a cluster does not see /srv/serving/birds; expected one of serving.kubernetes"
    ):
        kubernetes.documents(deployment())
    assert "models" not in {volume["name"] for volume in pod(**STORE, kubernetes={})["spec"]["volumes"]}


@pytest.mark.parametrize("name", ["my_birds", "a" * 80, "trailing-", "b_"])
def test_a_pipelines_name_becomes_a_valid_kubernetes_name(name: str) -> None:
    import re

    assert re.fullmatch("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", kubernetes.resource_name(name))
    assert kubernetes.resource_name("a" * 80) != kubernetes.resource_name("a" * 79)


def test_a_pod_waits_for_the_versions_that_models_config_names_and_a_promotion_starts_no_new_pods() -> None:
    def documents(number: int) -> dict[str, dict[str, Any]]:
        model = Model("birds", "/srv/serving/birds", Specific(frozenset([number])), {"stable": number})
        return kubernetes.documents(Deployment(model, Serving.model_validate(CLAIM), [CANARY, DEEP]))

    three, five = documents(3), documents(5)
    assert three["configmap.yaml"]["data"]["versions"] == "birds-deep/3\nbirds/3\nbirds/4\n"
    assert three["deployment.yaml"] == five["deployment.yaml"]
    (waits,) = three["deployment.yaml"]["spec"]["template"]["spec"]["initContainers"]
    assert waits["name"] == "wait-for-models"
    assert "envFrom" not in waits


def test_a_pod_fetches_the_versions_from_the_store_and_a_promotion_starts_new_pods() -> None:
    settings = {**STORE, "environment": {"A": "b"}, "kubernetes": {"fetch_image": "benison:1", "secret": "keys"}}

    def template(number: int) -> dict[str, Any]:
        model = Model("birds", "/srv/serving/birds", Specific(frozenset([number])), {"stable": number})
        made = kubernetes.documents(Deployment(model, Serving.model_validate(settings), [CANARY, DEEP]))
        assert 'base_path: "/models/birds"' in made["configmap.yaml"]["data"]["models.config"]
        return dict(made["deployment.yaml"]["spec"]["template"])

    (fetches,) = template(3)["spec"]["initContainers"]
    words = ["benison", "fetch", "birds", "3", "4", "--store", "gs://bucket/models/", "--root", "/benison"]
    assert fetches["command"] == words
    assert fetches["env"] == [{"name": "A", "value": "b"}]
    assert fetches["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert {"name": "models", "emptyDir": {}} in template(3)["spec"]["volumes"]
    assert template(3)["metadata"] != template(5)["metadata"]
    made = deployment(**settings)
    assert kubernetes.copy_script(made) == {}
    assert TARGETS["k8s"].warnings(deployment(**{**settings, "base_path": "s3://b/m"})) == []
    with pytest.raises(UsageError, match="fetches the versions from an object store, but there is none"):
        kubernetes.documents(deployment(kubernetes={"fetch_image": "benison:1"}))


@pytest.mark.parametrize("target", ["k8s", "seldon"])
@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"kubernetes": {"storage": "1Gi"}}, ["apply -f out/pvc.yaml", "bash out/copy-models.sh", "apply -f out"]),
        (CLAIM, ["bash out/copy-models.sh", "apply -f out"]),
        (STORE, ["apply -f out"]),
    ],
)
def test_the_versions_are_copied_to_a_claim_before_the_server_is_told_to_serve_them(
    target: str, settings: dict[str, Any], steps: list[str]
) -> None:
    made = deployment(**settings)
    found = TARGETS[target].steps(made, "out")
    assert [step.removeprefix("kubectl ") for step in found] == steps
    files = TARGETS[target].files(made)
    assert ("copy-models.sh" in files) == (len(steps) > 1)
    if "copy-models.sh" in files:
        done = subprocess.run(
            ["bash", "-n"], input=files["copy-models.sh"], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


EVERYTHING: dict[str, Any] = {
    "image": f"registry:5000/tfs@sha256:{'0' * 64}",
    "grpc_health": True,
    "resources": {"cpu": 0.5, "cpu_limit": 2, "memory": "512Mi"},
    "environment": {"S3_ENDPOINT": "minio:9000"},
    "compose": {"env_file": "secrets.env"},
    "kubernetes": {
        "namespace": "models",
        "storage": "10Gi",
        "storage_class": "fast",
        "secret": "keys",
        "service_account": "server",
        "service_type": "LoadBalancer",
        "autoscale": {"min": 2, "max": 5},
        "min_available": 1,
    },
}


@pytest.mark.parametrize("settings", [CLAIM, EVERYTHING, {**STORE, "batching": None, "monitoring": False}])
@pytest.mark.parametrize("target", sorted(TARGETS))
def test_all_files_match_the_schemas(target: str, settings: dict[str, Any]) -> None:
    files = TARGETS[target].files(deployment(**settings))  # which checks them
    for file, text in files.items():
        if file.endswith(".yaml"):
            assert yaml.safe_load(text)
            assert "&id" not in text


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("spec", "template", "spec", "containers", 0, "imag"), "x", "'imag' was unexpected"),
        (("spec", "replicas"), "two", "spec.replicas: 'two' is not of type"),
        (("kind",), "Deploy", "got kind 'Deploy', expected one of ConfigMap, Deployment"),
        (("apiVersion",), "apps/v1beta1", "apiVersion"),
    ],
)
def test_a_value_that_kubernetes_refuses_is_reported_with_its_key(
    path: tuple[Any, ...], value: str, message: str
) -> None:
    document: Any = kubernetes.documents(deployment(**CLAIM))["deployment.yaml"]
    place = document
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(UsageError, match=message) as caught:
        schema_check.check_kubernetes("deployment.yaml", document)
    assert str(caught.value).startswith("deployment.yaml: ")


def test_a_key_that_compose_refuses_is_reported_with_its_path() -> None:
    document = compose.document(deployment())
    document["services"]["birds-serving"]["healthcheck"]["intervall"] = "1s"
    with pytest.raises(UsageError, match=r"services.birds-serving.healthcheck: 'intervall'"):
        schema_check.check_compose("compose.yaml", document)


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ({"base_path": "s3://b/m"}, True),
        ({"store": "s3://b/m"}, True),
        ({"store": "s3://b/m", "base_path": "/mnt/bucket"}, False),
        ({"base_path": "gs://b/m"}, False),
        ({}, False),
    ],
)
def test_s3_comes_with_a_warning(settings: dict[str, Any], warned: bool) -> None:
    assert [warning.startswith("s3://b/m: ") for warning in deployment(**settings).warnings()] == [True] * warned


# --- the folder -------------------------------------------------------------------------------------------------------

HEAD = folder.heading("birds --target compose")


def test_files_are_replaced_and_files_of_earlier_settings_deleted(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    folder.write(out, {"a.yaml": HEAD + "1\n", "pvc.yaml": HEAD}, OPTIONAL_FILES)
    folder.write(out, {"a.yaml": HEAD + "2\n"}, OPTIONAL_FILES)
    assert (out / "a.yaml").read_text().endswith("2\n")
    assert [path.name for path in out.iterdir()] == ["a.yaml"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]  # nothing is left of the writing


def test_a_file_that_benison_did_not_write_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("mine\n")
    (tmp_path / "pvc.yaml").write_text("mine too\n")
    with pytest.raises(UsageError, match=r"b.yaml: already exists and was not written by"):
        folder.write(tmp_path, {"a.yaml": HEAD, "b.yaml": HEAD}, OPTIONAL_FILES)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.yaml", "pvc.yaml"]
    folder.write(tmp_path, {"a.yaml": HEAD}, OPTIONAL_FILES)
    assert (tmp_path / "pvc.yaml").read_text() == "mine too\n"


def test_if_writing_fails_nothing_has_changed(tmp_path: Path) -> None:
    folder.write(tmp_path / "out", {"a.yaml": HEAD + "old\n"})
    with pytest.raises(UnicodeEncodeError):
        folder.write(tmp_path / "out", {"a.yaml": HEAD + "new\n", "b.yaml": "\ud800"})
    assert (tmp_path / "out" / "a.yaml").read_text() == HEAD + "old\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


# --- the settings -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image": "tfs@sha256:12"}, "an image with a tag or digest"),
        ({"base_path": "models"}, "an absolute path or an object store's address"),
        ({"store": "bucket/models"}, "an object store's address, such as s3://BUCKET/models"),
        ({"store": "s3:///models"}, "an object store's address, such as s3://BUCKET/models"),
        ({"settle_s": -1}, "a number of seconds >= 0"),
        ({"rest_port": 8500}, "got 8500 for both ports"),
        ({"resources": {"memory": "2GB"}}, "a size in Mi or Gi"),
        ({"environment": {"A B": "x"}}, "'A B' is not a valid variable name"),
        ({"batching": {"max_batch_size": 8}}, "max_execution_batch_size 64 is above max_batch_size 8"),
        ({"kubernetes": {"claim": "a", "storage": "1Gi"}}, "expected one: an existing claim"),
        ({"kubernetes": {"claim": "a", "fetch_image": "b:1"}}, "got fetch_image and a claim"),
        ({"kubernetes": {"storage": "1Gi", "access_mode": "ReadOnlyMany"}}, "nobody could write versions to this one"),
        ({"kubernetes": {"min_available": 1}}, "min_available 1 is not below the number of servers, 1"),
        ({"kubernetes": {"autoscale": {"min": 3, "max": 2}}}, "min 3 is above max 2"),
        ({"kubernetes": {"namespace": "My"}}, "a name of a-z, 0-9 and '-'"),
    ],
)
def test_a_wrong_setting_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Serving.model_validate(settings)


def test_settings_survive_being_written_and_read() -> None:
    made = Serving.model_validate(EVERYTHING)
    assert Serving.model_validate(made.model_dump(mode="json")) == made


def test_latest_stays_the_policy_of_a_model_that_nobody_promoted() -> None:
    assert Model("birds", "/x").policy == Latest(1)
    assert "latest" in tf_serving.models_file(deployment())["models.config"]


def test_compose_runs_as_the_owner_of_the_versions_or_as_nobody(tmp_path: Path) -> None:
    (tmp_path / "serving" / "birds").mkdir(parents=True)
    made = deployment(Model("birds", str(tmp_path / "serving" / "birds")))
    owner = f"{os.getuid()}:{os.getgid()}" if os.getuid() else "65534:65534"
    assert compose.document(made)["services"]["birds-serving"]["user"] == owner
    assert service()["user"] == "65534:65534"
    assert service(**STORE)["user"] == "65534:65534"


def test_other_users_can_read_the_config_files_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        folder.write(tmp_path / "out", {"compose.yaml": HEAD, "config/batching.config": HEAD})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out/config").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "out/config/batching.config").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700


def test_bash_is_all_that_the_health_check_of_compose_needs(tmp_path: Path) -> None:
    kind, shell, option, ask = service()["healthcheck"]["test"]
    assert (kind, shell, option) == ("CMD", "bash", "-c")
    assert subprocess.run(["bash", "-n", "-c", ask], check=False).returncode == 0
