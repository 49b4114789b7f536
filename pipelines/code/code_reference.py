"""References to a user's code, `pkg.module:function` or `file.py:function`, followed without importing it.

Importing a user's module imports TensorFlow, which takes seconds and may fail for reasons of its own; to see whether a
function exists, parsing is enough.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import pkgutil
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path

from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError

FUNCTION = r"[A-Za-z_]\w*"
TARGET = rf"(?:{FUNCTION}(?:\.{FUNCTION})*|.+\.py)"


@dataclass(frozen=True)
class Code:
    """A function in a user's file.

    Attributes:
        file: where it is written, absolute.
        module: the module it was named by; None where it was named by file.
        function: its name.
    """

    file: Path
    module: str | None
    function: str

    @classmethod
    def of(cls, reference: str) -> Code:
        """Follows `pkg.module:function` or `/path/file.py:function`.

        Raises:
            UsageError: there is no such module or file.
        """
        target, _, function = reference.rpartition(":")
        return cls(find(target), None if is_file(target) else target, function)


def split(reference: str) -> tuple[str, str]:
    """Module or file, and function (empty where it is not named); a file's path may hold colons of its own."""
    target, _, function = reference.rpartition(":")
    return (target, function) if target and function.isidentifier() else (reference, "")


def is_file(target: str) -> bool:
    """Whether a target names a file; otherwise it is a module."""
    return target.endswith(".py")


def place(target: str, folder: Path) -> str:
    """A target that no longer depends on a folder: a file gets its absolute path, a module stays as it is."""
    return os.path.abspath(folder / Path(target).expanduser()) if is_file(target) else target


def find(target: str) -> Path:
    """The file of a module, or the file itself.

    Raises:
        UsageError: it is not there, or it is no Python source.
    """
    return _existing(Path(target)) if is_file(target) else _module_file(target)


def shown(path: Path) -> str:
    """The path as a user would type it: relative where it lies below the current folder."""
    path, here = Path(os.path.abspath(path)), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def package_folders(dotted: str) -> list[Path]:
    """The folders of an installed package, found without importing it; none where there is no such package.

    `find_spec` of a dotted name imports its parents, so only the first name is asked for and the rest is walked.
    """
    top, *rest = dotted.split(".")
    spec = _spec(top)
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    for name in rest:
        folders = [folder / name for folder in folders if (folder / name).is_dir()]
    return folders


def names_in(file: Path) -> frozenset[str] | None:
    """The names that importing a Python file binds; None where it imports `*` and parsing cannot tell.

    Raises:
        UsageError: the file is no valid Python; names the line.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a dubious escape sequence is the user's business, not an error
            tree = ast.parse(file.read_bytes(), str(file))
    except SyntaxError as error:
        raise UsageError(f"{shown(file)}, line {error.lineno or 1}: not valid Python: {error.msg}") from error
    except (ValueError, OSError) as error:
        raise UsageError(f"{shown(file)}: cannot be read: {error}") from error
    names = frozenset(_bound(tree.body))
    return None if "*" in names else names


def _existing(file: Path) -> Path:
    if not file.is_file():
        beside = [other.name for other in file.parent.glob("*.py")]
        raise UsageError(f"no such file: {shown(file)}{did_you_mean(file.name, beside)}")
    return file


def _module_file(dotted: str) -> Path:
    parent, _, name = dotted.rpartition(".")
    if not parent:
        spec = _spec(name)
        if spec is None:
            raise _no_module(dotted, [module.name for module in pkgutil.iter_modules()])
        found = [Path(spec.origin)] if spec.origin else []
    else:
        folders = package_folders(parent)
        if not folders:
            _module_file(parent)  # names the first part that is missing
        candidates = [folder / form for folder in folders for form in (f"{name}/__init__.py", f"{name}.py")]
        found = [file for file in candidates if file.is_file()][:1]
        if not found:
            raise _no_module(dotted, [f"{parent}.{m.name}" for m in pkgutil.iter_modules(map(str, folders))])
    if not found or found[0].suffix != ".py" or not found[0].is_file():
        raise UsageError(f"module {dotted!r} has no Python source file")
    return found[0].absolute()


def _no_module(dotted: str, known: Iterable[str]) -> UsageError:
    # Of the hundreds of modules on the path, some name always looks a little like the wrong one.
    hint = (
        did_you_mean(dotted, known, likeness=0.8)
        or "; it must be installed or on PYTHONPATH (a file is named as folder/file.py)"
    )
    return UsageError(f"no module {dotted!r}{hint}")


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):  # ValueError: loaded without a spec, as `__main__` is
        return None


def _bound(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Names bound by statements at module level, those inside `if`, `try`, `with` and loops too."""
    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield statement.name
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name.split(".")[0] for alias in statement.names)
        elif not (isinstance(statement, ast.AnnAssign) and statement.value is None):
            targets = [*getattr(statement, "targets", []), getattr(statement, "target", None)]
            yield from (node.id for t in targets if t for node in ast.walk(t) if isinstance(node, ast.Name))
            for inner in ("body", "orelse", "finalbody"):
                yield from _bound(getattr(statement, inner, []))
            for handler in getattr(statement, "handlers", []):
                yield from _bound(handler.body)
