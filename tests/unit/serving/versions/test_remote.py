"""Versions on an object store: fsspec's in memory, which has no rename, as S3."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from benison.serving.errors import StoreError, UsageError, VersionError
from benison.serving.versions import local as local_versions
from benison.serving.versions import object_store, remote, sets
from benison.serving.versions.manifest import Manifest
from benison.serving.versions.sets import Candidate
from tests import memory_bucket

STORE = "memory://bucket/models"


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    """An empty bucket."""
    with memory_bucket.empty("bucket") as files:
        yield files


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Version 100 of `birds`, with its member `deep`."""
    base = tmp_path / "serving" / "birds"
    push(base, 100, b"graph")
    return base


def push(base: Path, number: int, graph: bytes, **manifest: Any) -> None:
    model = base.parent.parent / f"model-{number}"
    (model / "variables").mkdir(parents=True)
    (model / "saved_model.pb").write_bytes(graph)
    (model / "variables" / "variables.index").write_bytes(b"index")
    sets.publish(
        Candidate(model, Manifest.model_validate(manifest)),
        base,
        {"deep": Candidate(model, Manifest())},
        lambda: number,
    )


def recorded(monkeypatch: pytest.MonkeyPatch, *methods: str) -> list[str]:
    """The paths that a store's methods are called for from now on, in their order."""
    paths: list[str] = []

    def recording(method: Callable[..., Any]) -> Callable[..., Any]:
        def called(self: MemoryFileSystem, *args: Any, **kwargs: Any) -> Any:
            paths.append(next(path for path in reversed(args) if str(path).startswith("/bucket")))
            return method(self, *args, **kwargs)

        return called

    for name in methods:
        monkeypatch.setattr(MemoryFileSystem, name, recording(getattr(MemoryFileSystem, name)))
    return paths


def numbers(name: str = "birds") -> list[int]:
    return [stored.number for stored in remote.versions(STORE, name)]


def damaged() -> dict[int, str]:
    return dict(remote.inventory(STORE, "birds").damaged)


def test_a_version_is_copied_with_its_members_and_all_its_files(memory, base):
    remote.publish(base, 100, STORE)
    assert (numbers(), numbers("birds-deep")) == ([100], [100])
    stored = remote.find(STORE, "birds", 100)
    assert stored.manifest == local_versions.find(base, 100).manifest
    assert stored.url == f"{STORE}/birds/100"
    files = {"manifest.json", "saved_model.pb", "variables/variables.index"}
    assert {path.removeprefix("/bucket/models/birds/100/") for path in memory.find("/bucket/models/birds")} == files


def test_the_manifest_of_the_ensemble_goes_last_of_all(memory, base, monkeypatch):
    written = recorded(monkeypatch, "pipe_file", "put_file")
    remote.publish(base, 100, STORE)
    manifests = [place for place, path in enumerate(written) if path.endswith("manifest.json")]
    assert [written[place] for place in manifests] == [
        "/bucket/models/birds-deep/100/manifest.json",
        "/bucket/models/birds/100/manifest.json",
    ]
    assert manifests == [2, 5], "each behind the two files of its version"


def test_without_a_manifest_there_is_no_version(memory, base):
    remote.publish(base, 100, STORE)
    memory.rm_file("/bucket/models/birds/100/manifest.json")
    assert numbers() == []
    assert remote.find(STORE, "birds", 100) is None
    with pytest.raises(VersionError, match=r"memory://bucket/models/birds: no version 100; it has none"):
        remote.fetch(base.with_name("birds"), 100, STORE)


def test_only_files_that_are_missing_or_wrong_are_sent_again(memory, base, monkeypatch):
    remote.publish(base, 100, STORE)
    memory.rm_file("/bucket/models/birds/100/manifest.json")
    memory.pipe_file("/bucket/models/birds/100/saved_model.pb", b"gra")  # another try's, say
    memory.pipe_file("/bucket/models/birds/100/stray", b"")
    sent = recorded(monkeypatch, "put_file")
    remote.publish(base, 100, STORE)
    assert sent == ["/bucket/models/birds/100/saved_model.pb"]
    assert memory.cat_file("/bucket/models/birds/100/saved_model.pb") == b"graph"
    assert not memory.exists("/bucket/models/birds/100/stray")
    assert numbers() == [100]


def test_a_file_that_arrives_damaged_leaves_no_version(memory, base, monkeypatch):
    monkeypatch.setattr(
        MemoryFileSystem, "put_file", lambda self, local, path, **_: self.pipe_file(path, b"damaged")
    )  # fmt: skip
    with pytest.raises(VersionError, match=r"birds-deep/100/saved_model.pb: 7 bytes .* expected 5 bytes with \w+;"):
        remote.publish(base, 100, STORE)
    assert (numbers(), numbers("birds-deep")) == ([], [])


def test_a_version_that_was_changed_here_is_not_copied(memory, base):
    (base / "100" / "saved_model.pb").write_bytes(b"other")
    with pytest.raises(VersionError, match=r"saved_model.pb: changed since the push"):
        remote.publish(base, 100, STORE)
    assert memory.find("/bucket") == []


