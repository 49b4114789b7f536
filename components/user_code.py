"""Loads a user's function by file or by module, so that features and members can live anywhere."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from benison.serving.errors import UsageError


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
    module = _from_file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    function = getattr(module, name, None)
    if not callable(function):
        raise UsageError(f"{source}: no function {name!r}")
    return function


def _from_file(path: Path) -> ModuleType:
    """Import a file under a unique module name, so that two users' `models.py` do not collide in `sys.modules`."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    # Appended, not prepended, so that a file of the user does not hide an installed module with the same name.
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    name = f"benison_user_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
