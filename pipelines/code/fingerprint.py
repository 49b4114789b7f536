"""Hashes of the code and data that a node depends on, for cache keys that follow content instead of times and sizes.

`code` follows a function through the user's files, to the versions of the packages that these files import; `files` and
`folder` hash data. No hash contains an absolute path,
so two machines with the same content get the same key.
"""

from __future__ import annotations

import functools
import hashlib
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

from benison.components import modules
from benison.components.written_imports import Import
from benison.pipelines.code import packages, syntax
from benison.pipelines.code.references import DottedName
from benison.pipelines.code.syntax import Source, Statement
from benison.serving.close_names import did_you_mean
from benison.serving.errors import DataError, UsageError
from benison.serving.files import checksum

Locate = Callable[[Path, int, str], Path | None]
INSTALLED = "installed"
"""The result of `executor` for installed packages, whose versions are part of a cache key anyway."""


def code(file: Path, name: str) -> str:
    """Hash the code that `name` in `file` uses: its definition, and everything it refers to in first-party files.

    Comments, docstrings, layout and unrelated definitions do not count. Statements with an effect at import
    (`keras.utils.set_random_seed(1)`) always count. If parsing cannot tell (`eval`, `globals()`, a star import, a
    module passed on as an object), the whole file counts. A name that a package loads lazily, in `__getattr__`, counts
    as the import of it under `if TYPE_CHECKING:`; without such an import the whole file of the package counts.

    An installed package counts by its version if one of the files that count imports it, used or not, because an import
    can have effects. Nothing is imported.

    Args:
        file: A Python file.
        name: A name at its top level: a function, a class, or another name for one.

    Returns:
        A SHA-256 as hex digits.

    Raises:
        UsageError: `file` or a file that it imports is missing or not valid Python, or `name` is not in it.
    """
    return _code(_Closure({}), Path(file), name)


def _code(closure: _Closure, file: Path, name: str) -> str:
    source = closure.parse(file)
    if name not in source.bindings and not _may_hide_names(source):
        hint = did_you_mean(name, source.bindings) or f"; it has {', '.join(sorted(source.bindings)) or 'no names'}"
        raise UsageError(f"{file}:1: this file does not define {name!r} at its top level{hint}")
    closure.add_import_effects(source)
    closure.add_name(source, name, ())
    return closure.digest()


def module_file(file: Path) -> str:
    """Hash all the code in a `module_file` of TFX, and everything that it refers to; rules as in `executor`.

    TFX puts the folder of the file at the end of `sys.path`.
    """

    def locate(importer: Path, level: int, module: str) -> Path | None:
        path = modules.locate_on_path(importer, level, module)
        beside = modules.descend(file.parent, tuple(module.split(".")))
        return path if path and path.is_file() else beside or path

    file = Path(os.path.abspath(file))
    closure = _Closure({}, locate)
    closure.add_file(closure.parse(file))
    return closure.digest()


def executor(class_path: str) -> str:
    """Hash the code of an executor, named as in a compiled pipeline.

    TFX imports it, so an import in it means what Python finds on `sys.path`.

    Args:
        class_path: `package.module.Class`. For a TFX `@component` function `f` the class is `f_Executor`, which TFX
            creates at import and no file defines: the function counts instead, or else the whole file.

    Returns:
        A SHA-256 as hex digits for first-party code, `INSTALLED` for an installed package. For code that is in no file
        (a notebook's cell), a new value at each call, because a cached result could be wrong.

    Raises:
        UsageError: A first-party file that it uses is not valid Python.
    """
    file, name = _defining_file(class_path)
    if file is None:
        return secrets.token_hex(32)
    if not modules.is_first_party(file):
        return INSTALLED
    closure = _Closure({}, _locate_on_path())
    source = closure.parse(file)
    for candidate in (name, name.removesuffix("_Executor")):
        if candidate in source.bindings:
            return _code(closure, file, candidate)
    closure.add_file(source)
    return closure.digest()


def _locate_on_path() -> Locate:
    """Return `modules.locate_on_path`, but look for each module once: it does not depend on who imports it."""
    find = functools.cache(modules.find)
    return lambda importer, level, module: modules.locate_on_path(importer, level, module) if level else find(module)


