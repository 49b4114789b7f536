"""Paths of a pipeline's data files: a path, a glob pattern, or `package:NAME/PATH` inside an installed package."""

from __future__ import annotations

import os
from pathlib import Path

from benison.components.ingest import data_files
from benison.pipelines.code.code_reference import display_path, package_folders
from benison.serving.errors import DataError

_PACKAGE = "package:"


def absolute(csv: str, folder: Path) -> str:
    """Make `csv` independent of `folder`: an absolute path or pattern; `package:` stays the same."""
    return csv if csv.startswith(_PACKAGE) else os.path.abspath(folder / Path(csv).expanduser())


def find(csv: str) -> list[Path]:
    """Return the files that `csv` (the result of `absolute`) names, sorted.

    Raises:
        DataError: there are none.
    """
    name = csv if csv.startswith(_PACKAGE) else display_path(Path(csv))
    return [Path(file) for file in data_files.find(_path(csv), name)]


def located(csv: str) -> str:
    """Return `csv` as an absolute path or pattern.

    Raises:
        DataError: its package is not installed or does not contain the files.
    """
    if csv.startswith(_PACKAGE):
        find(csv)
    return _path(csv)


def _path(csv: str) -> str:
    if not csv.startswith(_PACKAGE):
        return csv
    package, _, inside = csv.removeprefix(_PACKAGE).partition("/")
    folders = package_folders(package)
    if not folders:
        raise DataError(f"no package {package!r} is installed (for {csv})")
    return str(folders[0] / inside)
