"""A file lock keeps others out while it is held, and no longer."""

from __future__ import annotations

import threading
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


def test_a_shared_holder_is_alone_when_the_others_have_ended_or_want_to_be_alone_too(tmp_path: Path) -> None:
    path, started, order = tmp_path / ".lock", threading.Barrier(2), []

    def work(name: str) -> None:
        with file_lock.hold_shared(path) as alone:
            started.wait()
            with alone():
                order.append(f"{name} begins")
                assert file_lock.is_locked(path)
                order.append(f"{name} ends")

    with file_lock.hold_shared(path):
        threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        threads[0].join(0.1)
        assert not order  # this holder is in their way
    for thread in threads:
        thread.join(60)
    assert order in (["a begins", "a ends", "b begins", "b ends"], ["b begins", "b ends", "a begins", "a ends"])
