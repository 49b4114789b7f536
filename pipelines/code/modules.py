"""Find the file behind an import, without importing anything."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import sysconfig
from pathlib import Path


def is_first_party(path: Path) -> bool:
    """Return whether a file is the user's (or a clone's) and belongs to no installed package or standard library."""
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    candidates = [path, path.resolve()]
    return not any(candidate.is_relative_to(library) for candidate in candidates for library in _libraries())


def import_path() -> list[str]:
    """Return the folders that this process imports from, without those of installed packages.

    They are the script's folder, PYTHONPATH and what code added to `sys.path`. Another process needs them to find the
    modules of a script in another folder. Installed packages are left out, because a node may start a Python of another
    version.
    """
    pythonpath = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    folders = dict.fromkeys(os.path.abspath(entry) for entry in sys.path)  # an empty entry is the current folder
    return [folder for folder in folders if folder in pythonpath or is_first_party(Path(folder))]


def locate(importer: Path, level: int, module: str) -> list[Path]:
    """Return the files or namespace folders that an import in the file `importer` may mean; empty if there are none.

    It looks in the file's own folder and in the root of its package: Python has the first on its import path if the
    file is loaded by its path, the second if it is loaded as a module.
    """
    parts = tuple(part for part in module.split(".") if part)
    if level:
        start = importer.parents[min(level, len(importer.parents)) - 1]
        relative = _descend(start, parts)
        return [relative] if relative else []
    paths = [_descend(folder, parts) for folder in dict.fromkeys((importer.parent, root(importer)))]
    nearby = [path for path in paths if path]
    if any(path.is_file() for path in nearby):
        return nearby
    installed = find(module)
    return [installed] if installed else nearby


def find(module: str) -> Path | None:
    """Return the file of an absolute module, or its namespace folder, on `sys.path`; import nothing."""
    parts = tuple(module.split("."))
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded and loaded.endswith(".py"):
        return Path(os.path.abspath(loaded))
    if module == "__main__":  # of a notebook or a shell; a `__main__.py` on the path is a different module
        return None
    paths = [_descend(Path(os.path.abspath(entry)), parts) for entry in sys.path]
    files = [path for path in paths if path and path.is_file()]
    if files:
        return files[0]
    return _find_by_hook(parts) or next((path for path in paths if path), None)


def submodule(module: Path, name: str) -> Path | None:
    """Return the file or folder of `name` in the package of an `__init__.py` or in a namespace folder."""
    if module.name == "__init__.py":
        return _descend(module.parent, (name,))
    return _descend(module, (name,)) if module.is_dir() else None


def root(path: Path) -> Path:
    """Return the folder that holds a file's outermost package, or the file's own folder if it is in no package."""
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        folder = folder.parent
    return folder


def _descend(folder: Path, parts: tuple[str, ...]) -> Path | None:
    """Go down from a folder, package by package, as an import does."""
    for depth, part in enumerate(parts):
        package, module = folder / part, folder / f"{part}.py"
        if not (package / "__init__.py").is_file() and module.is_file():
            return module if depth == len(parts) - 1 else None
        if not package.is_dir():
            return None
        folder = package
    init = folder / "__init__.py"
    return init if init.is_file() else folder


def _find_by_hook(parts: tuple[str, ...]) -> Path | None:
    """Ask the import system for a top-level module: it finds editable installs by hooks, not on `sys.path`."""
    try:
        spec = importlib.util.find_spec(parts[0])
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        return None
    origin = Path(os.path.abspath(spec.origin))
    if len(parts) == 1:
        return origin
    return _descend(origin.parent, parts[1:]) if origin.name == "__init__.py" else None


@functools.cache  # `sysconfig` works them out again at each call, and a fingerprint asks thousands of times
def _libraries() -> tuple[Path, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    paths = [Path(sysconfig.get_path(name)) for name in names]
    return (*paths, *(path.resolve() for path in paths))
