"""The files of `benison deploy` start a server: Benison's, with the flags as written and the files at the mounted paths."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.apis import prediction_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

from benison.serving.promotion import promote
from benison.serving.promotion.rollout import ChangeRequest
from benison.serving.versions import sets
from benison.serving.versions.manifest import Manifest
from benison.serving.versions.sets import Candidate
from tests.integration.conftest import BENISON, UNPRIVILEGED
from tests.integration.model_server import predict_request, programs, publish, running, wait_until

np_any: Any = np

NAME = "penguins"


def deploy(folder: Path, *words: str, prefix: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    command = [*prefix, str(BENISON), "deploy", NAME, "--root", str(folder / "root"), "-o", str(folder / "out"), *words]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BENISON_")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


Started = tuple[list[str], dict[str, Path]]


def compose(folder: Path) -> Started:
    """Return the command line, and the mounted folders by their path in the container."""
    done = deploy(folder, "--target", "compose")
    assert done.returncode == 0, done.stderr
    service = yaml.safe_load((folder / "out" / "compose.yaml").read_text())["services"][f"{NAME}-serving"]
    mounted = {volume["target"]: (folder / "out" / volume["source"]).resolve() for volume in service["volumes"]}
    return service["command"], mounted


def kubernetes(folder: Path) -> Started:
    """Return the same for a pod, with the ConfigMap as the kubelet writes it and ROOT/serving as the claim."""
    done = deploy(folder, "--target", "k8s", "--set", "serving.kubernetes.storage=1Gi")
    assert done.returncode == 0, done.stderr
    configs = folder / "configmap"
    configs.mkdir()
    for name, text in yaml.safe_load((folder / "out" / "configmap.yaml").read_text())["data"].items():
        (configs / name).write_text(text)
    pod = yaml.safe_load((folder / "out" / "deployment.yaml").read_text())["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    places = {"config": configs, "models": folder / "root" / "serving", "tmp": folder}
    return container["args"], {mount["mountPath"]: places[mount["name"]] for mount in container["volumeMounts"]}


def mapped(text: str, mounted: dict[str, Path]) -> str:
    """Replace the container's paths in a text by this machine's."""
    for inside, outside in mounted.items():
        text = text.replace(f"{inside}/", f"{outside}/").replace(f'{inside}"', f'{outside}"')
    return text


def test_a_read_only_root_is_deployed_with_a_copy_of_its_models_config(tmp_path: Path, made: dict[int, Path]) -> None:
    folder = tmp_path / "root" / "serving"
    publish(made[1], folder / NAME, 1)
    folder.chmod(0o555)
    try:
        done = deploy(tmp_path, "--target", "compose", prefix=UNPRIVILEGED)
    finally:
        folder.chmod(0o755)
    assert done.returncode == 0, done.stderr
    assert f"{folder} is read-only, so the server gets a copy of its models.config" in done.stdout
    assert '"/models/penguins"' in (tmp_path / "out" / "config" / "models.config").read_text()


@pytest.mark.parametrize("program", programs())
@pytest.mark.parametrize("written", [compose, kubernetes])
def test_the_flags_start_a_server_that_answers_by_rest_and_grpc(
    tmp_path: Path, made: dict[int, Path], written: Callable[[Path], Started], program: str
) -> None:
    publish(made[1], tmp_path / "root" / "serving" / NAME, 1)
    flags, mounted = written(tmp_path)
    assert {"--port=8500", "--rest_api_port=8501"} <= set(flags)
    assert "--allow_version_labels_for_unavailable_models=true" in flags
    here = tmp_path / "config-here"
    shutil.copytree(mounted["/config"], here)
    if (here / "models.config").exists():  # a copy, with the container's paths
        (here / "models.config").write_text(mapped((here / "models.config").read_text(), mounted))
    places = {**mounted, "/config": here}
    # Free ports in place of the container's; all other flags as written.
    rest = [mapped(flag, places) for flag in flags if not flag.startswith(("--port=", "--rest_api_port="))]
    with running(tmp_path, *rest, program=programs()[program]) as server:
        assert server.post(f"{NAME}:predict", {"instances": [2.0]}) == (200, {"predictions": [2.0]})
        with server.channel() as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            answer = stub.Predict(predict_request({"x": np_any.float32([2])}, model=NAME), timeout=30)
        assert answer.outputs["y"].float_val == [2.0]
        assert server.ask("GET", f"/v1/models/{NAME}/metadata")[0] == 200  # the request of the probes
        warnings = [
            line for line in server.log.read_text().splitlines() if "no effect" in line or "not honoured" in line
        ]
        assert all("enable_large_batch_splitting" in line for line in warnings)


def test_the_health_check_of_compose_succeeds_while_the_model_is_served(tmp_path: Path, made: dict[int, Path]) -> None:
    publish(made[1], tmp_path / "root" / "serving" / NAME, 1)
    assert deploy(tmp_path, "--target", "compose").returncode == 0
    service = yaml.safe_load((tmp_path / "out" / "compose.yaml").read_text())["services"][f"{NAME}-serving"]

    def healthy(port: int) -> bool:
        ask = service["healthcheck"]["test"][-1].replace("8501", str(port))
        return subprocess.run(["bash", "-c", ask], capture_output=True, timeout=30).returncode == 0

    base = tmp_path / "root" / "serving" / NAME
    with running(tmp_path, f"--model_name={NAME}", f"--model_base_path={base}") as server:
        assert healthy(server.rest)
        shutil.rmtree(base)
        base.mkdir()
        publish(made[2], base, 2)
        wait_until(lambda: "END" in server.states(NAME).values())
        assert healthy(server.rest)
        shutil.rmtree(base / "2")
        wait_until(lambda: set(server.states(NAME).values()) == {"END"})
        assert not healthy(server.rest)
    assert not healthy(server.rest)


def test_a_compose_server_follows_promotions_with_canary_and_members(
    tmp_path: Path, made: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENISON_ADMIN_TOKEN", "shared")  # of the server and the promotions
    base = tmp_path / "root" / "serving" / NAME
    for number in (1, 2):
        deep = Candidate(made[number], Manifest())
        sets.publish(Candidate(made[number], Manifest()), base, {"deep": deep}, lambda number=number: number)  # type: ignore[misc]
    promote.promote(base, 1, ChangeRequest("ann", "the first"))
    flags, mounted = compose(tmp_path)
    assert mounted[str(base.parent)] == base.parent, "under the same path, which the reload RPC names"
    assert f"--model_config_file={base.parent}/models.config" in flags
    rest = [mapped(flag, mounted) for flag in flags if not flag.startswith(("--port=", "--rest_api_port="))]

    def answers(model: str) -> float:
        return float(server.post(f"{model}:predict", {"instances": [2.0]})[1]["predictions"][0])

    with running(tmp_path, *rest) as server:
        assert (answers(NAME), answers(f"{NAME}-deep")) == (2, 2)
        promote.promote(base, 2, ChangeRequest("ann", "a trial", servers=(f"127.0.0.1:{server.port}",)), label="canary")
        assert (answers(NAME), answers(f"{NAME}-canary")) == (2, 3)
        promote.promote(base, 2, ChangeRequest("ann", "it is better", servers=(f"127.0.0.1:{server.port}",)))
        assert (answers(NAME), answers(f"{NAME}-deep")) == (3, 3)


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["--set", "serving.store=s3://bucket/models"], "s3://bucket/models"),
        (["--base-path", "gs://bucket/models"], "gs://bucket/models"),
        (["--set", "serving.kubernetes.claim=models"], "/models"),
    ],
)
def test_promoted_versions_and_their_labels_are_deployed(
    tmp_path: Path, made: dict[int, Path], words: list[str], place: str
) -> None:
    base = tmp_path / "root" / "serving" / NAME
    for number in (1, 2):
        deep = Candidate(made[number], Manifest())
        sets.publish(Candidate(made[number], Manifest()), base, {"deep": deep}, lambda number=number: number)  # type: ignore[misc]
    promote.promote(base, 1, ChangeRequest("ann", "the first"))
    promote.promote(base, 2, ChangeRequest("ann", "a trial"), label="canary")
    assert deploy(tmp_path, "--target", "k8s", *words).returncode == 0
    text = yaml.safe_load((tmp_path / "out" / "configmap.yaml").read_text())["data"]["models.config"]
    written = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    assert {
        model.name: (model.base_path, {*model.model_version_policy.specific.versions}, dict(model.version_labels))
        for model in written.model_config_list.config
    } == {
        NAME: (f"{place}/{NAME}", {1}, {"stable": 1}),
        f"{NAME}-canary": (f"{place}/{NAME}", {2}, {"canary": 2}),
        f"{NAME}-deep": (f"{place}/{NAME}-deep", {1, 2}, {"stable": 1}),
    }


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--target", "compose"], 1, "nothing is pushed yet; `benison run penguins` pushes a version"),
        (
            ["--target", "k8s", "--base-path", "models"],
            2,
            "got 'models', expected an absolute path or an object store's",
        ),
        (["--target", "k8s", "--base-path", "gs://b/models"], 0, "next: kubectl apply -f"),
        (["--target", "k8s", "--base-path", "s3://b/models"], 0, "cannot read s3:// since 2.7"),
        (["--target", "k8s", "--set", "serving.kubernetes.fetch_image=b:1"], 1, "nothing is pushed yet"),
        (["--target", "swarm", "--base-path", "gs://b"], 2, "swarm"),
        (["--target", "k8s", "--set", "serving.kubernetes.replica=2"], 2, "did you mean 'replicas'?"),
    ],
)
def test_a_mistake_is_one_message(tmp_path: Path, words: list[str], code: int, message: str) -> None:
    done = deploy(tmp_path, *words)
    assert done.returncode == code, done.stdout + done.stderr
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "out").exists() == (code == 0)
