"""The versions of installed packages, by the modules that they install."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Iterable, Mapping


def versions(modules: Iterable[str]) -> dict[str, str]:
    """Return the versions of the distributions that install some modules.

    Modules of Python itself, and those that are not installed, have none. Each version is read once per process: a
    package that is upgraded later is not the one that the process has imported.

    Args:
        modules: names of top-level modules.

    Returns:
        Version by distribution.
    """
    names = {name for module in modules for name in distributions().get(module, ())}
    return {name: _version(name) for name in sorted(names)}


@functools.cache
def distributions() -> Mapping[str, list[str]]:
    """Return the distributions that install each top-level module; the first call reads the files of all of them."""
    return importlib.metadata.packages_distributions()


_version = functools.cache(importlib.metadata.version)
