"""An ensemble is pushed with its members or not at all, whenever its push dies."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benison.serving.errors import VersionError
from benison.serving.promotion import labels
from benison.serving.versions import local, sets
from benison.serving.versions.manifest import Manifest, PinnedMember
from benison.serving.versions.sets import Candidate, publish

REPOSITORY = Path(__file__).parents[4]
PUBLISHER = Path(__file__).with_name("publisher.py")
MEGABYTES = 2


def write_model(folder: Path, content: bytes, megabytes: int = 0) -> Path:
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(content)
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(os.urandom(1 << 20) * megabytes)
    return folder


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    return {name: write_model(tmp_path / name, name.encode()) for name in ("whole", "deep", "wide")}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "serving" / "birds"


def push(models: dict[str, Path], base: Path, *members: str, second: float = 100) -> local.Version:
    candidates = {name: Candidate(models[name], Manifest(name=f"birds-{name}")) for name in members}
    return publish(Candidate(models["whole"], Manifest()), base, candidates, lambda: second)


def numbers(base: Path) -> dict[str, list[int]]:
    """The versions there are, by model."""
    homes = (home for home in sorted(base.parent.iterdir()) if home.is_dir())
    return {home.name: [version.number for version in local.versions(home)] for home in homes}


def test_the_members_get_the_ensembles_number_and_its_manifest_names_them(models, base):
    version = push(models, base, "deep", "wide")
    assert numbers(base) == {"birds": [100], "birds-deep": [100], "birds-wide": [100]}
    assert version.manifest.fan_out == {
        "deep": PinnedMember(model="birds-deep", version=100),
        "wide": PinnedMember(model="birds-wide", version=100),
    }
    (deep,) = local.versions(base.with_name("birds-deep"))
    assert (deep.path / "saved_model.pb").read_bytes() == b"deep"
    assert (deep.manifest.name, deep.manifest.member_of) == ("birds-deep", "birds")


def test_the_number_is_the_same_however_long_the_copying_takes(models, base):
    seconds = itertools.count(100)
    members = {name: Candidate(models[name], Manifest()) for name in ("deep", "wide")}
    publish(Candidate(models["whole"], Manifest()), base, members, lambda: next(seconds))
    assert numbers(base) == {"birds": [100], "birds-deep": [100], "birds-wide": [100]}


def test_an_ensemble_without_fan_out_names_no_members(models, base):
    assert push(models, base).manifest.fan_out == {}
    assert numbers(base) == {"birds": [100]}


@pytest.mark.parametrize("taken", ["birds", "birds-deep", "birds-wide"])
def test_the_number_is_free_for_all_of_them(models, base, taken):
    (base.with_name(taken) / "500").mkdir(parents=True)
    assert push(models, base, "deep", "wide", second=400).number == 501
    assert numbers(base) == {"birds": [501], "birds-deep": [501], "birds-wide": [501]}


def test_members_stay_as_long_as_a_version_names_them(models, base):
    push(models, base, "deep", "wide", second=1)
    push(models, base, "deep", second=2)  # the other one was dropped
    push(models, base, second=3)
    assert numbers(base) == {"birds": [1, 2, 3], "birds-deep": [1, 2], "birds-wide": [1]}
    local.remove(local.find(base, 1))
    assert [orphan.path.parent.name for orphan in sets.remove_orphans(base)] == ["birds-deep", "birds-wide"]
    assert numbers(base) == {"birds": [2, 3], "birds-deep": [2], "birds-wide": []}


def test_the_members_of_an_ensemble_whose_manifest_is_gone_stay(models, base):
    push(models, base, "deep", "wide", second=1)
    (base / "1" / "manifest.json").unlink()
    assert sets.remove_orphans(base) == []
    assert numbers(base)["birds-deep"] == [1]


def test_a_member_without_a_manifest_is_damaged(models, base):
    push(models, base, "deep")
    deep = base.with_name("birds-deep")
    (deep / "100" / "manifest.json").unlink()
    with pytest.raises(VersionError, match=r"birds-deep: version 100 is not as it was pushed"):
        sets.get_verified(base, 100)
    (deep / "pushes.jsonl").unlink()  # a ROOT of a former release has no such record
    with pytest.raises(VersionError, match=r"manifest.json: missing, and birds 100 was pushed with this member"):
        sets.get_verified(base, 100)


def test_a_failure_leaves_no_members_behind(models, base, monkeypatch):
    rename = os.rename

    def full(source, target):
        if Path(target) == base / "100":
            raise OSError("disk full")
        rename(source, target)

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(OSError, match="disk full"):
        push(models, base, "deep", "wide")
    assert numbers(base) == {"birds": [], "birds-deep": [], "birds-wide": []}


def test_another_pipeline_is_not_taken_for_a_member(models, base):
    other = base.with_name("birds-deep")
    local.publish(models["deep"], other, Manifest(), lambda: 7)
    push(models, base, "wide")
    with pytest.raises(VersionError, match=r"birds-deep/7: this is a model of its own, .* a member of birds"):
        push(models, base, "deep", "wide")
    assert numbers(base) == {"birds": [100], "birds-deep": [7], "birds-wide": [100]}


def test_a_member_is_not_taken_for_another_pipeline(models, base):
    push(models, base, "deep")
    with pytest.raises(VersionError, match=r"birds-deep/100: this is a member of birds, .* a model of its own"):
        push(models, base.with_name("birds-deep"))


def killed_push(moment: int, base: Path, models: Path) -> subprocess.CompletedProcess[str]:
    """Pushes and promotes in a process of its own, which is killed at its n-th moment; 0: never."""
    return subprocess.run(
        [sys.executable, PUBLISHER, str(moment), base, models],
        cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True,
    )  # fmt: skip


def whole(base: Path, version: local.Version) -> bytes:
    """The graph of an ensemble that is found to be complete with its members."""
    assert version.manifest.fan_out.keys() == {"deep", "wide"}
    members = [local.get(base.with_name(name), number) for name, number in sets.member_versions(version).items()]
    for part in (version, *members):
        assert local.verify(part) == []
    return (version.path / "saved_model.pb").read_bytes()


@pytest.mark.parametrize("kills", [5, pytest.param(40, marks=pytest.mark.soak)])
def test_a_push_killed_at_any_moment_leaves_the_old_set_or_the_new_one(tmp_path, kills):
    for age in ("old", "new"):
        for name in ("whole", "deep", "wide"):
            write_model(tmp_path / age / name, f"{age} {name}".encode(), MEGABYTES)
        (tmp_path / age / "ensemble.json").write_text("{}")
    before = tmp_path / "before" / "birds"
    assert killed_push(0, before, tmp_path / "old").returncode == 0
    done = killed_push(0, shutil.copytree(before.parent, tmp_path / "counted") / "birds", tmp_path / "new")
    moments = int(done.stdout)
    assert moments > kills
    outcomes = []
    for kill in range(kills):
        moment = 1 + kill * (moments - 1) // (kills - 1)  # the first, the last, and evenly between them
        base = shutil.copytree(before.parent, tmp_path / f"killed-at-{moment}") / "birds"
        assert killed_push(moment, base, tmp_path / "new").returncode == -signal.SIGKILL
        outcomes.append(whole(base, labels.served(base)))
        assert {whole(base, version) for version in local.versions(base)} <= {b"old whole", b"new whole"}

        assert killed_push(0, base, tmp_path / "new").returncode == 0
        assert whole(base, labels.served(base)) == b"new whole"
        named = numbers(base)
        assert named["birds"] == named["birds-deep"] == named["birds-wide"], "nothing is left that nobody names"
        assert list(base.parent.glob("*/.incoming-*")) == []
        shutil.rmtree(base.parent)
    assert outcomes == sorted(outcomes, reverse=True), "from one moment on it is the new one"
    assert (outcomes[0], outcomes[-1]) == (b"old whole", b"new whole")
