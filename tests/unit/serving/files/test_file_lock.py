"""A file lock keeps others out while it is held, and no longer."""

from __future__ import annotations

from pathlib import Path

from benison.serving.files import file_lock


def test_an_exclusive_lock_keeps_everyone_out_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with file_lock.hold(path):
        assert file_lock.is_locked(path)
    assert not file_lock.is_locked(path)


def test_shared_holders_do_not_wait_for_each_other(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with file_lock.hold(path, shared=True), file_lock.hold(path, shared=True):
        assert not file_lock.is_locked(path)  # by one alone


def test_try_lock_does_not_wait(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with file_lock.hold(path), path.open("a") as file:
        assert not file_lock.try_lock(file)
    with path.open("a") as file:
        assert file_lock.try_lock(file)
