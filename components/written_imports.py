"""The imports that are written in a file's text: statements, and calls with a constant name.

The reader hashes the files behind them, and the importer refuses a user's file that is behind none of them.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FUNCTIONS = ("import_module", "__import__")


@dataclass(frozen=True)
class Import:
    """One name that an import binds.

    Attributes:
        level: Leading dots of a relative import; 0 is absolute.
        module: Dotted module, without the leading dots; may be empty (`from . import x`).
        name: The name taken from the module; None for `import module`, "*" for all names and for the module that a
            call returns.
        bound: The name it has in the importing file; dotted for `import a.b`, which binds only `a`.
    """

    level: int
    module: str
    name: str | None
    bound: str


def in_file(file: Path, choose: Callable[[ast.Module], Iterable[ast.AST]] = ast.walk) -> Iterator[tuple[int, Import]]:
    """Yield the imports in a file's text, each with its line.

    A file that is not valid Python has none; whoever imports it gets the error.

    Args:
        file: a Python file.
        choose: returns the statements and expressions that count; default: all.
    """
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError, OSError):
        return
    for node in choose(tree):
        for item in of(node):
            yield node.lineno, item  # type: ignore[attr-defined]


def of(node: ast.AST) -> tuple[Import, ...]:
    """Return what one statement or call imports; nothing if it is not an import, or if the name is computed."""
    if isinstance(node, ast.Import):
        return tuple(Import(0, alias.name, None, alias.asname or alias.name) for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return tuple(
            Import(node.level, node.module or "", alias.name, alias.asname or alias.name) for alias in node.names
        )
    function = getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""
    return _of_call(function, node) if function in _FUNCTIONS and isinstance(node, ast.Call) else ()


def _of_call(function: str, call: ast.Call) -> tuple[Import, ...]:
    arguments: dict[Any, ast.expr] = dict(enumerate(call.args))
    arguments.update((keyword.arg, keyword.value) for keyword in call.keywords)
    name = _text(arguments.get(0, arguments.get("name")))
    package = arguments.get(1, arguments.get("package"))
    if name is None or (function == "__import__" and (4 in arguments or "level" in arguments)):
        return ()
    module = name.lstrip(".")
    if module != name and not (isinstance(package, ast.Name) and package.id in ("__package__", "__name__")):
        outer = _text(package)
        if not outer:
            return ()
        module = name = importlib.util.resolve_name(name, outer)
    return (Import(len(name) - len(module), module, "*", "*"),)


def _text(node: ast.AST | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
