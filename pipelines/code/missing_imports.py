"""Finds imports of modules that do not exist, in the text of the user's files."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from benison.components import modules, written_imports
from benison.components.written_imports import Import
from benison.pipelines.code.code_reference import display_path
from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError


def missing_imports(file: Path) -> list[str]:
    """Return one line for each import that certainly fails when a user's file is imported.

    The files that it imports count too. An import is not certain to run, or not certain to fail, in a function, under
    an `if` (such as `if TYPE_CHECKING:`) and in a `try` with an `except`. Which submodules an installed package has is
    known only to the package.
    """
    lines: list[str] = []
    waiting, seen = [file], set[Path]()
    while waiting:
        path = waiting.pop()
        if path in seen or not path.is_file() or not modules.is_first_party(path):
            continue
        seen.add(path)
        for line, item in written_imports.in_file(path, lambda tree: _certain(tree.body)):
            try:
                fault = _fault(path, item)
            except UsageError as error:  # it can mean two files
                fault = str(error)
            if fault:
                lines.append(f"{display_path(path)}, line {line}: {fault}")
            else:
                waiting += _files(path, item)
    return lines


def _certain(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run whenever the file is imported."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.With):
            yield from _certain(node.body)
        elif isinstance(node, ast.Try):
            yield from _certain([] if node.handlers else node.body)
            yield from _certain(node.finalbody)
        else:
            yield node


def _fault(importer: Path, item: Import) -> str | None:
    """Return why an import fails; None if it does not, or if only running it can tell."""
    folder = modules.start(importer, item.level, item.module)
    target = modules.locate(importer, item.level, item.module)
    written = "." * item.level + item.module
    if target is None and folder is None:
        top = item.module.partition(".")[0]
        if top in sys.modules or importlib.util.find_spec(top):
            return None
        known = {*modules.importable_names(), *_neighbours(importer.parent)}
        hint = did_you_mean(item.module, known, likeness=0.8) or "; install it, or write it beside this file"
        return f"no module {written!r}{hint}"
    if target is None:
        *outer, last = item.module.split(".")
        package = modules.descend(folder, tuple(outer)) if folder else None
    elif target.is_dir() and item.name not in (None, "*"):  # a namespace folder has nothing but its files
        package, last, written = target, item.name or "", f"{written.rstrip('.')}.{item.name}"
        if modules.submodule(target, last):
            return None
    else:
        return None
    inside = package.parent if package and package.name == "__init__.py" else package
    if inside and any((inside / f"{last}{suffix}").is_file() for suffix in EXTENSION_SUFFIXES):
        return None
    return f"no module {written!r}{did_you_mean(last, _neighbours(inside) if inside else ())}"


def _files(importer: Path, item: Import) -> list[Path]:
    """Return the files that an import runs: the packages along its name, the module, and a submodule."""
    parts = item.module.split(".")
    names = [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    paths = [modules.locate(importer, item.level, name) for name in names]
    if item.name and paths[-1]:
        paths.append(modules.submodule(paths[-1], item.name))
    return [path for path in paths if path]


def _neighbours(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
