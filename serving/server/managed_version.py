"""One version of a model: its state, and the next step that keeps a version of the model available."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from benison.serving.server.batching.routes import Route
from benison.serving.server.batching.runner import Runner
from benison.serving.server.engine import Engine
from benison.serving.server.status import RequestError
from benison.serving.server.version_folders import Listing
from benison.serving.server.version_header import Headers

_WATCH_SECONDS = 600.0  # after which a copy of a version is taken to be whole
_log = logging.getLogger(__name__)


class State(IntEnum):
    """A version's state, with the numbers of ModelVersionStatus."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass
class ManagedVersion:
    """One version of a model.

    Attributes:
        model: the name of the model.
        number: the version number.
        path: the version's folder.
        aspired: whether the policy selects the version now (TF Serving's word).
        state: the current state.
        error: why the version failed, or why the last try to load it failed.
        tries: the number of tries to load it.
        engine: the loaded engine; None unless the state is AVAILABLE or UNLOADING.
        runner: the queues of the version.
        routes: the route of each signature's requests.
        since: Unix time of the last change of state (seconds).
        leases: the number of requests that use the version.
        idle: set when the last lease ends.
        dropped: whether the policy stopped selecting the version.
        files: the files of the version at the last try to load it.
        seen_files: the files of the version, when its model's folder was last looked at.
        wake: set when the version need not wait for its next try: it was dropped, or its files changed.
        is_stuck: whether it ended because of runs that do not end.
        headers: the header of its answers; see `version_header`.
    """

    model: str
    number: int
    path: str
    aspired: bool = True
    state: State = State.START
    error: RequestError | None = None
    tries: int = 0
    engine: Engine | None = None
    runner: Runner | None = None
    routes: Mapping[str, Route] = field(default_factory=dict)
    since: float = field(default_factory=time.time)
    leases: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    dropped: bool = False
    files: Listing | None = None
    seen_files: Listing | None = None
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    is_stuck: bool = False
    headers: Headers = ()

    @property
    def name(self) -> str:
        """The name of the version in messages."""
        return f"model {self.model} version {self.number}"

    @property
    def failed(self) -> bool:
        """True if the last try to load the version failed."""
        return self.error is not None and self.state in (State.LOADING, State.END)

    def drop(self) -> None:
        """Record that the policy no longer selects the version."""
        self.aspired, self.dropped = False, True
        self.wake.set()

    @property
    def is_watched(self) -> bool:
        """True if the version is loaded again when its files change: it failed, or was perhaps copied only in part."""
        is_new = self.state is State.AVAILABLE and time.time() - self.since < _WATCH_SECONDS
        return self.aspired and (self.failed or is_new)

    def has_changed(self, files: Listing) -> bool:
        """Return whether the files of the version changed since the last try to load it and have stopped changing.

        Args:
            files: its files now; remembered for the next call.
        """
        settled, self.seen_files = files == self.seen_files, files
        return settled and files != self.files

    def enter(self, state: State) -> None:
        """Change the state."""
        self.state, self.since = state, time.time()
        _log.info(
            "model %s version %d: %s%s",
            self.model,
            self.number,
            state.name,
            f": {self.error}" if self.error else "",
            extra={"event": "version", "model": self.model, "version": self.number, "state": state.name},
        )


def next_action(versions: Mapping[int, ManagedVersion]) -> tuple[str, int] | None:
    """Return the next step that keeps a version available (TF Serving's AvailabilityPreservingPolicy).

    A version that is not aspired is unloaded once an aspired one is available, or no version is aspired, or another
    version that is not aspired remains. Otherwise the highest aspired version that was not tried yet is loaded.

    Returns:
        `load` or `unload` and the version number; None if there is nothing to do.
    """
    aspired = [version for version in versions.values() if version.aspired]
    old = [v.number for v in versions.values() if not v.aspired and v.state is State.AVAILABLE]
    available = any(version.state is State.AVAILABLE for version in aspired)
    if old and (not aspired or available or len(old) > 1):
        return "unload", min(old)
    new = [version.number for version in aspired if version.state is State.START]
    return ("load", max(new)) if new else None


def newest(versions: Mapping[int, ManagedVersion]) -> ManagedVersion | None:
    """Return the highest available version; None if no version is available."""
    available = [number for number, version in versions.items() if version.state is State.AVAILABLE]
    return versions[max(available)] if available else None
