"""Paths of a pipeline's data files: a path, a glob pattern, or `package:NAME/PATH` inside an installed package."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from benison.pipelines.code.code_reference import display_path, package_folders
from benison.serving.close_names import did_you_mean
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
    if not csv.startswith(_PACKAGE):
        return _matching(csv, display_path(Path(csv)))
    package, _, inside = csv.removeprefix(_PACKAGE).partition("/")
    folders = package_folders(package)
    if not folders:
        raise DataError(f"no package {package!r} is installed (for {csv})")
    return _matching(str(folders[0] / inside), csv)


def _matching(pattern: str, name: str) -> list[Path]:
    if Path(pattern).is_file():  # before globbing, because a file's name may contain brackets
        return [Path(pattern)]
    if not glob.has_magic(pattern):
        path = Path(pattern)
        if path.is_dir():
            raise DataError(f"{name} is a folder, expected a file or a pattern such as {name}/*.csv")
        neighbours = [other.name for other in path.parent.glob("*")]
        raise DataError(f"no such file: {name}{did_you_mean(path.name, neighbours)}")
    files = sorted(Path(file) for file in glob.glob(pattern, recursive=True) if Path(file).is_file())
    if not files:
        raise DataError(f"no file matches {name}")
    return files


def pattern(csv: str) -> str:
    """Return `csv` as a path or glob pattern that any other program understands.

    Raises:
        DataError: its package is not installed or does not contain the file.
    """
    return str(find(csv)[0]) if csv.startswith(_PACKAGE) else csv