def test_a_version_without_a_manifest_cannot_be_copied(memory, base):
    (base / "100" / "manifest.json").unlink()
    with pytest.raises(VersionError, match=r"manifest.json: missing, and Benison pushed this version"):
        remote.publish(base, 100, STORE)


@pytest.mark.parametrize(
    "damage",
    [
        lambda version: (version / "manifest.json").unlink(),
        lambda version: (version / "saved_model.pb").write_bytes(b"hparg"),  # of the same size
        lambda version: (version / "saved_model.pb").unlink(),
    ],
)
def test_a_damaged_version_is_fetched_again(memory, base, damage):
    remote.publish(base, 100, STORE)
    damage(base / "100")
    version = remote.fetch(base, 100, STORE)
    assert local_versions.verify(version) == []
    assert (base / "100" / "saved_model.pb").read_bytes() == b"graph"


@pytest.mark.parametrize("content", [b'{"files": {"saved_mo', b"", b"[]", b"{}"])
def test_a_version_whose_manifest_in_the_store_is_cut_is_damaged_and_copied_again(memory, base, tmp_path, content):
    remote.publish(base, 100, STORE)
    memory.pipe_file("/bucket/models/birds/100/manifest.json", content)
    assert (numbers(), damaged()) == ([], {100: f"{STORE}/birds/100/manifest.json: cut or overwritten"})
    with pytest.raises(
        VersionError, match=r"birds/100/manifest.json: cut or overwritten, so version 100 is damaged in"
    ):
        remote.fetch(tmp_path / "elsewhere" / "birds", 100, STORE)
    assert remote.publish(base, 100, STORE) == []
    assert (numbers(), damaged()) == ([100], {})


AT = "/bucket/models/birds/100"
IN_STORE = f"{STORE}/birds/100"
DAMAGE: list[tuple[Callable[[MemoryFileSystem], object], str, str]] = [
    (lambda files: files.rm_file(f"{AT}/saved_model.pb"), "saved_model.pb: missing", "saved_model.pb"),
    (
        lambda files: files.pipe_file(f"{AT}/saved_model.pb", b"gra"),
        "saved_model.pb: 3 bytes, expected 5",
        "saved_model.pb",
    ),
    (lambda files: files.pipe_file(f"{AT}/assets/more", b"x"), "assets/more: not in the manifest", "assets/more"),
]


@pytest.mark.parametrize(("damage", "problem", "replaced"), DAMAGE)
def test_a_copy_that_lost_a_file_is_listed_as_damaged_and_copied_again(memory, base, damage, problem, replaced):
    remote.publish(base, 100, STORE)
    damage(memory)
    assert (numbers(), damaged()) == ([], {100: f"{IN_STORE}/{problem}"})
    assert remote.verify(local_versions.get(base, 100), STORE) == [f"{IN_STORE}/{problem}"]
    assert remote.publish(base, 100, STORE, read_back=False) == [f"{IN_STORE}/{replaced}"]
    assert (numbers(), damaged()) == ([100], {})


@pytest.mark.parametrize("name", ["birds", "birds-deep"])
def test_content_that_changed_in_the_store_is_found_by_reading_it_and_copied_again(memory, base, name):
    version, changed = local_versions.get(base, 100), f"{STORE}/{name}/100/saved_model.pb"
    assert remote.verify(version, STORE) is None, "it is not there"
    remote.publish(base, 100, STORE)
    assert remote.verify(version, STORE) == []
    memory.pipe_file(f"/bucket/models/{name}/100/saved_model.pb", b"hparg")  # of the same size
    assert (numbers(), damaged()) == ([100], {})
    assert remote.verify(version, STORE) == [f"{changed}: changed since the copy"]
    assert remote.publish(base, 100, STORE) == [changed]
    assert remote.verify(version, STORE) == []


def test_a_copy_without_a_manifest_is_listed(memory, base):
    remote.publish(base, 100, STORE)
    memory.rm_file(f"{AT}/manifest.json")
    assert damaged() == {100: f"{IN_STORE}/manifest.json: missing; the copy did not end, or somebody deleted the file"}
    assert remote.verify(local_versions.get(base, 100), STORE) == [
        f"{IN_STORE}/manifest.json: missing or changed since the copy"
    ]


def test_a_copy_whose_manifest_was_made_to_fit_changed_files_is_not_fetched_where_it_was_published(memory, base):
    remote.publish(base, 100, STORE)
    manifest = json.loads(memory.cat_file(f"{AT}/manifest.json"))
    manifest["files"]["saved_model.pb"]["sha256"] = hashlib.sha256(b"hparg").hexdigest()
    memory.pipe_file(f"{AT}/manifest.json", json.dumps(manifest).encode())
    memory.pipe_file(f"{AT}/saved_model.pb", b"hparg")
    local_versions.remove(local_versions.get(base, 100))
    with pytest.raises(VersionError, match=r"pushes.jsonl: version 100 was published here with another manifest.json"):
        remote.fetch(base, 100, STORE)
    assert local_versions.all_versions(base) == []


