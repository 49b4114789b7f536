"""Versions on S3: moto's server on loopback, asked over HTTP as any other."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benison.serving.errors import StoreError, VersionError
from benison.serving.promotion import labels, shared_stable
from benison.serving.versions import local, remote, sets
from benison.serving.versions.manifest import Manifest
from benison.serving.versions.object_store import ObjectStore
from benison.serving.versions.sets import Candidate
from tests.integration.conftest import CLONE, Project, make
from tests.integration.model_server import free_port, running

PUBLISHER = Path(__file__).with_name("s3_publisher.py")
STORE = "s3://bucket/models"
MEGABYTES = 6  # more than the sockets between two processes hold


@pytest.fixture
def base(tmp_path: Path, made: dict[int, Path]) -> Path:
    """Version 100 of `birds` with its member `deep`: a model that answers, and large enough to be torn in transit."""
    base = tmp_path / "serving" / "birds"
    push(made[1], base, 100)
    return base


def push(model: Path, base: Path, number: int) -> None:
    ballast = base.parent.parent / "ballast"
    ballast.parent.mkdir(exist_ok=True)
    ballast.write_bytes(os.urandom(1 << 20) * MEGABYTES)
    whole = Candidate(model, Manifest(), {"assets.extra/ballast": ballast})
    sets.publish(whole, base, {"deep": Candidate(model, Manifest())}, lambda: number)


def numbers(name: str = "birds") -> list[int]:
    return [stored.number for stored in remote.versions(STORE, name)]


def copied(moment: int, base: Path, number: int) -> subprocess.CompletedProcess[str]:
    """Copies in a process of its own, which is killed at its n-th moment; 0: never."""
    return subprocess.run(
        [sys.executable, PUBLISHER, str(moment), base, str(number), STORE],
        env={**os.environ, "PYTHONPATH": str(CLONE)}, capture_output=True, text=True,
    )  # fmt: skip


def fetched(folder: Path, number: int) -> list[str]:
    """Return the faults of a fetched version and its members."""
    base = folder / "birds"
    remote.fetch(base, number, STORE)
    homes = (base, base.with_name("birds-deep"))
    return [problem for home in homes for version in local.versions(home) for problem in local.verify(version)]


def test_a_fetched_version_is_served(s3: str, base: Path, tmp_path: Path) -> None:
    remote.publish(base, 100, STORE)
    version = remote.fetch(tmp_path / "elsewhere" / "birds", 100, STORE)
    with running(tmp_path, f"--model_base_path={version.path.parent}", "--model_name=birds") as model_server:
        assert model_server.post("birds:predict", {"instances": [2.0]}) == (200, {"predictions": [2.0]})


def test_versions_are_listed_found_and_removed(s3: str, base: Path, made: dict[int, Path]) -> None:
    push(made[2], base, 200)
    assert numbers() == []
    for number in (200, 100):
        remote.publish(base, number, STORE)
    assert (numbers(), numbers("birds-deep")) == ([100, 200], [100, 200])
    stored = remote.find(STORE, "birds", 200)
    assert stored.manifest == local.find(base, 200).manifest
    remote.remove(STORE, "birds", 100)
    assert (numbers(), numbers("birds-deep")) == ([200], [100, 200])
    assert remote.find(STORE, "birds", 100) is None


def test_the_mark_of_a_folder_that_somebody_made_is_no_file(s3: str, base: Path) -> None:
    there = ObjectStore(STORE)
    for key in ("birds/", "birds/100/"):
        there.write(key, b"")
    remote.publish(base, 100, STORE)
    assert numbers() == [100]
    assert there.sizes("birds/100").keys() == {*local.find(base, 100).manifest.files, "manifest.json"}


@pytest.mark.parametrize("kills", [3, pytest.param(30, marks=pytest.mark.soak)])
def test_a_copy_killed_at_any_moment_leaves_no_version_or_a_whole_one_and_the_next_continues(
    s3: str, base: Path, made: dict[int, Path], tmp_path: Path, kills: int
) -> None:
    remote.publish(base, 100, STORE)
    push(made[2], base, 200)
    done = copied(0, base, 200)
    # How many pieces the large file leaves in differs a little from time to time.
    moments = int(done.stdout) * 9 // 10
    assert moments > kills
    outcomes = []
    for kill in range(kills):
        for name in ("birds", "birds-deep"):
            remote.remove(STORE, name, 200)
        moment = 1 + kill * (moments - 1) // (kills - 1)  # the first, one near the end, and evenly between them
        assert copied(moment, base, 200).returncode == -signal.SIGKILL
        there = numbers()
        outcomes.append(there)
        for number in there:
            assert fetched(tmp_path / "after" / str(moment), number) == []

        assert copied(0, base, 200).returncode == 0
        assert (numbers(), numbers("birds-deep")) == ([100, 200], [100, 200])
        assert fetched(tmp_path / "again" / str(moment), 200) == []
        shutil.rmtree(tmp_path / "again")
    assert outcomes[0] == [100]
    assert all(there in ([100], [100, 200]) for there in outcomes)


def test_a_missing_bucket_is_reported(s3: str, base: Path) -> None:
    for ask in (lambda: remote.versions("s3://nest/models", "birds"), lambda: publish(base, "s3://nest/x")):
        with pytest.raises(StoreError, match=r"s3://nest/.*: not found; create the bucket nest first"):
            ask()


def publish(base: Path, store: str) -> None:
    remote.publish(base, 100, store)


@pytest.mark.parametrize("gone", [["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"], ["AWS_SECRET_ACCESS_KEY"]])
def test_missing_credentials_are_reported(
    s3: str, base: Path, monkeypatch: pytest.MonkeyPatch, gone: list[str]
) -> None:
    for name in gone:
        monkeypatch.delenv(name)
    with pytest.raises(StoreError, match=r"s3://bucket/models/birds.*: .* credentials; set AWS_ACCESS_KEY_ID and"):
        publish(base, STORE)


def test_an_unreachable_store_is_reported(s3: str, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StoreError, match=r"s3://bucket/models/birds.*: cannot be reached; .* AWS_ENDPOINT_URL"):
        publish(base, STORE)


def test_a_version_that_the_store_lacks_is_reported(s3: str, base: Path) -> None:
    publish(base, STORE)
    with pytest.raises(VersionError, match=r"s3://bucket/models/birds: no version 7; it has 100"):
        remote.fetch(base, 7, STORE)


def test_only_one_of_two_writers_changes_an_object(s3: str) -> None:
    key, ann, bob = "birds/stable.json", ObjectStore(STORE), ObjectStore(STORE)
    assert ann.tag(key) is None
    assert ann.write_if(key, b"1", None)
    assert not bob.write_if(key, b"2", None), "it exists by now"
    tag = bob.tag(key)
    assert ann.write_if(key, b"3", tag)
    assert not bob.write_if(key, b"4", tag), "it was changed since"
    assert bob.read(key) == b"3"
    assert bob.write_if(key, b"5", bob.tag(key))


@pytest.fixture
def project(s3: str, tmp_path: Path, made: dict[int, Path]) -> Project:
    """A project that copies to the store, with two versions."""
    project = make(tmp_path / "project")
    with (project.folder / "birds.yaml").open("a") as yaml:
        yaml.write(f"serving: {{store: {STORE}, fan_out: true, keep: 1}}\n")
    for number in (100, 200):
        push(made[1], project.base, number)
    return project


def said(project: Project, *words: str) -> str:
    done = project.benison(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rows(project: Project) -> list[tuple[str, str]]:
    """Return each version and its entry in the column `store`."""
    lines = [line.split() for line in said(project, "versions", "birds.yaml").splitlines()]
    assert lines[0][-1] == "store"
    return [(line[0], line[-1]) for line in lines[1:] if line[0].isdigit()]


def test_the_commands_know_the_store(project: Project, tmp_path: Path) -> None:
    assert rows(project) == [("100", "no"), ("200", "no")]
    said(project, "promote", "birds.yaml", "100")
    assert (numbers(), numbers("birds-deep")) == ([100], [100]), "copied before it is served"
    said(project, "promote", "birds.yaml", "200")
    assert rows(project) == [("100", "yes"), ("200", "yes")]

    assert f"these versions would be removed from {STORE} too" in said(project, "prune", "birds.yaml", "--dry-run")
    assert numbers() == [100, 200]
    assert f"these versions were removed from {STORE} too" in said(project, "prune", "birds.yaml")
    assert (numbers(), numbers("birds-deep")) == ([200], [200])
    assert project.versions() == ["200"]

    assert shared_stable.read(STORE, "birds").version == 200
    there = ObjectStore(STORE)
    there.write("birds/stable.json", b'{"version": 100, "who": "bob", "when": "today"}')
    assert "birds/stable.json: version 100 is served there (by bob, today), and this ROOT serves 200" in said(
        project, "versions", "birds.yaml"
    )
    refused = project.benison("promote", "birds.yaml", "200")
    assert (refused.returncode, "version 100 is served there" in refused.stderr) == (1, True)
    said(project, "promote", "birds.yaml", "200", "--force")
    assert shared_stable.read(STORE, "birds").version == 200

    again = said(project, "rollback", "birds.yaml", "--to", "200", "--republish")
    new = int(again.split(" is published again as version ")[1].split(":")[0])
    assert numbers() == [200, new], "servers that poll the store find it"

    shutil.rmtree(project.root / "serving")
    assert "next: benison promote birds.yaml 200 serves it" in said(project, "fetch", "birds.yaml", "200")
    assert labels.served(project.base) is None, "not for being the highest number"
    assert f"only in {STORE}: {new}; `benison fetch" in said(project, "versions", "birds.yaml")
    said(project, "fetch", "birds.yaml")
    assert {*project.versions()} == {"200", str(new)}
    assert "all as they were pushed" in said(project, "verify", "birds.yaml", str(new))


def test_local_versions_are_shown_while_the_store_is_unavailable(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    done = project.benison("versions", "birds.yaml")
    assert done.returncode == 1
    assert "200" in done.stdout
    assert "s3://bucket/models/birds: cannot be reached" in done.stderr


@pytest.mark.parametrize("more", ["", "serving: {store: bucket/models}\n"])
def test_a_fetch_needs_a_store(tmp_path: Path, more: str) -> None:
    project = make(tmp_path / "project")
    with (project.folder / "birds.yaml").open("a") as yaml:
        yaml.write(more)
    done = project.benison("fetch", "birds.yaml")
    assert done.returncode == 2
    assert "such as s3://BUCKET/models" in done.stderr
