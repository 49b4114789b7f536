"""The models arrive where the deployed server looks: each command of the rendered files runs as the files say."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from benison.serving.promotion import promote
from benison.serving.promotion.rollout import ChangeRequest
from benison.serving.versions import remote, sets
from benison.serving.versions.manifest import Manifest
from benison.serving.versions.sets import Candidate
from tests.integration.conftest import BENISON
from tests.integration.containers import CLONE, Container, Mount, Network
from tests.integration.kubectl_here import container
from tests.integration.model_server import wait_until

pytestmark = pytest.mark.system

NAME = "penguins"
CLAIM = f"{NAME}-serving"
NOBODY = 65534


@dataclass(frozen=True)
class Project:
    """A ROOT with pushed versions, and the folder of the rendered files."""

    folder: Path

    @property
    def base(self) -> Path:
        return self.folder / "root" / "serving" / NAME

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def push(self, model: Path, number: int) -> None:
        """Push a version and promote it."""
        deep = Candidate(model, Manifest())
        sets.publish(Candidate(model, Manifest()), self.base, {"deep": deep}, lambda: number)
        promote.promote(self.base, number, ChangeRequest("ann", "it is better"))

    def deploy(self, *words: str) -> str:
        command = [str(BENISON), "deploy", NAME, "--root", str(self.folder / "root"), "-o", str(self.out), *words]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def document(self, name: str) -> dict[str, Any]:
        return dict(yaml.safe_load((self.out / name).read_text()))

    def configmap(self) -> Path:
        """Return the folder of the ConfigMap's files, as the kubelet writes them."""
        folder = self.folder / "configmap"
        folder.mkdir(exist_ok=True)
        for name, text in self.document("configmap.yaml")["data"].items():
            (folder / name).write_text(text)
        return folder

    def claim(self) -> Path:
        """Return the new and empty volume of the claim; the pod's fsGroup may write to it."""
        claim = self.folder / "kube" / "claims" / CLAIM
        claim.mkdir(parents=True)
        os.chown(claim, 0, NOBODY)
        claim.chmod(0o2775)
        return claim

    def pod(self) -> dict[str, Any]:
        return dict(self.document("deployment.yaml")["spec"]["template"]["spec"])

    def container(self, words: dict[str, Any], scratch: str = "pod") -> Container:
        """Return a container of the server's pod."""
        return container(self.pod(), words, self.folder / "kube" / "claims", self.folder / scratch, self.configmap())

    def copy(self) -> str:
        """Run `copy-models.sh` with a kubectl of this machine."""
        tools = self.folder / "tools"
        tools.mkdir(exist_ok=True)
        (tools / "kubectl").write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.integration.kubectl_here "$@"\n')
        (tools / "kubectl").chmod(0o755)
        variables = {"PATH": f"{tools}:{os.environ['PATH']}", "KUBECTL_HERE": str(self.folder / "kube")}
        done = subprocess.run(
            ["bash", self.out / "copy-models.sh"],
            env={**os.environ, **variables},
            cwd=CLONE,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert not list((self.folder / "kube" / "pods").iterdir())
        return done.stdout


@pytest.fixture
def project(tmp_path: Path, made: dict[int, Path]) -> Project:
    if os.geteuid():
        pytest.skip("needs root to mount")
    project = Project(tmp_path)
    project.push(made[1], 1)
    return project


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


@pytest.fixture
def broken(tmp_path: Path, made: dict[int, Path]) -> Path:
    """A model whose graph is cut."""
    folder = tmp_path / "broken"
    shutil.copytree(made[2], folder)
    (folder / "saved_model.pb").write_bytes(b"\x0a\xff\xff")
    return folder


def status(network: Network, probe: dict[str, Any], server: dict[str, Any]) -> int:
    """Return the answer's code for a probe, as the kubelet asks."""
    (port,) = (port["containerPort"] for port in server["ports"] if port["name"] == probe["httpGet"]["port"])
    return network.ask(port, probe["httpGet"]["path"])[0]


def predict(network: Network, x: float) -> float:
    code, text = network.ask(8501, f"/v1/models/{NAME}:predict", f'{{"instances": [{x}]}}')
    assert code == 200, text
    return float(yaml.safe_load(text)["predictions"][0])


@contextlib.contextmanager
def serving(container: Container, words: list[str], network: Network) -> Iterator[Path]:
    with container.running(words, network) as (process, log):
        yield log
        assert process.poll() is None, log.read_text()


def test_a_pod_waits_for_the_versions_that_a_script_copies_to_an_empty_claim(
    project: Project, network: Network, broken: Path
) -> None:
    said = project.deploy("--target", "k8s", "--set", "serving.kubernetes.storage=1Gi")
    out = project.out
    steps = f"kubectl apply -f {out}/pvc.yaml && bash {out}/copy-models.sh && kubectl apply -f {out}"
    assert said.splitlines()[-1] == f"next: {steps}"
    assert project.document("pvc.yaml")["metadata"]["name"] == CLAIM
    claim = project.claim()
    (waits,), (server,) = project.pod()["initContainers"], project.pod()["containers"]
    readiness, command = server["readinessProbe"], [*server["command"], *server["args"]]

    with project.container(waits).running(waits["command"]) as (process, log):
        wait_until(lambda: f"waiting for /models/{NAME}" in log.read_text())
        assert process.poll() is None
        assert status(network, readiness, server) == 0
        assert f"{NAME}/1 is copied" in project.copy()
        assert process.wait(30) == 0
    assert (claim / NAME / "1" / "saved_model.pb").stat().st_uid == NOBODY
    assert f"{NAME}/1 is there" in project.copy(), "a second time nothing is copied"

    with serving(project.container(server), command, network):
        wait_until(lambda: status(network, readiness, server) == 200)
        assert predict(network, 2) == 2
        (claim / NAME / "1").rename(claim / NAME / "gone")
        wait_until(lambda: status(network, readiness, server) == 404)
        assert network.ask(8501, f"/v1/models/{NAME}")[0] == 200, "the status says 200 for an unloaded version too"

    project.push(broken, 2)
    project.deploy("--target", "k8s", "--set", "serving.kubernetes.storage=1Gi")
    assert f"{NAME}/2 is copied" in project.copy()
    assert project.container(waits, "next").run(waits["command"]).returncode == 0
    with project.container(server, "next").running(command, network) as (_, log):
        wait_until(lambda: f"model {NAME} version 2, try 1" in log.read_text(), 60)
        assert status(network, readiness, server) == 0, "a broken version is never ready"


def test_a_pod_fetches_the_versions_from_the_object_store_before_its_server_starts(
    project: Project, network: Network, s3: str, made: dict[int, Path]
) -> None:
    variables = {name: text for name, text in os.environ.items() if name.startswith("AWS_")}
    words = [
        *("--target", "k8s", "--set", "serving.store=s3://bucket/models"),
        *("--set", "serving.kubernetes.fetch_image=registry.example/benison:1"),
        *("--set", f"serving.environment={json.dumps(variables)}"),
    ]
    project.push(made[2], 2)
    for number in (1, 2):
        remote.publish(project.base, number, "s3://bucket/models")
    assert project.deploy(*words).splitlines()[-1] == f"next: kubectl apply -f {project.out}"
    (fetches,), (server,) = project.pod()["initContainers"], project.pod()["containers"]
    assert fetches["image"] == "registry.example/benison:1"
    done = project.container(fetches).run(fetches["command"])  # with this machine's network, where the store is
    assert done.returncode == 0, done.stdout + done.stderr
    with serving(project.container(server), [*server["command"], *server["args"]], network):
        wait_until(lambda: status(network, server["readinessProbe"], server) == 200)
        assert predict(network, 2) == 3
        assert network.ask(8501, f"/v1/models/{NAME}-deep/versions/2/metadata")[0] == 200, "the members came with it"

    shutil.rmtree(project.folder / "pod")
    lost = ["3" if word == "2" else word for word in fetches["command"]]
    done = project.container(fetches).run(lost)
    assert done.returncode == 1
    assert done.stderr == "s3://bucket/models/penguins: no version 3; it has 1, 2\n"


@pytest.mark.parametrize("owner", [0, 4321])
def test_a_compose_server_is_no_root_and_healthy_only_while_the_model_is_served(
    project: Project, network: Network, owner: int
) -> None:
    for path in (project.base.parent, *project.base.parent.rglob("*")):
        os.chown(path, owner, owner)
        if owner:
            path.chmod(path.stat().st_mode & 0o700)  # as with umask 077
    project.deploy("--target", "compose")
    (service,) = project.document("compose.yaml")["services"].values()
    assert service["user"] == (f"{owner}:{owner}" if owner else f"{NOBODY}:{NOBODY}")
    assert service["read_only"]
    mounts = [
        Mount(project.out / volume["source"], volume["target"], volume["read_only"]) for volume in service["volumes"]
    ]
    scratch = project.folder / "pod"
    scratch.mkdir()
    scratch.chmod(0o1777)
    container = Container(project.folder / "scratch", service["user"], [*mounts, Mount(scratch, "/tmp")])

    def healthy() -> bool:
        kind, *command = service["healthcheck"]["test"]
        assert kind == "CMD"
        return container.run(command, network).returncode == 0

    assert not healthy()
    with serving(container, [*service["entrypoint"], *service["command"]], network):
        wait_until(healthy, 120)  # each check starts Python, and the server imports TensorFlow
        assert predict(network, 2) == 2
        (project.base / "1").rename(project.base / "gone")
        wait_until(lambda: not healthy())
        assert network.ask(8501, f"/v1/models/{NAME}")[0] == 200


def test_compose_is_refused_if_the_servers_user_may_not_read_the_versions(project: Project) -> None:
    file = project.base / "1" / "saved_model.pb"
    file.chmod(0o640)
    command = [str(BENISON), "deploy", NAME, "--root", str(project.folder / "root"), "-o", str(project.out)]
    done = subprocess.run(
        [*command, "--target", "compose"], cwd=project.folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.endswith(f"not as root; chmod -R o+rX {project.base.parent}\n")
    assert str(file) in done.stderr
