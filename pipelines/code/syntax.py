"""What the text of one Python file says, without running it: its statements, what they bind, refer to and import.

`benison.pipelines.code.fingerprint` walks these statements from file to file. Everything here leans to one side: a name
may be taken for used that is not (a local that shadows a global), but none that is used is missed.
"""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benison.pipelines.code import modules, references
from benison.pipelines.code.references import Chain, Import, References, stores
from benison.serving.errors import UsageError

Kind = Literal["function", "class", "import", "plain"]
# Through these code reaches names that are not written out: what it uses cannot be told from its text.
_DYNAMIC_NAMES = frozenset({"eval", "exec", "globals", "locals", "vars", "__import__"})
_DYNAMIC_ATTRIBUTES = frozenset({"import_module", "run_module", "run_path", "spec_from_file_location"})
_BINDING_ONLY = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Import, ast.ImportFrom, ast.Pass, ast.Break, ast.Continue)


@dataclass(frozen=True)
class Statement(References):
    """One statement at the top level of a file; an import of several names is one statement per name.

    Attributes:
        kind: "plain" is what is no definition and no import.
        text: The syntax tree as text, without positions, comments and docstrings.
        acts: Whether importing the file does more here than binding names.
        dynamic: Whether it reaches names that are not written out (`eval`, `globals()`, ...).
    """

    kind: Kind
    text: str
    acts: bool
    dynamic: bool

    @property
    def defers_imports(self) -> bool:
        """Whether the imports in it run later than the file's own import."""
        return self.kind in ("function", "class")

    @property
    def stars(self) -> tuple[Import, ...]:
        """Its star imports."""
        return tuple(item for item in self.imports if item.name == "*")


@dataclass(frozen=True)
class Source:
    """One parsed file.

    Attributes:
        path: Where it is (absolute).
        root: The folder that holds its outermost package, or the file's own where it is in none.
        statements: Its top-level statements in order.
        binders: For each name bound at module level, the positions of the statements that give or change its value.
    """

    path: Path
    root: Path
    statements: tuple[Statement, ...]
    binders: dict[str, tuple[int, ...]]

    @property
    def label(self) -> str:
        """The file's name as seen from its root: the same on every machine."""
        return self.path.relative_to(self.root).as_posix()

    @property
    def packages(self) -> tuple[Path, ...]:
        """The `__init__.py` files that run before this file, outermost first."""
        inner = [folder for folder in self.path.parents if folder.is_relative_to(self.root) and folder != self.root]
        inits = [folder / "__init__.py" for folder in reversed(inner)]
        return tuple(init for init in inits if init != self.path)


def read(path: Path) -> Source:
    """Parses a file.

    Raises:
        UsageError: The file is missing, not valid Python (the message names file and line), or nested too deeply.
    """
    path = Path(os.path.abspath(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape in a user's string is not ours to report
            tree = ast.parse(path.read_bytes(), filename=str(path))
        statements = tuple(_statement(node) for node in _top_level(tree))
    except OSError as error:
        raise UsageError(f"{path}: cannot read this Python file: {error.strerror}") from error
    except SyntaxError as error:
        raise UsageError(f"{path}:{error.lineno}: not valid Python: {error.msg}") from error
    except ValueError as error:  # null bytes, before Python 3.12
        raise UsageError(f"{path}:1: not valid Python: {error}") from error
    except RecursionError as error:
        raise UsageError(f"{path}: an expression in it is nested too deeply to follow; split it") from error
    return Source(path, modules.root(path), statements, _binders(statements))


def _binders(statements: tuple[Statement, ...]) -> dict[str, tuple[int, ...]]:
    """Which statements give each name its value; functions that write into an assigned name belong to it too."""
    assigned = {name for statement in statements if statement.kind == "plain" for name in statement.binds}
    found: dict[str, list[int]] = {}
    for position, statement in enumerate(statements):
        for name in statement.binds | (statement.mutates & assigned):
            found.setdefault(name, []).append(position)
    return {name: tuple(positions) for name, positions in found.items()}


# ---------------------------------------------------------------------------------------------- from tree to statement


class _Strings(ast.NodeTransformer):
    """Drops strings that stand alone: docstrings, and comments written as strings."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        self.generic_visit(node)
        return node


def _top_level(tree: ast.Module) -> Iterator[ast.stmt]:
    for node in _Strings().visit(tree).body:
        if isinstance(node, ast.Import):
            yield from (ast.Import([alias]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (ast.ImportFrom(node.module, [alias], node.level) for alias in node.names)
        elif not _is_main_guard(node):  # its body does not run in a node, which imports the file
            yield node


def _is_main_guard(node: ast.stmt) -> bool:
    if not isinstance(node, ast.If) or node.orelse or not isinstance(node.test, ast.Compare):
        return False
    sides = [node.test.left, *node.test.comparators]
    names = [side.id for side in sides if isinstance(side, ast.Name)]
    values = [side.value for side in sides if isinstance(side, ast.Constant)]
    return isinstance(node.test.ops[0], ast.Eq) and names == ["__name__"] and values == ["__main__"]


def _statement(node: ast.stmt) -> Statement:
    found = references.of(node)
    imported = {(item.name,) for item in found.imports if item.name}
    return Statement(
        **vars(found),
        kind=_kind(node),
        text=ast.dump(node),
        acts=_acts(node),
        dynamic=any(map(_is_dynamic, found.uses | imported)),
    )


def _kind(node: ast.stmt) -> Kind:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return "function"
    if isinstance(node, ast.ClassDef):
        return "class"
    return "import" if isinstance(node, ast.Import | ast.ImportFrom) else "plain"


def _is_dynamic(chain: Chain) -> bool:
    first = chain[1] if chain[0] == "builtins" and len(chain) > 1 else chain[0]
    return first in _DYNAMIC_NAMES or chain[:2] == ("sys", "modules") or not _DYNAMIC_ATTRIBUTES.isdisjoint(chain)


def _acts(node: ast.AST) -> bool:
    """Whether a statement, when it runs, does more than bind names."""
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        parts = [part for target in targets for part in ast.walk(target)]
        return any(isinstance(part, ast.Attribute | ast.Subscript) and stores(part) for part in parts)
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    if hasattr(node, "cases") or (
        hasattr(node, "body") and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ):
        inner = (ast.stmt, ast.ExceptHandler, ast.match_case)
        return any(_acts(child) for child in ast.iter_child_nodes(node) if isinstance(child, inner))
    return not (isinstance(node, _BINDING_ONLY) or type(node).__name__ == "TypeAlias")  # from Python 3.12
