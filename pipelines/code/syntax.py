"""The top-level statements of one Python file, parsed without running it.

`benison.pipelines.code.fingerprint` follows these statements from file to file. The parser errs on the safe side: it
may take an unused name for a used one (a local that shadows a global), but it never misses a used one.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from benison.components import modules
from benison.components.written_imports import Import
from benison.pipelines.code import references
from benison.pipelines.code.references import DottedName, References, is_target
from benison.serving.errors import UsageError

Kind = Literal["function", "class", "import", "typing", "plain"]
# Code that calls these reaches names that are not written out, so its text does not tell what it uses.
_DYNAMIC_NAMES = frozenset({"eval", "exec", "globals", "locals", "vars", "__import__"})
_DYNAMIC_ATTRIBUTES = frozenset({"import_module", "run_module", "run_path", "spec_from_file_location"})
_BINDING_ONLY = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Import, ast.ImportFrom, ast.Pass, ast.Break, ast.Continue)
# Python calls these functions of a module only when somebody asks the module for a name.
_ON_REQUEST = frozenset({"__getattr__", "__dir__"})


@dataclass(frozen=True)
class Statement(References):
    """One statement at the top level of a file.

    An import of several names counts as one statement per name. So does a table of constants beside a `__getattr__`:
    one statement per entry.

    Attributes:
        kind: "typing" stands under `if TYPE_CHECKING:` and never runs; "plain" is neither a definition nor an import.
        text: The syntax tree as text, without positions, comments and docstrings.
        has_effects: Whether it does more than bind names when the file is imported.
        dynamic: Whether it reaches names that are not written out (`eval`, `globals()`, ...).
        entry: The key of the table's entry that it is; None for any other statement.
    """

    kind: Kind
    text: str
    has_effects: bool
    dynamic: bool
    entry: str | None

    @property
    def defers_imports(self) -> bool:
        """True if its imports do not run when the file is imported."""
        return self.kind in ("function", "class", "typing")

    @property
    def only_by_name(self) -> bool:
        """True if other code can depend on it only through the names that it binds."""
        constant = self.kind == "plain" and not (self.has_effects or self.calls or self.imports)
        return constant or self.kind == "typing" or bool(self.binds & _ON_REQUEST)

    @property
    def stars(self) -> tuple[Import, ...]:
        """Its star imports."""
        return tuple(item for item in self.imports if item.name == "*")


@dataclass(frozen=True)
class Source:
    """One parsed file.

    Attributes:
        path: The file (absolute).
        root: The folder that holds its outermost package, or the file's own folder if it is in no package.
        statements: Its top-level statements in order.
        bindings: The positions of the statements that give each module-level name its value or change it.
    """

    path: Path
    root: Path
    statements: tuple[Statement, ...]
    bindings: dict[str, tuple[int, ...]]

    @property
    def label(self) -> str:
        """The file's path relative to its root: the same on every machine."""
        return self.path.relative_to(self.root).as_posix()

    @property
    def packages(self) -> tuple[Path, ...]:
        """The `__init__.py` files that run before this file, outermost first."""
        return _packages(self.path, self.root)

    def loads_lazily(self, name: str) -> bool:
        """Return whether `__getattr__` loads a name that only an import under `if TYPE_CHECKING:` declares."""
        positions = self.bindings.get(name, ())
        declared = bool(positions) and all(self.statements[position].kind == "typing" for position in positions)
        return declared and "__getattr__" in self.bindings


@functools.lru_cache(maxsize=1024)  # paths are slow, and each node's code has a thousand files
def _packages(path: Path, root: Path) -> tuple[Path, ...]:
    """Return the `__init__.py` files that run before a file, outermost first."""
    inner = [folder for folder in path.parents if folder.is_relative_to(root) and folder != root]
    inits = [folder / "__init__.py" for folder in reversed(inner)]
    return tuple(init for init in inits if init != path)


