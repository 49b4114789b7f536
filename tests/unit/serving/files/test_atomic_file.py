"""A file is replaced whole or not at all."""

from __future__ import annotations

import os

import pytest

from benison.serving.files import atomic_file


def test_a_file_is_replaced_and_all_may_read_it(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a longer text")
    atomic_file.write(path, "né\n")
    assert path.read_text(encoding="utf-8") == "né\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_after_a_failure_the_old_file_is_kept(tmp_path, monkeypatch, fails):
    def full(*_):
        raise OSError("disk full")

    path = tmp_path / "a.txt"
    path.write_text("old")
    monkeypatch.setattr(os, fails, full)
    with pytest.raises(OSError, match="disk full"):
        atomic_file.write(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]
