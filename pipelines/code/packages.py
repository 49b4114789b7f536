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
    distributions = {name for module in modules for name in _distributions().get(module, ())}
    return {name: _version(name) for name in sorted(distributions)}


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


_version = functools.cache(importlib.metadata.version)
