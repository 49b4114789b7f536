"""Loads a user's function by file or by module, so that features and members can live anywhere.

A user's file is imported under a name made of its path, below the name of this module:
`benison.components.user_code.<folder>.<package>.<module>`. Two users' `utils.py` are therefore different modules, a
class can be unpickled by its module's name in every process, and one file is one module however it is imported. The
imports inside these files are looked up by `benison.components.modules`, which the hashes of cache keys ask as well.
"""

from __future__ import annotations

import builtins
import functools
import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from benison.components import modules
from benison.serving.errors import UsageError

__path__: list[str] = []  # users' modules are below this one; `_Finder` finds them


def load(reference: str) -> Callable[..., Any]:
    """Import the function that a reference names.

    Args:
        reference: `package.module:function`, or `/path/to/file.py:function`.

    Returns:
        The function.

    Raises:
        UsageError: the file does not exist or does not define the function.
    """
    source, _, name = reference.rpartition(":")
    file = Path(os.path.abspath(source)) if source.endswith(".py") else _users_module(source)
    if file is None:
        module = importlib.import_module(source)
    elif file.is_file():
        _forget_changed_files()
        module = importlib.import_module(module_name(file))
    else:
        raise UsageError(f"{file}: no such file")
    function = getattr(module, name, None)
    if not callable(function):
        raise UsageError(f"{source}: no function {name!r}")
    return function


def module_name(path: Path) -> str:
    """Return the name under which a user's file, or a namespace folder, is imported; it follows from the path alone."""
    if path.is_dir():
        return f"{__name__}.{_encode(path)}"
    root = modules.root(path)
    inner = path.parent if path.name == "__init__.py" else path.with_suffix("")
    parts = [part.replace(".", "%2E") for part in inner.relative_to(root).parts]
    return ".".join([__name__, _encode(root), *parts])


def _users_module(dotted: str) -> Path | None:
    """Return the file of a module on PYTHONPATH; None for installed modules, which keep their names."""
    file = None if dotted.partition(".")[0] == "benison" else modules.find(dotted)
    return file if file and file.is_file() and modules.is_first_party(file) else None


def _encode(folder: Path) -> str:
    """Write a path as one identifier."""
    return re.sub(rb"[^a-zA-Z0-9]", lambda char: b"_%02x" % ord(char[0]), os.fsencode(folder)).decode()


def _decode(name: str) -> Path:
    return Path(os.fsdecode(re.sub(rb"_([0-9a-f]{2})", lambda code: bytes.fromhex(code[1].decode()), name.encode())))


def _users_modules() -> dict[str, ModuleType]:
    """Return the users' modules that this process has imported, by each name that they were imported under."""
    return {name: module for name, module in list(sys.modules.items()) if _is_users(module)}


def _is_users(module: ModuleType | None) -> bool:
    # Without `getattr`, which would load the modules that load themselves at the first use.
    return str(getattr(module, "__dict__", {}).get("__name__")).startswith(f"{__name__}.")


def _forget_changed_files() -> None:
    """Import all users' files again if one has changed, because a cache key holds the file as it is now."""
    _start.cache_clear()
    imported = _users_modules()
    loaders = [module.__loader__ for module in imported.values() if isinstance(module.__loader__, _Loader)]
    if any(loader.has_changed() for loader in loaders):
        for name in imported:
            del sys.modules[name]


