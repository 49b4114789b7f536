"""Name what both clients have in common: the error, the state of a version, and the checks of their arguments."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from benison.serving.errors import BenisonError, UsageError

VERSION_HEADER = "x-benison-version"


class ServerError(BenisonError):
    """The server refused a request, or could not be reached.

    Attributes:
        code: gRPC's name of the error, such as `NOT_FOUND`; over REST `HTTP 404`; `UNAVAILABLE` if nobody answered;
            `UNKNOWN` for an answer that is not one of TF Serving's API.
        message: The server's text, or why it could not be reached.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)  # pickle makes the copy from these
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


@dataclass(frozen=True)
class Answer:
    """Predictions, and the version that gave them.

    Attributes:
        predictions: As `predict` of the same client returns them.
        version: `NAME/VERSION`, which `benison lineage` takes; empty if the server does not name it, as TensorFlow
            Serving does not.
    """

    predictions: Any
    version: str


@dataclass(frozen=True)
class VersionStatus:
    """State of one version on a server.

    Attributes:
        version: Number of the version.
        state: START, LOADING, AVAILABLE, UNLOADING or END.
        error_code: `OK`, or the code of the error that ended it.
        error_message: Message of that error; empty if there is none.
    """

    version: int
    state: str
    error_code: str
    error_message: str


def version_of(headers: Iterable[tuple[str, Any]]) -> str:
    """Return the version that the headers of an answer name; '' if they name none."""
    return next((unquote(str(value)) for name, value in headers if name == VERSION_HEADER), "")


def check_free(closed: bool, loop: asyncio.AbstractEventLoop | None) -> None:
    """Check that a client can be used in the running event loop.

    Raises:
        UsageError: It is closed, or another event loop that is not closed uses it.
    """
    if closed:
        raise UsageError("the client is closed; make another one")
    if loop is not None and loop is not asyncio.get_running_loop() and not loop.is_closed():
        raise UsageError("another event loop uses the client; make one client for each")


def checked_timeout(timeout: Any) -> float:
    """Return a timeout (seconds).

    Raises:
        UsageError: It is not a number above 0.
    """
    if isinstance(timeout, (int, float)) and timeout > 0:
        return timeout
    raise UsageError(f"timeout: got {timeout!r}, expected a number of seconds above 0")


def check_names(model: Any, version: Any, label: Any) -> None:
    """Check the names that a request gives.

    Raises:
        UsageError: One has a wrong type or is empty, or both version and label are given.
    """
    if not isinstance(model, str) or not model:
        raise UsageError(f"model: got {model!r}, expected its name")
    if version is not None and (not hasattr(version, "__index__") or isinstance(version, bool)):  # numpy's int too
        raise UsageError(f"version: got {version!r}, expected a whole number")
    if label is not None and (not isinstance(label, str) or not label):
        raise UsageError(f"label: got {label!r}, expected text")
    if version is not None and label is not None:
        raise UsageError("got both of version and label, expected at most one")
