"""Hashes of what a node depends on, for cache keys that hold content instead of times, sizes and places.

`code` follows a function through the user's files; `files` and `folder` hash data. None holds an absolute path, so two
machines with the same content get the same key.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from benison.pipelines.code import modules, syntax
from benison.pipelines.code.references import Chain, Import
from benison.pipelines.code.syntax import Source, Statement
from benison.serving.close_names import did_you_mean
from benison.serving.errors import DataError, UsageError

INSTALLED = "installed"
"""What `executor` answers for installed packages, whose versions are part of a cache key anyway."""

_BLOCK = 1 << 20  # bytes


def code(file: Path, name: str) -> str:
    """Hashes what `name` in `file` really uses: its definition, and all it refers to in first-party files.

    Comments, docstrings, layout and unrelated definitions do not count. Statements that do something when a file is
    imported (`keras.utils.set_random_seed(1)`) always count. Where parsing cannot tell (`eval`, `globals()`, a star
    import, a module handed on as an object), the whole file counts. Nothing is imported.

    Args:
        file: A Python file.
        name: A name at its top level: a function, a class, or another name for one.

    Returns:
        A SHA-256 as hex digits.

    Raises:
        UsageError: `file` or one that it imports is missing or not valid Python, or `name` is not in it.
    """
    closure = _Closure({})
    source = closure.parse(Path(file))
    if name not in source.binders and not _may_hide_names(source):
        hint = did_you_mean(name, source.binders) or f"; it has {', '.join(sorted(source.binders)) or 'no names'}"
        raise UsageError(f"{file}:1: nothing called {name!r} at the top level of this file{hint}")
    closure.run(source)
    closure.name(source, name, ())
    return closure.digest()


def executor(class_path: str) -> str:
    """Hashes the code of an executor as a compiled pipeline names it.

    Args:
        class_path: `package.module.Class`. For a TFX `@component` function `f` the class is `f_Executor`, which is made
            at import and stands in no file: the function counts in its place, else the whole file.

    Returns:
        A SHA-256 as hex digits for first-party code, `INSTALLED` for that of an installed package. For code that is in
        no file (a notebook's cell), a new value at each call: a cache must not answer for what cannot be read.

    Raises:
        UsageError: A first-party file in it is not valid Python.
    """
    file, name = _defining_file(class_path)
    if file is None:
        return secrets.token_hex(32)
    if not modules.first_party(file):
        return INSTALLED
    closure = _Closure({})
    source = closure.parse(file)
    for candidate in (name, name.removesuffix("_Executor")):
        if candidate in source.binders:
            return code(file, candidate)
    closure.everything(source)
    return closure.digest()


def files(paths: Iterable[Path]) -> str:
    """Hashes the names (without folders) and contents of data files, in any order.

    Raises:
        DataError: A file is missing or cannot be read.
    """
    return _of_pairs((Path(path).name, _content(Path(path))) for path in paths)


def folder(path: Path) -> str:
    """Hashes the relative names and contents of all files under a folder, such as a SavedModel.

    Raises:
        DataError: The folder is missing, or a file in it cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such folder")
    walk = os.walk(path, onerror=_unreadable, followlinks=True)
    inside = [Path(parent, name) for parent, _, names in walk for name in names]
    return _of_pairs((file.relative_to(path).as_posix(), _content(file)) for file in inside)


def _defining_file(dotted: str) -> tuple[Path | None, str]:
    """The file of `package.module.Outer.Inner` and the name to look for in it: `Outer`."""
    parts = dotted.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        file = modules.find(".".join(parts[:cut]))
        if file is not None and file.is_file():
            return file, parts[cut]
    return None, parts[-1]


def _content(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        _unreadable(error)
    return digest.hexdigest()


def _unreadable(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename}: cannot read these data: {error.strerror}") from error


def _of_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    """Hashes (name, content hash) pairs; the lengths keep one pair's end from passing for another's start."""
    digest = hashlib.sha256()
    for name, content in sorted(pairs):
        encoded = name.encode("utf-8", "surrogateescape")
        digest.update(b"%d:%s%s" % (len(encoded), encoded, content.encode()))
    return digest.hexdigest()


def _may_hide_names(source: Source) -> bool:
    """Whether a file can have names that its text does not show."""
    return "__getattr__" in source.binders or any(item.stars or item.dynamic for item in source.statements)


class _Closure:
    """The statements that were reached so far, file by file, and the way to reach more.

    Args:
        sources: Files already parsed, by path; None for those that are not first-party. Shared and added to.
        running: Whether a file that is reached also runs, so that its side effects and its package's count.
    """

    def __init__(self, sources: dict[Path, Source | None], running: bool = True) -> None:
        self.sources = sources
        self.running = running
        self.reached: dict[Path, set[int]] = {}
        self.objects = False  # whether an attribute of something else than a module or function was asked for
        self._ran: set[Path] = set()
        self._asked: set[tuple[Path, str, Chain]] = set()
        self._whole: set[Path] = set()
        self._waiting: list[tuple[Source, Statement]] = []

    def parse(self, path: Path) -> Source:
        """The parsed file, whoever it belongs to: the one that the caller named."""
        source = syntax.read(path)
        self.sources[source.path] = source
        return source

    def digest(self) -> str:
        """Hashes all that is reached from here."""
        self._drain()
        return _of_pairs(
            (source.label, hashlib.sha256("\n".join(_texts(source, positions)).encode("utf-8", "replace")).hexdigest())
            for source, positions in self._reached_sources()
        )

    def run(self, source: Source) -> None:
        """Counts what happens when a file is imported: side effects, star imports, and its packages' files in whole."""
        if not self.running or source.path in self._ran:
            return
        self._ran.add(source.path)
        for init in map(self._load, source.packages):
            if init:
                self.run(init)
                self.reached.setdefault(init.path, set())
                for position in range(len(init.statements)):
                    self._reach(init, position)
        for position, statement in enumerate(source.statements):
            stars = statement.stars and not statement.defers_imports
            if stars or statement.acts or self._registers(source, statement):
                self._reach(source, position)
            elif not statement.defers_imports:
                self._run_imports(source, statement)

    def name(self, source: Source, name: str, rest: Chain) -> None:
        """Counts what gives `name` its value in a file, and then `rest`, the attributes taken from it."""
        if (source.path, name, rest) in self._asked:
            return
        self._asked.add((source.path, name, rest))
        for position in source.binders.get(name, ()):
            statement = source.statements[position]
            self._reach(source, position)
            imported = self._through_imports(source, statement, name, rest)
            self.objects = self.objects or (bool(rest) and not imported and statement.kind in ("plain", "class"))
        inner = modules.submodule(source.path, name)
        if inner:
            self._module(inner, rest)
        elif name not in source.binders:
            self.everything(source)  # made in some way that the text does not show

    def everything(self, source: Source) -> None:
        """Counts a whole file and, because its modules can be had through it, the whole of what it imports."""
        if source.path in self._whole:
            return
        self._whole.add(source.path)
        self.run(source)
        self.reached.setdefault(source.path, set())
        for position, statement in enumerate(source.statements):
            self._reach(source, position)
            if not statement.defers_imports:
                for item in statement.imports:
                    self._follow(source, item, ())

    def _reached_sources(self) -> list[tuple[Source, set[int]]]:
        pairs = ((self.sources[path], positions) for path, positions in self.reached.items())
        return [(source, positions) for source, positions in pairs if source]

    def _reach(self, source: Source, position: int) -> None:
        positions = self.reached.setdefault(source.path, set())
        if position not in positions:
            positions.add(position)
            self._waiting.append((source, source.statements[position]))

    def _drain(self) -> None:
        """Follows what waits; a list instead of recursion, because call chains can be longer than Python's stack."""
        while self._waiting:
            source, statement = self._waiting.pop()
            if statement.dynamic:
                self.everything(source)
            self._run_imports(source, statement)
            for chain in statement.uses:
                self._use(source, statement, chain)

    def _use(self, source: Source, statement: Statement, chain: Chain) -> None:
        name, rest = chain[0], chain[1:]
        self._through_imports(source, statement, name, rest)
        if name in source.binders:
            self.name(source, name, rest)

    def _through_imports(self, source: Source, statement: Statement, name: str, rest: Chain) -> bool:
        """Follows the imports in a statement that bring in `name`; says whether there are any."""
        items = [item for item in statement.imports if item.bound.split(".")[0] == name]
        for item in items:
            self._follow(source, item, rest)
        return bool(items)

    def _follow(self, source: Source, item: Import, rest: Chain) -> None:
        """Counts what an imported name, with the attributes taken from it, stands for."""
        for target in modules.locate(source.path, item.level, item.module):
            if item.name == "*":
                self._module(target, ())
            elif item.name is not None:
                self._module(target, (item.name, *rest))
            elif "." not in item.bound:
                self._module(target, rest)
            else:
                self._dotted(source, item, target, rest)

    def _dotted(self, source: Source, item: Import, target: Path, rest: Chain) -> None:
        """Counts `a.b.name` after `import a.b`, which binds only `a`."""
        top, *tail = item.module.split(".")
        if list(rest[: len(tail)]) == tail:
            self._module(target, rest[len(tail) :])
            return
        for outer in modules.locate(source.path, 0, top):
            self._module(outer, rest)
        if tail[: len(rest)] == list(rest):
            self._module(target, ())

    def _module(self, module: Path, rest: Chain) -> None:
        """Counts `rest` of a module; a module used as an object is all of it."""
        source = self._load(module)
        if source:
            self.run(source)
            self.name(source, rest[0], rest[1:]) if rest else self.everything(source)
        elif module.is_dir() and rest:
            inner = modules.submodule(module, rest[0])
            if inner:
                self._module(inner, rest[1:])

    def _run_imports(self, source: Source, statement: Statement) -> None:
        """Runs the files that a statement imports; of a star import, all of it counts."""
        for item in statement.imports:
            if item.name == "*":
                self._follow(source, item, ())
            for target in modules.locate(source.path, item.level, item.module):
                inner = modules.submodule(target, item.name) if item.name else None
                for loaded in (self._load(file) for file in (target, inner) if file):
                    if loaded:
                        self.run(loaded)

    def _load(self, path: Path) -> Source | None:
        """The parsed file, or None where it is not first-party or not there."""
        if path not in self.sources:
            self.sources[path] = syntax.read(path) if path.is_file() and modules.first_party(path) else None
        return self.sources[path]

    def _registers(self, source: Source, statement: Statement) -> bool:
        """Whether a definition runs first-party code that may leave a trace elsewhere, as a registry does."""
        methods = self._quiet(source, statement, statement.methods)
        if methods.objects:
            return True
        called = self._quiet(source, statement, statement.calls)
        if any(item.writes for item in called.statements()):
            return True
        return any(item.hooks for item in self._quiet(source, statement, statement.bases).statements())

    def _quiet(self, source: Source, statement: Statement, chains: Iterable[Chain]) -> _Closure:
        closure = _Closure(self.sources, running=False)
        for chain in chains:
            closure._use(source, statement, chain)
        return closure

    def statements(self) -> list[Statement]:
        """All that is reached from here."""
        self._drain()
        return [source.statements[position] for source, positions in self._reached_sources() for position in positions]


def _texts(source: Source, positions: set[int]) -> list[str]:
    """The texts of some statements of a file; where order means nothing, sorted, so that moving one is free."""
    ordered: list[str] = []
    free: list[str] = []
    for position in sorted(positions):
        statement = source.statements[position]
        alone = all(len(source.binders[name]) == 1 for name in statement.binds)
        (free if alone and not statement.acts and not statement.calls else ordered).append(statement.text)
    return [*ordered, *sorted(free)]
