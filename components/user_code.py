"""Loads a user's function by file or by module, so that features and members can live anywhere.

A user's file is imported under a name made of its path, below the name of this module:
`benison.components.user_code.<folder>.<package>.<module>`. Two users' `utils.py` are therefore different modules, a
class can be unpickled by its module's name in every process, and one file is one module however it is imported. The
imports inside these files are looked up by `benison.components.modules`, which the hashes of cache keys ask as well.

Each file therefore has an `__import__` of its own, which is what an `import` statement calls. A finder would not do:
Python looks into `sys.modules` first, where `utils` is the file of another user, and does not tell a finder which file
the statement is in. Nor would other names written into the code when it is loaded: AutoGraph reads the text again.
"""

from __future__ import annotations

import ast
import builtins
import functools
import hashlib
import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

from benison.components import modules, written_imports
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


def is_users(namespace: Mapping[str, object]) -> bool:
    """Return whether the globals of some code are those of a user's module."""
    return str(namespace.get("__name__")).startswith(f"{__name__}.")


def module_name(path: Path) -> str:
    """Return the name under which a user's file, or a namespace folder, is imported; it follows from the path alone."""
    if path.is_dir():
        return f"{__name__}.{_encode(path)}"
    root = modules.root(path)
    inner = path.parent if path.name == "__init__.py" else path.with_suffix("")
    parts = [part.replace(".", "%2E") for part in inner.relative_to(root).parts]
    return ".".join([__name__, _encode(root), *parts])


def _path_of(name: str) -> Path | None:
    """Return the file or folder whose `module_name` this is; None if there is none."""
    root, *parts = name.removeprefix(f"{__name__}.").split(".")
    folder = _decode(root)
    return modules.descend(folder, tuple(part.replace("%2E", ".") for part in parts)) if parts else folder


def _users_module(dotted: str) -> Path | None:
    """Return the file of a module on PYTHONPATH; None for installed modules, which keep their names."""
    file = None if dotted.partition(".")[0] == "benison" else modules.find(dotted)
    return file if file and file.is_file() and modules.is_first_party(file) else None


def _encode(folder: Path) -> str:
    """Write a path as one identifier."""
    return re.sub(rb"[^a-zA-Z0-9]", lambda char: b"_%02x" % ord(char[0]), os.fsencode(folder)).decode()


def _decode(name: str) -> Path:
    return Path(os.fsdecode(re.sub(rb"_([0-9a-f]{2})", lambda code: bytes.fromhex(code[1].decode()), name.encode())))


def _forget_changed_files() -> None:
    """Import all users' files again if one has changed, because a cache key holds the file as it is now."""
    _start.cache_clear()
    imported = {name: module for name, module in list(sys.modules.items()) if name.startswith(f"{__name__}.")}
    loaders = [module.__loader__ for module in imported.values() if isinstance(module.__loader__, _Loader)]
    if any(loader.has_changed() for loader in loaders):
        for name in imported:
            del sys.modules[name]


