"""Find the file behind an import, without importing anything.

There is one answer: `benison.pipelines.code` reads and hashes the file that `benison.components.user_code` runs.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import pkgutil
import sys
import sysconfig
from pathlib import Path

from benison.serving.errors import UsageError


def is_first_party(path: Path) -> bool:
    """Return whether a file is the user's (or a clone's) and belongs to no installed package or standard library."""
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    candidates = [os.path.join(path, ""), os.path.join(os.path.realpath(path), "")]
    return not any(candidate.startswith(_libraries()) for candidate in candidates)


def import_path() -> list[str]:
    """Return the folders that this process imports from, without those of installed packages.

    They are the script's folder, PYTHONPATH and what code added to `sys.path`. Another process needs them to find the
    modules of a script in another folder. Installed packages are left out, because a node may start a Python of another
    version.
    """
    pythonpath = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    folders = dict.fromkeys(os.path.abspath(entry) for entry in sys.path)  # an empty entry is the current folder
    return [folder for folder in folders if folder in pythonpath or is_first_party(Path(folder))]


def importable_names() -> set[str]:
    """Return the names of all top-level modules that this process can import."""
    return {module.name for module in pkgutil.iter_modules()} | sys.stdlib_module_names


def locate(importer: Path, level: int, module: str) -> Path | None:
    """Return the file or namespace folder that an import in the user's file `importer` means; None if there is none."""
    folder = start(importer, level, module)
    return descend(folder, _parts(module)) if folder else find(module)


def locate_on_path(importer: Path, level: int, module: str) -> Path | None:
    """Return what an import means in a file that Python itself imports, as TFX does with components: see `locate`."""
    return descend(_above(importer, level), _parts(module)) if level else find(module)


def start(importer: Path, level: int, module: str) -> Path | None:
    """Return the folder in which an import in a user's file begins, or None if it means no file of the user.

    An absolute import means a file in the importer's own folder or in the folder that holds its package. Only if there
    is none does it mean what Python finds on `sys.path`, a user's file or an installed module. So two users' `utils.py`
    do not meet, and a helper called `types.py` is the same file wherever it is read, hashed or run.

    Args:
        importer: the file with the import, absolute.
        level: leading dots of a relative import; 0 is absolute.
        module: dotted module, without the leading dots.

    Raises:
        UsageError: the import means one file in the importer's own folder and another one beside its package.
    """
    parts = _parts(module)
    if level:
        return _above(importer, level)
    if not parts or parts[0] == "benison":
        return None
    folders = dict.fromkeys((importer.parent, root(importer)))
    for depth in (parts, parts[:1]):
        targets = {folder: path for folder in folders if (path := descend(folder, depth)) and is_first_party(path)}
        files = {folder: path for folder, path in targets.items() if path.is_file()}
        others = {folder: path for folder, path in files.items() if path != importer}
        if len(set(others.values())) > 1:
            raise _clash(importer, module, list(others.values()))
        # `import xgboost` in a file called xgboost.py means the library.
        if others or (files and not _is_installed(parts[0], importer)):
            return next(iter(others or files))
        if targets and not _is_installed(module, importer):
            return next(iter(targets))
    return _users_folder_on_path(parts)


def find(module: str) -> Path | None:
    """Return the file of an absolute module, or its namespace folder, on `sys.path`; import nothing."""
    parts = _parts(module)
    if module == "__main__":  # a `__main__.py` on the path is a different module; a notebook or a shell has no file
        script = getattr(sys.modules["__main__"], "__file__", None)
        return Path(os.path.abspath(script)) if script and script.endswith(".py") else None
    if not parts or parts[0] in sys.builtin_module_names:  # Python has them in itself and does not look for a file
        return None
    paths = [descend(Path(os.path.abspath(entry)), parts) for entry in sys.path]
    files = [path for path in paths if path and path.is_file()]
    if files:
        return files[0]
    return _find_by_hook(parts) or next((path for path in paths if path), None)


def submodule(module: Path, name: str) -> Path | None:
    """Return the file or folder of `name` in the package of an `__init__.py` or in a namespace folder."""
    if module.name == "__init__.py":
        return descend(module.parent, (name,))
    return descend(module, (name,)) if module.suffix != ".py" and module.is_dir() else None


def root(path: Path) -> Path:
    """Return the folder that holds a file's outermost package, or the file's own folder if it is in no package."""
    folder = path.parent
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        folder = folder.parent
    return folder


def descend(folder: Path, parts: tuple[str, ...]) -> Path | None:
    """Go down from a folder, package by package, as an import does."""
    current = os.fspath(folder)  # a fingerprint asks ten thousands of times, and paths are slow
    for depth, part in enumerate(parts):
        package = os.path.join(current, part)
        module = f"{package}.py"
        is_folder = os.path.isdir(package)
        if not (is_folder and os.path.isfile(os.path.join(package, "__init__.py"))) and os.path.isfile(module):
            return Path(module) if depth == len(parts) - 1 else None
        if not is_folder:
            return None
        current = package
    init = os.path.join(current, "__init__.py")
    return Path(init if os.path.isfile(init) else current)


def _above(importer: Path, level: int) -> Path:
    return importer.parents[min(level, len(importer.parents)) - 1]


def _parts(module: str) -> tuple[str, ...]:
    return tuple(part for part in module.split(".") if part)


def _users_folder_on_path(parts: tuple[str, ...]) -> Path | None:
    """Return the folder on `sys.path` in which Python finds a user's module; None for an installed module."""
    for depth in (parts, parts[:1]):
        if path := find(".".join(depth)):
            folder = path.parents[len(depth) if path.name == "__init__.py" else len(depth) - 1]
            # A hook of an editable install can give a module another name than its file has.
            return folder if is_first_party(path) and descend(folder, depth) == path else None
    return None


def _is_installed(module: str, importer: Path) -> bool:
    """Return whether Python finds a module that has a file, or is built in, and is not the importer itself."""
    file = find(module)
    if file is not None and file.is_file():
        return file != importer
    try:
        spec = importlib.util.find_spec(_parts(module)[0])
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin) != importer


def _clash(importer: Path, module: str, files: list[Path]) -> UsageError:
    return UsageError(
        f"{importer}: `import {module}` can mean two files: {files[0]} and {files[1]}; rename one of them, or write "
        f"`from . import {module.rpartition('.')[2]}` for the first one"
    )


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
    return descend(origin.parent, parts[1:]) if origin.name == "__init__.py" else None


@functools.cache  # `sysconfig` works them out again at each call, and a fingerprint asks thousands of times
def _libraries() -> tuple[str, ...]:
    """Return the folders of Python and of installed packages, with a slash at the end."""
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return tuple(os.path.join(path, "") for path in (*paths, *map(os.path.realpath, paths)))
