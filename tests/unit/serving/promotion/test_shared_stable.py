"""Several ROOTs that share a store serve the same version, or say that they do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from benison.serving.errors import ServedChanged, StoreError, VersionError
from benison.serving.promotion import history, labels, promote, rollout, shared_stable
from benison.serving.promotion.rollout import ChangeRequest
from benison.serving.versions import local, remote
from benison.serving.versions.manifest import Manifest
from benison.serving.versions.object_store import ObjectStore
from tests import memory_bucket

STORE = "memory://shared/models"


@pytest.fixture(autouse=True)
def memory() -> Iterator[MemoryFileSystem]:
    with memory_bucket.empty("shared") as files:
        yield files


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    """Two ROOTs that serve version 1; each has a candidate of its own, 2 and 3, in the store."""
    bases = (tmp_path / "ann" / "serving" / "owls", tmp_path / "bob" / "serving" / "owls")
    push(bases[0], 1)
    remote.publish(bases[0], 1, STORE)
    remote.fetch(bases[1], 1, STORE)
    for base, number in zip(bases, (2, 3), strict=True):
        serve(base, 1)
        push(base, number)
        remote.publish(base, number, STORE)
    return bases


def push(base: Path, number: int) -> None:
    model = base.parent / f"model-{number}"
    model.mkdir(parents=True)
    (model / "saved_model.pb").write_bytes(b"graph" * number)
    local.publish(model, base, Manifest(), lambda: number)


def serve(base: Path, number: int, store: str = STORE, force: bool = False) -> None:
    who = base.parents[1].name
    promote.promote(base, number, ChangeRequest(who, "better", store=store, force=force))


def test_the_second_root_gets_the_reason_and_follows(roots: tuple[Path, Path]) -> None:
    ann, bob = roots
    serve(ann, 2)
    with pytest.raises(
        ServedChanged,
        match=r"owls/stable.json: version 2 is served there \(by ann, .*\), and this ROOT serves 1; follow it",
    ):
        serve(bob, 3)
    with pytest.raises(ServedChanged):
        promote.rollback(bob, ChangeRequest("bob", "worse", store=STORE), 1)
    assert (labels.served(bob).number, shared_stable.read(STORE, "owls").version) == (1, 2)
    remote.fetch(bob, 2, STORE)
    serve(bob, 2)
    serve(bob, 3)
    assert (labels.served(bob).number, shared_stable.read(STORE, "owls").version) == (3, 3)


def test_a_change_between_reading_and_writing_is_noticed(
    roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = roots
    write_if = ObjectStore.write_if

    def ann_first(*args: Any) -> bool:
        monkeypatch.setattr(ObjectStore, "write_if", write_if)
        serve(ann, 2)
        return write_if(*args)

    monkeypatch.setattr(ObjectStore, "write_if", ann_first)
    with pytest.raises(ServedChanged, match="version 2 is served there"):
        serve(bob, 3)
    assert (labels.served(bob).number, shared_stable.read(STORE, "owls").version) == (1, 2)


def test_a_promotion_that_fails_puts_the_store_back(roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise VersionError("a server did not follow")

    monkeypatch.setattr(rollout, "roll_out", fail)
    with pytest.raises(VersionError, match="a server did not follow"):
        serve(roots[0], 2)
    assert shared_stable.read(STORE, "owls").version == 1


def away(*_: object, **__: object) -> None:
    raise StoreError("memory://shared/models: cannot be reached")


def state(base: Path) -> tuple[int, int, str]:
    """Return what a ROOT serves, how many changes are on record, and models.config."""
    return labels.served(base).number, len(history.read(base)), (base.parent / "models.config").read_text()


@pytest.mark.parametrize("method", ["tag", "read", "write_if"])
def test_if_the_store_is_away_nothing_changes_here(
    roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    before = state(roots[0])
    monkeypatch.setattr(ObjectStore, method, away)
    for change in (
        lambda: serve(roots[0], 2),
        lambda: promote.rollback(roots[0], ChangeRequest("a", "b", store=STORE), 2),
    ):
        with pytest.raises(StoreError, match="memory://shared/models: cannot be reached"):
            change()
    monkeypatch.undo()
    assert state(roots[0]) == before
    assert shared_stable.read(STORE, "owls").version == 1


def test_if_the_store_is_lost_on_the_way_the_message_says_what_it_names(
    roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(roots[0])

    def fail(*_: object) -> None:
        monkeypatch.setattr(ObjectStore, "write_if", away)
        raise VersionError("a server did not follow")

    with monkeypatch.context() as patch:
        patch.setattr(rollout, "roll_out", fail)
        with pytest.raises(
            StoreError,
            match=r"a server did not follow\n.*cannot be reached\nSo .*/owls/stable.json still names version 2, and this "
            "ROOT serves 1",
        ):
            serve(roots[0], 2)
    monkeypatch.undo()
    assert state(roots[0]) == before
    serve(roots[0], 2)  # and it works when the store is back
    assert labels.served(roots[0]).number == 2


def test_a_claim_whose_answer_was_lost_and_that_was_tried_again_is_ours(
    roots: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_if = ObjectStore.write_if

    def twice(*args: Any) -> bool:
        write_if(*args)
        return write_if(*args)

    monkeypatch.setattr(ObjectStore, "write_if", twice)
    serve(roots[0], 2)
    assert (labels.served(roots[0]).number, shared_stable.read(STORE, "owls").version) == (2, 2)


class Gcs:
    """One object as gcsfs shows it, which refuses a write for another generation (HTTP 412) by FileExistsError."""

    _location = "gs"

    def __init__(self) -> None:
        self.generation, self.content = 0, b""

    def split_path(self, path: str) -> tuple[str, str, None]:
        bucket, _, key = path.partition("/")
        return bucket, key, None

    def exists(self, path: str) -> bool:
        return True

    def info(self, path: str) -> dict[str, Any]:
        if not self.generation:
            raise FileNotFoundError(path)
        return {"generation": str(self.generation)}

    def cat_file(self, path: str) -> bytes:
        return self.content

    def call(self, method: str, url: str, *, ifGenerationMatch: str, data: bytes, **_: Any) -> None:
        if ifGenerationMatch != str(self.generation):
            raise FileExistsError(url)
        self.generation, self.content = self.generation + 1, data


def test_on_gs_only_one_of_two_writers_changes_an_object(monkeypatch: pytest.MonkeyPatch) -> None:
    store = ObjectStore(STORE)
    monkeypatch.setattr(store, "address", "gs://bucket/models")
    monkeypatch.setattr(store, "_files", Gcs())
    assert store.tag("owls/stable.json") is None
    assert store.write_if("owls/stable.json", b"1", None)
    assert not store.write_if("owls/stable.json", b"2", None), "it exists by now"
    tag = store.tag("owls/stable.json")
    assert store.write_if("owls/stable.json", b"3", tag)
    assert not store.write_if("owls/stable.json", b"4", tag), "it was changed since"
    assert store.read("owls/stable.json") == b"3"


def test_a_root_may_replace_what_another_serves_if_it_is_forced_to(roots: tuple[Path, Path]) -> None:
    ann, bob = roots
    serve(ann, 2)
    serve(bob, 3, force=True)
    assert shared_stable.read(STORE, "owls").version == 3


def test_a_broken_file_and_an_unreachable_store_are_reported(
    roots: tuple[Path, Path], memory: MemoryFileSystem
) -> None:
    memory.pipe_file("/shared/models/owls/stable.json", b'{"version": 2')
    with pytest.raises(VersionError, match=r"memory://shared/models/owls/stable.json: cut or overwritten"):
        serve(roots[0], 2)
    with pytest.raises(StoreError, match="not found; create the bucket"):
        serve(roots[0], 2, store="memory://gone/models")
    assert labels.served(roots[0]).number == 1
