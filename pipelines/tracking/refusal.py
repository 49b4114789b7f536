"""The error for an event that a tracker will never take, and the one for a library that is missing."""

from __future__ import annotations

from importlib.util import find_spec

from benison.serving.errors import BenisonError, UsageError


class Refused(BenisonError):
    """A tracker refused an event as wrong."""


def require(module: str, package: str, key: str) -> None:
    """Check that the library of a tracker is installed.

    Raises:
        UsageError: it is not; the message says what to install.
    """
    if find_spec(module) is None:
        raise UsageError(f"{key} needs {package}, which is not installed: pip install 'benison[tracking]'")
