"""Tests of the files that a data path names."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from benison.components.ingest import data_files
from benison.serving.errors import DataError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("data/b.csv", "data/a.csv", "data/2024/05/deep.csv", "data/2024/x.txt", "data/.hidden.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(tree: Path, path: str) -> list[str]:
    return [os.path.relpath(file, tree) for file in data_files.find(str(tree / path))]


def test_two_stars_are_any_number_of_folders_and_the_files_are_sorted(tree: Path) -> None:
    assert names(tree, "data/*.csv") == ["data/a.csv", "data/b.csv"]
    assert names(tree, "data/**/*.csv") == ["data/2024/05/deep.csv", "data/a.csv", "data/b.csv"]
    assert names(tree, "**/deep.csv") == ["data/2024/05/deep.csv"]


def test_a_name_that_exists_is_not_a_pattern(tmp_path: Path) -> None:
    for name in ("[2024] my data/sales [1].csv", "[2024] my data/sales 1.csv", "2 my data/sales 1.csv", "*.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert names(tmp_path, "[2024] my data/sales [1].csv") == ["[2024] my data/sales [1].csv"]
    assert names(tmp_path, "[2024] my data/sales [0-9].csv") == ["[2024] my data/sales 1.csv"]
    assert names(tmp_path, "[2024] my data/*.csv") == ["[2024] my data/sales 1.csv", "[2024] my data/sales [1].csv"]
    assert names(tmp_path, "*.csv") == ["*.csv"]


def test_a_file_with_two_names_is_read_once(tree: Path) -> None:
    (tree / "data/newest").symlink_to(tree / "data/2024")
    (tree / "data/c.csv").symlink_to(tree / "data/a.csv")
    assert names(tree, "data/**/*.csv") == ["data/2024/05/deep.csv", "data/a.csv", "data/b.csv"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("data/c*.csv", "no file matches .*/data/c"),
        ("data/bb.csv", "no such file: .*/data/bb.csv; did you mean 'b.csv'"),
        ("data", r"data is a folder, expected a file or a pattern such as .*/data/\*\.csv"),
    ],
)
def test_a_path_without_files_is_refused(tree: Path, path: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        names(tree, path)


def test_files_of_spans_are_found_by_their_number(tmp_path: Path) -> None:
    for name in ("sales [02].csv", "sales [1].csv", "sales 3.csv", "sales [x].csv"):
        (tmp_path / name).touch()
    found = data_files.numbered(str(tmp_path / "sales [{SPAN}].csv"))
    assert [(number, os.path.basename(file)) for number, file in found] == [
        (1, "sales [1].csv"),
        (2, "sales [02].csv"),
    ]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a.csv", "{}/a.csv: cannot be read: Permission denied; let this user read it"),
        ("*.csv", "{}/a.csv: cannot be read: Permission denied; let this user read it"),
        ("closed/b.csv", "{0}/closed/b.csv: the folder {0}/closed cannot be read: let this user open it"),
    ],
)
def test_a_file_that_may_not_be_read_is_named(path: str, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        (Path(folder) / "a.csv").touch(0o000)
        (Path(folder) / "closed").mkdir(0o000)
        if child := os.fork():
            os.waitpid(child, 0)
        else:
            try:
                if os.geteuid() == 0:
                    os.setuid(65534)
                data_files.find(f"{folder}/{path}")
            except BaseException as error:
                os.write(1, str(error).encode())
            finally:
                os._exit(0)
        assert capfd.readouterr().out == message.format(folder)
