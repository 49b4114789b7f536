"""References to a user's code, `pkg.module:function` or `file.py:function`, resolved without importing it.

Importing a user's module imports TensorFlow, which takes seconds and can fail for unrelated reasons. Parsing is enough
to see whether a function exists.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import pkgutil
import warnings
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

from benison.components import modules
from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError

# Benison's packages, which earlier releases installed by these names.
_FORMER_PACKAGES = ("components", "pipelines", "serving")
FUNCTION = r"[A-Za-z_]\w*"
TARGET = rf"(?:{FUNCTION}(?:\.{FUNCTION})*|.+\.py)"


def split(reference: str) -> tuple[str, str]:
    """Split into module or file, and function (empty if there is none); a file's path may contain colons."""
    target, _, function = reference.rpartition(":")
    return (target, function) if target and function.isidentifier() else (reference, "")


def is_file(target: str) -> bool:
    """Return whether a target names a file; if not, it names a module."""
    return target.endswith(".py")


def absolute(target: str, folder: Path) -> str:
    """Make a target independent of `folder`: a file becomes an absolute path, a module stays the same."""
    return os.path.abspath(folder / Path(target).expanduser()) if is_file(target) else target


def by_file(reference: str) -> str:
    """Return `pkg.module:function` or `file.py:function` as `/path/file.py:function`; errors are those of `find`."""
    target, function = split(reference)
    return f"{find(target)}:{function}"


def find(target: str) -> Path:
    """Return the file of a module, or the file itself.

    Raises:
        UsageError: it does not exist, or it has no Python source.
    """
    return _existing(Path(target)) if is_file(target) else _module_file(target)


def display_path(path: Path) -> str:
    """Return the path as a user would type it: relative if it is below the current folder."""
    path, current = Path(os.path.abspath(path)), Path.cwd()
    return str(path.relative_to(current)) if path.is_relative_to(current) else str(path)


def package_folders(dotted: str) -> list[Path]:
    """Return the folders of an installed package, without importing it; empty if there is no such package.

    `find_spec` imports the parents of a dotted name, so it is called for the first name only; the others are folders
    below.
    """
    top, *rest = dotted.split(".")
    spec = _spec(top)
    folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
    for name in rest:
        folders = [folder / name for folder in folders if (folder / name).is_dir()]
    return folders


def names_in(file: Path) -> frozenset[str] | None:
    """Return the names that importing a Python file binds; None if it imports `*`, because parsing cannot tell then.

    Raises:
        UsageError: the file is not valid Python, or imports Benison as earlier releases did; the message names the
            line.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape sequence in the user's file is not an error here
            tree = ast.parse(file.read_bytes(), str(file))
    except SyntaxError as error:
        raise UsageError(f"{display_path(file)}, line {error.lineno or 1}: not valid Python: {error.msg}") from error
    except (ValueError, OSError) as error:
        raise UsageError(f"{display_path(file)}: cannot be read: {error}") from error
    _refuse_former_imports(file, tree)
    names = frozenset(_bound(tree.body))
    return None if "*" in names else names


def _refuse_former_imports(file: Path, tree: ast.Module) -> None:
    """Raise an error for `from components.transform import dense`: Benison's packages were importable by such names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level:
            modules = {node.module or ""}
        elif isinstance(node, ast.Import):
            modules = {alias.name for alias in node.names}
        else:
            continue
        for module in modules:
            top = module.partition(".")[0]
            if top in _FORMER_PACKAGES and not _is_users_own(top, file.parent):
                raise UsageError(
                    f"{display_path(file)}, line {node.lineno}: Benison no longer has a module {module}; "
                    "write `from benison import …` (`benison.__all__` lists the names)"
                )


def _is_users_own(top: str, folder: Path | None = None) -> bool:
    """Return whether a package of the user has the name of one of Benison's, beside the user's file or on the path."""
    spec = _spec(top)
    locations = (spec.submodule_search_locations or [spec.origin or ""]) if spec else []
    beside = [folder / top, folder / f"{top}.py"] if folder else []
    candidates = [*map(Path, locations), *(path for path in beside if path.exists())]
    benison = {path.resolve() for path in package_folders(f"benison.{top}")}
    return any(path.resolve() not in benison for path in candidates)


def _existing(file: Path) -> Path:
    if not file.is_file():
        neighbours = [other.name for other in file.parent.glob("*.py")]
        raise UsageError(f"no such file: {display_path(file)}{did_you_mean(file.name, neighbours)}")
    return file


def _module_file(dotted: str) -> Path:
    parent, _, name = dotted.rpartition(".")
    if dotted.partition(".")[0] in _FORMER_PACKAGES and not _is_users_own(dotted.partition(".")[0]):
        raise UsageError(f"no module {dotted!r}; Benison's modules are now below `benison`: write benison.{dotted}")
    if not parent:
        spec = _spec(name)
        if spec is None:
            raise _no_module(dotted, modules.importable_names())
        files = [Path(spec.origin)] if spec.origin else []
    else:
        folders = package_folders(parent)
        if not folders:
            _module_file(parent)  # raises an error that names the first missing part
        candidates = [folder / form for folder in folders for form in (f"{name}/__init__.py", f"{name}.py")]
        files = [file for file in candidates if file.is_file()][:1]
        if not files:
            raise _no_module(dotted, [f"{parent}.{m.name}" for m in pkgutil.iter_modules(map(str, folders))])
    if not files or files[0].suffix != ".py" or not files[0].is_file():
        raise UsageError(f"module {dotted!r} has no Python source file")
    return files[0].absolute()


def _no_module(dotted: str, known: Iterable[str]) -> UsageError:
    # There are hundreds of modules on the path, so a low threshold would always suggest one of them.
    hint = (
        did_you_mean(dotted, known, likeness=0.8)
        or "; it must be installed or on PYTHONPATH (write a file as folder/file.py)"
    )
    return UsageError(f"no module {dotted!r}{hint}")


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):  # ValueError: loaded without a spec, as `__main__` is
        return None


def _bound(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Yield the names that module-level statements bind, including those inside `if`, `try`, `with` and loops."""
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
