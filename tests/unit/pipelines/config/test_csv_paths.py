"""Tests of the paths of data files as a YAML writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benison.components.ingest import data_files
from benison.pipelines.config import csv_paths


def test_a_pattern_in_a_package_means_all_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_data_package"
    package.mkdir()
    for name in ("__init__.py", "a.csv", "b.csv"):
        (package / name).touch()
    monkeypatch.syspath_prepend(tmp_path)
    path = "package:some_data_package/*.csv"
    assert csv_paths.find(path) == [package / "a.csv", package / "b.csv"]
    assert data_files.find(csv_paths.located(path)) == (str(package / "a.csv"), str(package / "b.csv"))


def test_a_yaml_in_a_folder_with_brackets_names_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "[2024] birds"
    folder.mkdir()
    (folder / "a.csv").touch()
    assert csv_paths.find(csv_paths.absolute("*.csv", folder)) == [folder / "a.csv"]