def files(paths: Iterable[Path]) -> str:
    """Hash the names (without folders) and contents of data files, in any order.

    Raises:
        DataError: A file is missing or cannot be read.
    """
    return _hash_pairs((Path(path).name, _content_hash(Path(path))) for path in paths)


def folder(path: Path) -> str:
    """Hash the relative names and contents of all files under a folder, such as a SavedModel.

    Raises:
        DataError: The folder is missing, or a file in it cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such folder")
    walk = os.walk(path, onerror=_unreadable, followlinks=True)
    inside = [Path(parent, name) for parent, _, names in walk for name in names]
    return _hash_pairs((file.relative_to(path).as_posix(), _content_hash(file)) for file in inside)


def _defining_file(dotted: str) -> tuple[Path | None, str]:
    """Return the file of `package.module.Outer.Inner` and the top-level name in it: `Outer`."""
    parts = dotted.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        file = modules.find(".".join(parts[:cut]))
        if file is not None and file.is_file():
            return file, parts[cut]
    return None, parts[-1]


def _content_hash(path: Path) -> str:
    try:
        return checksum.of_file(path)
    except OSError as error:
        _unreadable(error)


def _unreadable(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename}: cannot read this file: {error.strerror}") from error


def _hash_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    """Hash (name, content hash) pairs; the lengths separate one pair from the next."""
    digest = hashlib.sha256()
    for name, content in sorted(pairs):
        encoded = name.encode("utf-8", "surrogateescape")
        digest.update(b"%d:%s%s" % (len(encoded), encoded, content.encode()))
    return digest.hexdigest()


def _may_hide_names(source: Source) -> bool:
    """Return whether a file can define names that its text does not show."""
    return "__getattr__" in source.bindings or any(item.stars or item.dynamic for item in source.statements)


class _Closure:
    """The statements that count, file by file, and everything that they lead to.

    Args:
        sources: Files already parsed, by path; None for files that are not first-party. Shared and added to.
        locate: Returns the file that an import means: `modules.locate`, or another function like it.
        with_imports: Whether importing a file counts too: its effects, and the `__init__.py` files of its package.
        is_first_party: `modules.is_first_party` with a cache.
    """

    def __init__(
        self,
        sources: dict[Path, Source | None],
        locate: Locate = modules.locate,
        with_imports: bool = True,
        is_first_party: Callable[[Path], bool] | None = None,
    ) -> None:
        self.sources = sources
        self.with_imports = with_imports
        self.counted: dict[Path, set[int]] = {}
        self.uses_objects = False  # whether it takes an attribute of an object that is neither a module nor a function
        self._imported: set[Path] = set()
        self._added_names: set[tuple[Path, str, DottedName]] = set()
        self._added_files: set[Path] = set()
        self._loaders: dict[Path, set[int]] = {}  # each `__getattr__` that counts without all that it could load
        self._pending: list[tuple[Source, Statement]] = []
        # One file imports the same modules in many statements. Closures inside this one share the caches.
        self._locate = locate if hasattr(locate, "cache_info") else functools.cache(locate)
        self._is_first_party = is_first_party or functools.cache(modules.is_first_party)

    def parse(self, path: Path) -> Source:
        """Parse the file that the caller named, first-party or not."""
        source = syntax.read(path)
        self.sources[source.path] = source
        return source

    def digest(self) -> str:
        """Hash everything that counts."""
        self._follow_pending()
        texts = [
            (source.label, hashlib.sha256("\n".join(_texts(source, positions)).encode("utf-8", "replace")).hexdigest())
            for source, positions in self._counted_sources()
        ]
        versions = packages.versions(self._installed_modules())
        return _hash_pairs([*texts, *((f"=={name}", version) for name, version in versions.items())])

    def statements(self) -> list[Statement]:
        """Return all statements that count."""
        self._follow_pending()
        return [source.statements[position] for source, positions in self._counted_sources() for position in positions]

    def add_import_effects(self, source: Source) -> None:
        """Add what happens when a file is imported: its effects, star imports, and its packages' `__init__.py` files.

        An `__init__.py` counts except for what only its names lead to: constants, imports under `if TYPE_CHECKING:`,
        and the `__getattr__` that loads names lazily.
        """
        if not self.with_imports or source.path in self._imported:
            return
        self._imported.add(source.path)
        for init in map(self._load, source.packages):
            if init:
                self.add_import_effects(init)
                self.counted.setdefault(init.path, set())
                for position, statement in enumerate(init.statements):
                    if not statement.only_by_name:
                        self._add(init, position)
        for position, statement in enumerate(source.statements):
            if statement.kind == "typing":
                continue
            stars = statement.stars and not statement.defers_imports
            if stars or statement.has_effects or self._registers(source, statement):
                self._add(source, position)
            elif not statement.defers_imports:
                self._import_modules(source, statement)

    def add_name(self, source: Source, name: str, rest: DottedName) -> None:
        """Add what gives `name` its value in a file, and then `rest`, the attributes taken from it."""
        if (source.path, name, rest) in self._added_names:
            return
        self._added_names.add((source.path, name, rest))
        for position in source.bindings.get(name, ()):
            statement = source.statements[position]
            self._add(source, position)
            imported = self._follow_imports(source, statement, name, rest)
            self.uses_objects |= bool(rest) and not imported and statement.kind in ("plain", "class")
        if source.loads_lazily(name):
            self._add_loader(source, name)
        inner = modules.submodule(source.path, name)
        if inner:
            self._add_from_module(inner, rest)
        elif name not in source.bindings or name == "__getattr__":
            self.add_file(source)  # the text does not show where the name comes from

    def add_file(self, source: Source) -> None:
        """Add a whole file, and everything that it imports, because the file gives access to those modules."""
        if source.path in self._added_files:
            return
        self._added_files.add(source.path)
        self.add_import_effects(source)
        self.counted.setdefault(source.path, set())
        for position, statement in enumerate(source.statements):
            self._add(source, position)
            if statement.kind not in ("function", "class"):
                for item in statement.imports:
                    self._follow_import(source, item, ())

    def _add_loader(self, source: Source, name: str) -> None:
        """Add the `__getattr__` that loads `name`, but of the tables that it reads only the entry of this name."""
        for position in source.bindings["__getattr__"]:
            loader = source.statements[position]
            self._loaders.setdefault(source.path, set()).add(position)
            self._import_modules(source, loader)
            for dotted in loader.uses:
                table = {at: source.statements[at].entry for at in source.bindings.get(dotted[0], ())}
                if not table or None in table.values():
                    self._add_use(source, loader, dotted)
                for at, entry in table.items():
                    if entry == name:
                        self._add(source, at)

    def _installed_modules(self) -> set[str]:
        """Return the top-level names of the modules that the files import and that are not the user's."""
        paths = {*self._imported, *self.counted, *self._loaders}
        return {
            item.module.partition(".")[0]
            for source in filter(None, map(self.sources.get, paths))
            for statement in source.statements
            if statement.kind != "typing"
            for item in statement.imports
            if not item.level and not self._is_users(source, item.module)
        }

    def _is_users(self, source: Source, module: str) -> bool:
        file = self._locate(source.path, 0, module)
        return file is not None and self._is_first_party(file)

    def _counted_sources(self) -> list[tuple[Source, set[int]]]:
        paths = {**self.counted, **self._loaders}
        pairs = [(self.sources[path], self.counted.get(path, set()) | self._loaders.get(path, set())) for path in paths]
        return [(source, positions) for source, positions in pairs if source]

    def _add(self, source: Source, position: int) -> None:
        positions = self.counted.setdefault(source.path, set())
        if position not in positions:
            positions.add(position)
            self._pending.append((source, source.statements[position]))

    def _follow_pending(self) -> None:
        """Follow the statements added so far; a loop, because call chains can be longer than Python's stack."""
        while self._pending:
            source, statement = self._pending.pop()
            if statement.dynamic:  # it may use all of a file whose import is written anywhere in this one
                self.add_file(source)
                for item in (item for other in source.statements for item in other.imports):
                    self._follow_import(source, item, ())
            self._import_modules(source, statement)
            for dotted in statement.uses:
                self._add_use(source, statement, dotted)

    def _add_use(self, source: Source, statement: Statement, dotted: DottedName) -> None:
        name, rest = dotted[0], dotted[1:]
        self._follow_imports(source, statement, name, rest)
        if name in source.bindings:
            self.add_name(source, name, rest)

    def _follow_imports(self, source: Source, statement: Statement, name: str, rest: DottedName) -> bool:
        """Follow the imports of `name` in a statement; return whether there are any."""
        items = [item for item in statement.imports if item.bound.split(".")[0] == name]
        for item in items:
            self._follow_import(source, item, rest)
        return bool(items)

    def _follow_import(self, source: Source, item: Import, rest: DottedName) -> None:
        """Add an imported name, with the attributes taken from it."""
        target = self._locate(source.path, item.level, item.module)
        if target:
            if item.name == "*":
                self._add_from_module(target, ())
            elif item.name is not None:
                self._add_from_module(target, (item.name, *rest))
            elif "." not in item.bound:
                self._add_from_module(target, rest)
            else:
                self._follow_dotted_import(source, item, target, rest)

    def _follow_dotted_import(self, source: Source, item: Import, target: Path, rest: DottedName) -> None:
        """Add `a.b.name` after `import a.b`, which binds only `a`."""
        top, *tail = item.module.split(".")
        if list(rest[: len(tail)]) == tail:
            self._add_from_module(target, rest[len(tail) :])
            return
        outer = self._locate(source.path, 0, top)
        if outer:
            self._add_from_module(outer, rest)
        if tail[: len(rest)] == list(rest):
            self._add_from_module(target, ())

    def _add_from_module(self, module: Path, rest: DottedName) -> None:
        """Add `rest` of a module; a module used as an object counts whole."""
        source = self._load(module)
        if source:
            self.add_import_effects(source)
            self.add_name(source, rest[0], rest[1:]) if rest else self.add_file(source)
        elif module.is_dir() and rest:
            inner = modules.submodule(module, rest[0])
            if inner:
                self._add_from_module(inner, rest[1:])

    def _import_modules(self, source: Source, statement: Statement) -> None:
        """Add the import effects of the files that a statement imports; a star import counts whole."""
        for item in statement.imports:
            if item.name == "*":
                self._follow_import(source, item, ())
            target = self._locate(source.path, item.level, item.module)
            if target:
                inner = modules.submodule(target, item.name) if item.name else None
                for loaded in (self._load(file) for file in (target, inner) if file):
                    if loaded:
                        self.add_import_effects(loaded)

    def _load(self, path: Path) -> Source | None:
        """Parse a file once; return None if it is not first-party or missing."""
        if path not in self.sources:
            self.sources[path] = syntax.read(path) if path.is_file() and self._is_first_party(path) else None
        return self.sources[path]

    def _registers(self, source: Source, statement: Statement) -> bool:
        """Return whether a definition runs first-party code that may store something elsewhere, as a registry does."""
        if self._explore(source, statement, statement.mutating_calls).uses_objects:
            return True
        if any(item.changes_outer for item in self._explore(source, statement, statement.calls).statements()):
            return True
        bases = self._explore(source, statement, statement.bases)
        return any(item.hooks_subclasses for item in bases.statements())

    def _explore(self, source: Source, statement: Statement, names: Iterable[DottedName]) -> _Closure:
        """Follow some names of a statement without counting them here."""
        closure = _Closure(self.sources, self._locate, with_imports=False, is_first_party=self._is_first_party)
        for dotted in names:
            closure._add_use(source, statement, dotted)
        return closure


def _texts(source: Source, positions: set[int]) -> list[str]:
    """Return the texts of some statements; sorted where order means nothing, so that moving one changes no hash."""
    ordered: list[str] = []
    free: list[str] = []
    for position in sorted(positions):
        statement = source.statements[position]
        alone = all(len(source.bindings[name]) == 1 for name in statement.binds)
        (free if alone and not statement.has_effects and not statement.calls else ordered).append(statement.text)
    return [*ordered, *sorted(free)]