def test_the_version_of_another_root_is_not_overwritten(memory, base, tmp_path):
    remote.publish(base, 100, STORE)
    other = tmp_path / "other" / "serving" / "birds"
    push(other, 100, b"another graph")
    with pytest.raises(VersionError, match=r"birds-deep/100: another version has this number, and only one ROOT"):
        remote.publish(other, 100, STORE)
    with pytest.raises(VersionError, match=r"birds-deep/100: another version has this number; nothing was changed"):
        remote.fetch(other, 100, STORE)
    assert memory.cat_file("/bucket/models/birds/100/saved_model.pb") == b"graph"
    assert (other / "100" / "saved_model.pb").read_bytes() == b"another graph"


def test_a_version_is_fetched_with_its_members_as_it_was(memory, base, tmp_path):
    remote.publish(base, 100, STORE)
    elsewhere = tmp_path / "elsewhere" / "birds"
    version = remote.fetch(elsewhere, 100, STORE)
    assert version.path == elsewhere / "100"
    assert version.manifest == local_versions.find(base, 100).manifest
    for home in (elsewhere, elsewhere.with_name("birds-deep")):
        assert [local_versions.verify(one) for one in local_versions.versions(home)] == [[]]
        assert {path.name for path in home.iterdir()} == {"100", "pushes.jsonl"}
    assert remote.fetch(elsewhere, 100, STORE) == version, "once more changes nothing"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda files, at: files.pipe_file(f"{at}/saved_model.pb", b"x"), "saved_model.pb: changed since the push"),
        (lambda files, at: files.rm_file(f"{at}/saved_model.pb"), "birds/100/saved_model.pb: not found"),
    ],
)
def test_a_damaged_version_is_not_fetched(memory, base, tmp_path, damage, said):
    remote.publish(base, 100, STORE)
    damage(memory, "/bucket/models/birds/100")
    elsewhere = tmp_path / "elsewhere" / "birds"
    with pytest.raises((VersionError, StoreError), match=said):
        remote.fetch(elsewhere, 100, STORE)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("place", ["../../evil", "/tmp/evil"])
def test_a_manifest_cannot_place_files_outside_of_the_version(memory, base, tmp_path, place):
    remote.publish(base, 100, STORE)
    at = "/bucket/models/birds-deep/100/manifest.json"
    manifest = json.loads(memory.cat_file(at))
    memory.pipe_file(at, json.dumps({**manifest, "files": {place: {"bytes": 1, "sha256": ""}}}).encode())
    with pytest.raises(VersionError, match="not a path below a version"):
        remote.fetch(tmp_path / "elsewhere" / "birds", 100, STORE)


def test_removed_is_the_manifest_first_and_then_the_rest(memory, base, monkeypatch):
    remote.publish(base, 100, STORE)
    removed = recorded(monkeypatch, "rm_file")
    remote.remove(STORE, "birds", 100)
    assert removed[0] == "/bucket/models/birds/100/manifest.json"
    assert memory.find("/bucket/models/birds") == []
    assert numbers("birds-deep") == [100]
    remote.remove(STORE, "birds", 100)  # what is not there needs no removing


@pytest.mark.parametrize(("age", "left"), [(timedelta(hours=23), True), (timedelta(hours=25), False)])
def test_the_remains_of_a_copy_are_removed_after_a_day(memory, base, monkeypatch, age, left):
    memory.pipe_file("/bucket/models/birds/99/saved_model.pb", b"half")
    memory.pipe_file("/bucket/models/birds/notes.txt", b"somebody's")
    written = datetime.now(timezone.utc) - age
    monkeypatch.setattr(MemoryFileSystem, "modified", lambda self, path: written)
    remote.publish(base, 100, STORE)
    assert memory.exists("/bucket/models/birds/99/saved_model.pb") == left
    assert memory.exists("/bucket/models/birds/notes.txt")
    assert numbers() == [100]


def test_a_missing_bucket_is_reported(memory, base):
    with pytest.raises(StoreError, match=r"memory://nest/models/birds: not found; create the bucket nest first"):
        remote.versions("memory://nest/models", "birds")


def test_a_store_without_its_library_is_refused(base):
    with pytest.raises(StoreError, match=r"adl://x: .*; `pip install 'benison\[store\]'` installs what s3:// needs"):
        remote.publish(base, 100, "adl://x")


@pytest.mark.parametrize(
    ("address", "needs"),
    [
        ("s3://b/m", r"needs s3fs; `pip install 'benison\[store\]'`"),
        ("gs://b/m", "needs gcsfs; `pip install 'gcsfs<2026'"),
    ],
)
def test_a_missing_library_is_reported_before_a_run(monkeypatch, address, needs):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=f"serving.store {address}: {needs}"):
        object_store.check_library(address)


def test_what_is_installed_is_enough(memory):
    object_store.check_library("s3://b/m")