def read(path: Path) -> Source:
    """Parse a file.

    Raises:
        UsageError: The file is missing, not valid Python (the message names file and line), or nested too deeply.
    """
    path = Path(os.path.abspath(path))
    try:
        statements = _parse(path.read_bytes(), str(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot read this Python file: {error.strerror}") from error
    except SyntaxError as error:
        raise UsageError(f"{path}:{error.lineno}: not valid Python: {error.msg}") from error
    except ValueError as error:  # null bytes, before Python 3.12
        raise UsageError(f"{path}:1: not valid Python: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{path}: it holds an expression that is nested too deeply to follow; split it") from error
    return Source(path, modules.root(path), statements, _bindings(statements))


@functools.lru_cache(maxsize=1024)  # a worker hashes the code of many nodes, and most of it is the same
def _parse(content: bytes, filename: str) -> tuple[Statement, ...]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an invalid escape sequence in the user's file is not an error here
        tree = ast.parse(content, filename=filename)
    return tuple(_statements(tree))


def _bindings(statements: tuple[Statement, ...]) -> dict[str, tuple[int, ...]]:
    """Return the statements behind each name's value; a function that changes an assigned name is one of them."""
    assigned = {name for statement in statements if statement.kind == "plain" for name in statement.binds}
    positions: dict[str, list[int]] = {}
    for position, statement in enumerate(statements):
        for name in statement.binds | (statement.mutates & assigned):
            positions.setdefault(name, []).append(position)
    return {name: tuple(numbers) for name, numbers in positions.items()}


# ---------------------------------------------------------------------------------------------- from tree to statement


class _RemoveStrings(ast.NodeTransformer):
    """Removes strings that stand alone: docstrings, and comments written as strings."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        self.generic_visit(node)
        return node


def _statements(tree: ast.Module) -> Iterator[Statement]:
    """Split a module into the smallest parts that can be used apart."""
    body = list(_running(_RemoveStrings().visit(tree).body))
    lazy = any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in body)
    for node in body:
        if isinstance(node, ast.If) and _is_type_checking(node):
            yield from (_typing_only(_statement(part)) for inner in node.body for part in _single_imports(inner))
        elif lazy and (entries := _table_entries(node)):
            yield from (replace(_statement(part), entry=key) for key, part in entries)
        elif not _is_main_guard(node):  # a node imports the file, so the guarded body does not run
            yield from map(_statement, _single_imports(node))


def _running(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements of a module; those under `if not TYPE_CHECKING:` always run, as if they stood outside."""
    for node in body:
        test = node.test if isinstance(node, ast.If) and not node.orelse else None
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not) and _is_type_checking_name(test.operand):
            yield from _running(node.body)  # type: ignore[attr-defined]
        else:
            yield node


def _single_imports(node: ast.stmt) -> Iterator[ast.stmt]:
    """Split an import of several names into one import per name."""
    if isinstance(node, ast.Import):
        yield from (ast.Import([alias]) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (ast.ImportFrom(node.module, [alias], node.level) for alias in node.names)
    else:
        yield node


def _table_entries(node: ast.stmt) -> list[tuple[str, ast.stmt]]:
    """Split `TABLE = {"a": 1, "b": 2}` into one assignment per key; return [] for any other statement."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Dict):
        return []
    entries: list[tuple[str, ast.stmt]] = []
    for key, value in zip(node.value.keys, node.value.values, strict=True):
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            return []
        entries.append((key.value, ast.Assign(node.targets, ast.Dict([key], [value]), lineno=0)))
    return entries


def _is_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and not node.orelse and _is_type_checking_name(node.test)


def _is_type_checking_name(test: ast.expr) -> bool:
    return re.fullmatch(r"(\w+\.)?TYPE_CHECKING", ast.unparse(test)) is not None


def _typing_only(statement: Statement) -> Statement:
    return replace(statement, kind="typing", has_effects=False)


def _is_main_guard(node: ast.stmt) -> bool:
    if not isinstance(node, ast.If) or node.orelse or not isinstance(node.test, ast.Compare):
        return False
    sides = [node.test.left, *node.test.comparators]
    names = [side.id for side in sides if isinstance(side, ast.Name)]
    values = [side.value for side in sides if isinstance(side, ast.Constant)]
    return isinstance(node.test.ops[0], ast.Eq) and names == ["__name__"] and values == ["__main__"]


def _statement(node: ast.stmt) -> Statement:
    collected = references.collect(node)
    imported = {(item.name,) for item in collected.imports if item.name}
    return Statement(
        **vars(collected),
        kind=_kind(node),
        text=ast.dump(node),
        has_effects=_has_effects(node),
        dynamic=any(map(_is_dynamic, collected.uses | imported)),
        entry=None,
    )


def _kind(node: ast.stmt) -> Kind:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return "function"
    if isinstance(node, ast.ClassDef):
        return "class"
    return "import" if isinstance(node, ast.Import | ast.ImportFrom) else "plain"


def _is_dynamic(name: DottedName) -> bool:
    first = name[1] if name[0] == "builtins" and len(name) > 1 else name[0]
    return first in _DYNAMIC_NAMES or name[:2] == ("sys", "modules") or not _DYNAMIC_ATTRIBUTES.isdisjoint(name)


def _has_effects(node: ast.AST) -> bool:
    """Return whether a statement does more than bind names when it runs."""
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        parts = [part for target in targets for part in ast.walk(target)]
        return any(isinstance(part, ast.Attribute | ast.Subscript) and is_target(part) for part in parts)
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    if hasattr(node, "cases") or (
        hasattr(node, "body") and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ):
        inner = (ast.stmt, ast.ExceptHandler, ast.match_case)
        return any(_has_effects(child) for child in ast.iter_child_nodes(node) if isinstance(child, inner))
    return not (isinstance(node, _BINDING_ONLY) or type(node).__name__ == "TypeAlias")  # from Python 3.12