class _Finder:
    """Finds users' files by the names that `module_name` gives them."""

    @staticmethod
    def find_spec(fullname: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        if not fullname.startswith(f"{__name__}."):
            return None
        place = _path_of(fullname)
        if place is None:
            return None  # perhaps an extension module, which Python finds by the package's `__path__`
        if place.is_file():
            packages = [str(place.parent)] if place.name == "__init__.py" else None
            return importlib.util.spec_from_file_location(
                fullname, place, loader=_Loader(fullname, str(place)), submodule_search_locations=packages
            )
        spec = ModuleSpec(fullname, None, is_package=True)
        spec.submodule_search_locations = [str(place)]
        return spec


class _Loader(SourceFileLoader):
    """Runs a user's file with imports of its own."""

    def get_code(self, fullname: str) -> CodeType:
        # Always from the source: Python takes a .pyc for current if the file has the same size and the same second.
        content = self.get_data(self.path)
        self._hash = hashlib.sha256(content).digest()
        tree = ast.parse(content, self.path)
        self._written = [item for node in ast.walk(tree) for item in written_imports.of(node)]
        return compile(tree, self.path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        imports = _Imports(self)
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": imports.do}
        super().exec_module(module)

    def has_changed(self) -> bool:
        """Return whether the file is no longer the one that was run."""
        try:
            return hashlib.sha256(self.get_data(self.path)).digest() != self._hash
        except OSError:
            return True

    @functools.cached_property
    def written(self) -> frozenset[tuple[int, str, str | None]]:
        """The imports in the file's text: level, module, and the name taken from it or None."""
        calls = {(item.level, item.module, None) for item in self._written if item.bound == "*"}
        return frozenset({(item.level, item.module, item.name) for item in self._written} | calls)

    @functools.cached_property
    def written_files(self) -> frozenset[Path]:
        """The files that the imports in the text mean."""
        found = [(modules.locate(Path(self.path), item.level, item.module), item.name) for item in self._written]
        inner = [modules.submodule(target, name) for target, name in found if target and name]
        return frozenset(path for path in (*(target for target, _ in found), *inner) if path)


class _Imports:
    """The imports of one user's file."""

    def __init__(self, loader: _Loader) -> None:
        self._loader = loader
        self._importer = Path(loader.path)
        self._importlib = _Importlib(self)

    def do(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Do what an `import` statement in the file means; the arguments are those of `__import__`."""
        folder = _start(self._importer, level, name)
        if folder is None:
            module = builtins.__import__(name, globals, locals, fromlist or (), level)
            return self._importlib if module is importlib else module
        parts = tuple(filter(None, name.split(".")))
        for item in fromlist or (None,):
            if (level, name, item) not in self._loader.written:  # `__import__(computed)`, or a statement in an `exec`
                inner = modules.descend(folder, (*parts, item)) if item else None
                self._refuse_unseen(name or str(item), inner or modules.descend(folder, parts))
        chain = _chain(folder, parts, name)
        if not fromlist:
            return chain[0]
        module = chain[-1]
        for item in getattr(module, "__all__", ()) if "*" in fromlist else fromlist:
            if not hasattr(module, item):
                inner = modules.descend(folder, (*parts, item))
                if inner:
                    setattr(module, item, importlib.import_module(module_name(inner)))
        return module

    def import_module(self, name: str, package: str | None = None) -> ModuleType:
        """Do what `importlib.import_module` in the file means: the same as an `import` statement there."""
        absolute = importlib.util.resolve_name(name, package) if name.startswith(".") and package else name
        if absolute.startswith(f"{__name__}."):  # by `__package__`
            self._refuse_unseen(name, _path_of(absolute))
        elif (folder := _start(self._importer, 0, absolute)) is not None:
            parts = tuple(absolute.split("."))
            self._refuse_unseen(name, modules.descend(folder, parts))
            return _chain(folder, parts, absolute)[-1]
        return importlib.import_module(absolute)

    def _refuse_unseen(self, name: str, file: Path | None) -> None:
        """Raise an error for a file that the cache key does not hold, because no import in the text means it."""
        if file is None or not file.is_file() or file in self._loader.written_files:
            return
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame.f_code.co_filename != self._loader.path:
            frame = frame.f_back
        where = f"{self._importer}{f', line {frame.f_lineno}' if frame else ''}"
        raise UsageError(
            f"{where}: the computed import of {name!r} loads {file}, which the cache key has not seen; "
            f"write an `import` statement for it in {self._importer.name}"
        )


class _Importlib(ModuleType):
    """`importlib` in a user's file."""

    def __init__(self, imports: _Imports) -> None:
        super().__init__(importlib.__name__, importlib.__doc__)
        self.import_module = imports.import_module

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib, name)


def _chain(folder: Path, parts: tuple[str, ...], name: str) -> list[ModuleType]:
    """Import the modules along a dotted name below a folder; without parts, the package that the folder is."""
    chain = [] if parts else [_at(folder, (), name)]
    for depth in range(1, len(parts) + 1):
        chain.append(_at(folder, parts[:depth], name))
        if depth > 1 and not hasattr(chain[-2], parts[depth - 1]):  # a namespace folder does not know what is below it
            setattr(chain[-2], parts[depth - 1], chain[-1])
    return chain


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