class _Finder:
    """Finds users' files by the names that `module_name` gives them."""

    @staticmethod
    def find_spec(fullname: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        if not fullname.startswith(f"{__name__}."):
            outer, _, inner = fullname.rpartition(".")
            parent = sys.modules.get(outer)
            return _alias(fullname, f"{parent.__name__}.{inner}") if parent and _is_users(parent) else None
        root, *parts = fullname.removeprefix(f"{__name__}.").split(".")
        folder = _decode(root)
        file = modules.descend(folder, tuple(part.replace("%2E", ".") for part in parts))
        if file is None:
            return None  # perhaps an extension module, which Python finds by the package's `__path__`
        if parts and file.is_file():
            packages = [str(file.parent)] if file.name == "__init__.py" else None
            return importlib.util.spec_from_file_location(
                fullname, file, loader=_Loader(fullname, str(file)), submodule_search_locations=packages
            )
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = [str(folder.joinpath(*parts))]
        return spec


class _LastFinder:
    """Finds what `importlib.import_module("layers")` in a user's file means, where nothing else has this name.

    Such a call does not tell which file it is in, so it may mean a file near any user's file in this process.
    """

    @staticmethod
    def find_spec(fullname: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        if path is not None:
            return None
        loaders = [module.__loader__ for module in _users_modules().values()]
        importers = [Path(loader.path) for loader in loaders if isinstance(loader, _Loader)]
        folders = {folder for file in importers for folder in (file.parent, modules.root(file))}
        paths = {modules.descend(folder, (fullname,)) for folder in folders}
        files = sorted(path for path in paths if path and path.is_file() and modules.is_first_party(path))
        if len(files) > 1:
            raise UsageError(
                f"`import_module({fullname!r})` can mean two files: {files[0]} and {files[1]}; rename one of them, or "
                "write an import statement"
            )
        return _alias(fullname, module_name(files[0])) if files else None


def _alias(name: str, users_name: str) -> ModuleSpec:
    """Give a user's module a second name, so that it is not run twice."""
    return ModuleSpec(name, _Alias(users_name))


class _Alias(Loader):
    def __init__(self, name: str) -> None:
        self._name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # Python has just replaced it by that of the second name


class _Loader(SourceFileLoader):
    """Runs a user's file with an `import` statement of its own."""

    def get_code(self, fullname: str) -> CodeType:
        # Always from the source: Python takes a .pyc for current if the file has the same size and the same second.
        content = self.get_data(self.path)
        self._hash = hashlib.sha256(content).digest()
        return compile(content, self.path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        run_import = functools.partial(_import, Path(self.path))
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": run_import}
        super().exec_module(module)

    def has_changed(self) -> bool:
        """Return whether the file is no longer the one that was run."""
        try:
            return hashlib.sha256(self.get_data(self.path)).digest() != self._hash
        except OSError:
            return True


def _import(
    importer: Path,
    name: str,
    globals: Mapping[str, object] | None = None,
    locals: Mapping[str, object] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    """Do what an `import` statement in a user's file means; the arguments after the first are those of `__import__`."""
    folder = _start(importer, level, name)
    if folder is None:
        return builtins.__import__(name, globals, locals, fromlist or (), level)
    parts = tuple(filter(None, name.split(".")))
    chain = [] if parts else [_at(folder, (), name)]
    for depth in range(1, len(parts) + 1):
        chain.append(_at(folder, parts[:depth], name))
        if depth > 1 and not hasattr(chain[-2], parts[depth - 1]):  # a namespace folder does not know what is below it
            setattr(chain[-2], parts[depth - 1], chain[-1])
    module = chain[-1]
    if not fromlist:
        return chain[0]
    for item in getattr(module, "__all__", ()) if "*" in fromlist else fromlist:
        if not hasattr(module, item):
            inner = modules.descend(folder, (*parts, item))
            if inner:
                setattr(module, item, importlib.import_module(module_name(inner)))
    return module


def _at(folder: Path, parts: tuple[str, ...], name: str) -> ModuleType:
    """Import the module or namespace folder at a place below a folder."""
    path = modules.descend(folder, parts)
    if path:
        return importlib.import_module(module_name(path))
    parent = modules.descend(folder, parts[:-1])
    extension = f"{module_name(parent)}.{parts[-1]}" if parent else name
    try:
        return importlib.import_module(extension)
    except ModuleNotFoundError as error:
        if error.name == extension:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name) from None
        raise


_start = functools.lru_cache(maxsize=None)(modules.start)  # an import in a function runs at each call

# At import of this module, so that a process that unpickles a user's object by its module's name finds it.
sys.meta_path.insert(0, _Finder)
sys.meta_path.append(_LastFinder)
