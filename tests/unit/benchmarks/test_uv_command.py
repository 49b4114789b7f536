"""Benchmarks use the uv on PATH, else the one that setup installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.uv_command import find_uv


def install(folder: Path) -> str:
    folder.mkdir(parents=True)
    command = folder / "uv"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    return str(command)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH; it does not exist yet."""
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    return tmp_path / "path"


def test_the_uv_on_path_comes_first(tmp_path: Path, path: Path) -> None:
    install(tmp_path / ".uv" / "bin")
    on_path = install(path)
    assert find_uv(tmp_path) == on_path


def test_without_one_on_path_the_uv_of_setup_is_used(tmp_path: Path, path: Path) -> None:
    installed = install(tmp_path / ".uv" / "bin")
    assert find_uv(tmp_path) == installed


def test_without_any_uv_the_message_names_the_remedy(tmp_path: Path, path: Path) -> None:
    with pytest.raises(SystemExit, match=r"not at .*/\.uv/bin/uv; run `make setup`"):
        find_uv(tmp_path)
