"""Where the module of an import lies, found without importing anything."""

from __future__ import annotations

import importlib.util
import os
import sys
import sysconfig
from pathlib import Path


def first_party(path: Path) -> bool:
    """Whether a file is the user's (or a clone's), not the standard library's nor an installed package's."""
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    places = [path, path.resolve()]
    return not any(place.is_relative_to(library) for place in places for library in _libraries())


def import_path() -> list[str]:
    """What this process can import beyond the installed packages: its script's folder, PYTHONPATH, what code added.

    Without it another process would not find the modules of a script that lies elsewhere. The installed ones stay out,
    because a node may start a Python of another version.
    """
    given = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    folders = dict.fromkeys(os.path.abspath(entry) for entry in sys.path)  # an empty entry is the current folder
    return [folder for folder in folders if folder in given or first_party(Path(folder))]


def locate(importer: Path, level: int, module: str) -> list[Path]:
    """The files or namespace folders that an import in the file `importer` may mean; empty where it is not to be found.

    Both the file's own folder and the root of its package are looked at, because a file loaded by its path has the
    first on its path and one loaded as a module the second.
    """
    parts = tuple(part for part in module.split(".") if part)
    if level:
        start = importer.parents[min(level, len(importer.parents)) - 1]
        found = _descend(start, parts)
        return [found] if found else []
    near = [_descend(folder, parts) for folder in dict.fromkeys((importer.parent, root(importer)))]
    hits = [path for path in near if path]
    if any(path.is_file() for path in hits):
        return hits
    installed = find(module)
    return [installed] if installed else hits


def find(module: str) -> Path | None:
    """The file of an absolute module, or a namespace folder, on `sys.path`; nothing is imported."""
    parts = tuple(module.split("."))
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded and loaded.endswith(".py"):
        return Path(os.path.abspath(loaded))
    if module == "__main__":  # of a notebook or a shell; a `__main__.py` on the path would be another
        return None
    hits = [_descend(Path(os.path.abspath(entry)), parts) for entry in sys.path]
    files = [path for path in hits if path and path.is_file()]
    if files:
        return files[0]
    return _by_finder(parts) or next((path for path in hits if path), None)


def submodule(module: Path, name: str) -> Path | None:
    """The file or folder of `name` inside a package's `__init__.py` or a namespace folder."""
    if module.name == "__init__.py":
        return _descend(module.parent, (name,))
    return _descend(module, (name,)) if module.is_dir() else None


def root(path: Path) -> Path:
    """The folder that holds a file's outermost package, or the file's own where it is in none."""
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        folder = folder.parent
    return folder


def _descend(folder: Path, parts: tuple[str, ...]) -> Path | None:
    """Goes down from a folder, package by package, as an import does."""
    for depth, part in enumerate(parts):
        package, module = folder / part, folder / f"{part}.py"
        if not (package / "__init__.py").is_file() and module.is_file():
            return module if depth == len(parts) - 1 else None
        if not package.is_dir():
            return None
        folder = package
    init = folder / "__init__.py"
    return init if init.is_file() else folder


def _by_finder(parts: tuple[str, ...]) -> Path | None:
    """Asks the import system for a top-level module: editable installs are found by hooks, not by `sys.path`."""
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


def _libraries() -> list[Path]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    paths = [Path(sysconfig.get_path(name)) for name in names]
    return paths + [path.resolve() for path in paths]
