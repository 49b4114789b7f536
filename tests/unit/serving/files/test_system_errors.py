"""A failure of the machine is one line with a path and what to do, whoever reports it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from benison.serving.files import atomic_file, system_errors

FULL = "No space left on device; free space on its disk, or use another disk"


def _of(number: int, path: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), path)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (_of(errno.ENOSPC, "/data/a"), f"/data/a: {FULL}"),
        (_of(errno.ENOSPC), FULL),
        (_of(errno.EACCES, "/a"), "/a: Permission denied; give this user the permission, or use another path"),
        (_of(errno.EROFS, "/a"), "/a: Read-only file system; make its file system writable, or use another folder"),
        (_of(errno.ENOTDIR, "/a/b"), "/a/b: Not a directory; a part of the path is a file; use another path"),
        (_of(errno.ECONNREFUSED), "Connection refused"),
        (OSError("in words"), "in words"),
        (shutil.Error("in words"), "in words"),
    ],
)
def test_an_error_of_the_system_says_what_to_do(error: OSError, line: str) -> None:
    assert system_errors.in_one_line(error) == line


@pytest.mark.parametrize(
    "text",
    [
        "ResourceExhaustedError: /data/a; No space left on device [while running 'Analyze/Save[Phase0]']",
        "[Errno 28] Error writing bytes. Detail: No space left on device: '/data/a'",
    ],
)
def test_a_full_disk_is_found_in_the_text_of_a_library(text: str) -> None:
    error = RuntimeError(text)
    assert system_errors.machine_failure(error) == f"/data/a: {FULL}"
    wrapped = ValueError("the node failed")
    wrapped.__cause__ = error
    assert system_errors.machine_failure(wrapped) == f"/data/a: {FULL}"


def test_sqlite_has_its_own_words_for_a_full_disk() -> None:
    error = RuntimeError("Error when executing query: database or disk is full query: COMMIT;")
    assert system_errors.machine_failure(error).startswith("database or disk is full; free space")


@pytest.mark.parametrize("error", [ValueError("no"), _of(errno.ENOENT, "vocabulary.txt"), FileNotFoundError()])
def test_other_errors_are_no_failure_of_the_machine(error: Exception) -> None:
    assert system_errors.machine_failure(error) == ""


def test_a_copy_that_fails_is_not_a_list_of_tuples(tmp_path: Path) -> None:
    def full(_: str, target: str) -> None:
        raise _of(errno.ENOSPC, target)

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").touch()
    with pytest.raises(shutil.Error) as caught:
        shutil.copytree(tmp_path / "model", tmp_path / "copy", copy_function=full)
    line = f"{tmp_path / 'copy/weights'}: {FULL}"
    assert system_errors.in_one_line(caught.value) == line
    assert system_errors.machine_failure(caught.value) == line


def test_a_write_to_a_full_disk_names_the_path() -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        atomic_file.write_synced(Path("/dev/full"), "text")
    assert system_errors.in_one_line(caught.value) == f"/dev/full: {FULL}"
    with pytest.raises(FileNotFoundError) as other, system_errors.about(Path("/root")):
        Path("/nowhere/file").read_text()
    assert other.value.filename == "/nowhere/file"
