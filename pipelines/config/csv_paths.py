"""Where a pipeline's CSV files are: a path, a glob pattern, or `package:NAME/PATH` inside an installed package."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from benison.pipelines.code.code_reference import package_folders, shown
from benison.serving.close_names import did_you_mean
from benison.serving.errors import DataError

_PACKAGE = "package:"


def place(csv: str, folder: Path) -> str:
    """`csv` without its dependence on `folder`: an absolute path or pattern; `package:` stays as it is."""
    return csv if csv.startswith(_PACKAGE) else os.path.abspath(folder / Path(csv).expanduser())


def find(csv: str) -> list[Path]:
    """The files that `csv` (as `place` made it) names, sorted.

    Raises:
        DataError: there are none.
    """
    if not csv.startswith(_PACKAGE):
        return _matching(csv, shown(Path(csv)))
    package, _, inside = csv.removeprefix(_PACKAGE).partition("/")
    folders = package_folders(package)
    if not folders:
        raise DataError(f"no package {package!r} is installed (for {csv})")
    return _matching(str(folders[0] / inside), csv)


def _matching(pattern: str, name: str) -> list[Path]:
    if Path(pattern).is_file():  # first, because a file's own name may hold brackets
        return [Path(pattern)]
    if not glob.has_magic(pattern):
        path = Path(pattern)
        if path.is_dir():
            raise DataError(f"{name} is a folder, expected a file or a pattern such as {name}/*.csv")
        beside = [other.name for other in path.parent.glob("*")]
        raise DataError(f"no such file: {name}{did_you_mean(path.name, beside)}")
    files = sorted(Path(file) for file in glob.glob(pattern, recursive=True) if Path(file).is_file())
    if not files:
        raise DataError(f"no file matches {name}")
    return files


def pattern(csv: str) -> str:
    """`csv` as a path or glob pattern that means the same to any other program.

    Raises:
        DataError: its package is not installed, or it does not hold the file.
    """
    return str(find(csv)[0]) if csv.startswith(_PACKAGE) else csv
