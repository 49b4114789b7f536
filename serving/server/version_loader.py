"""Loads versions in threads: the checks before and after, the routes, and turns for loads that slow down requests."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from benison.serving.files import checksum
from benison.serving.server import version_folders, version_header
from benison.serving.server.batching import sharing
from benison.serving.server.batching.limits import BatchLimits
from benison.serving.server.batching.routes import Route, plan_routes
from benison.serving.server.batching.sharing import Sharing, SharingPolicy
from benison.serving.server.engine import Engine
from benison.serving.server.engines import low_priority
from benison.serving.server.managed_version import ManagedVersion
from benison.serving.server.status import Code, RequestError
from benison.serving.server.version_header import Headers
from benison.serving.versions import condition
from benison.serving.versions.local import MANIFEST

_TURN_SECONDS = 3.0  # of a load; then the next one begins beside it, so that a slow model does not hold up the others
_COPY_SECONDS = 5.0  # a pause between two files or pieces of a copy is shorter
_LOADERS = 32  # threads, which are started as they are needed
_log = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """A version in memory, the route of each signature, whether their requests share runs, and its answers' header."""

    engine: Engine
    routes: Mapping[str, Route]
    sharing: Sharing
    headers: Headers


class VersionLoader:
    """The threads that load versions, and what is checked about each version."""

    def __init__(
        self,
        load: Callable[[str], Engine],
        limits: BatchLimits,
        *,
        load_threads: int,
        fast_paths: bool,
        plain_models: Collection[str],
        verify: bool,
        policy: SharingPolicy,
        follow_links: bool,
    ) -> None:
        """Start no thread; see `Models` for the arguments."""
        self._load = load
        self._limits = limits
        self._fast_paths = fast_paths
        self._plain_models = plain_models
        self._verify = verify
        self._policy = policy
        self._follow_links = follow_links
        self._turns = asyncio.Semaphore(max(load_threads, 1))
        self._threads = ThreadPoolExecutor(_LOADERS, thread_name_prefix="load")
        self._low_priority_threads = ThreadPoolExecutor(_LOADERS, "load", initializer=low_priority.lower_this_thread)

    async def wait_for_copy(self, version: ManagedVersion) -> None:
        """Wait while the files of a version are being written, unless its manifest shows which files it must have."""
        while not (self._verify and (Path(version.path) / MANIFEST).exists()):
            # Not in the loop's own threads, which convert requests: a folder may hang.
            look = asyncio.get_running_loop().run_in_executor(self._threads, version_folders.listing, version.path)
            files = await look
            age = time.time() - max((changed for _, _, changed in files), default=0) / 1e9
            if not 0 <= age < _COPY_SECONDS:
                return
            await asyncio.sleep(min(_COPY_SECONDS - age, 1.0))

    async def load(self, version: ManagedVersion, beside_requests: bool) -> Loaded:
        """Load a version in a thread, when it is its turn; several loads at once would slow down requests.

        Args:
            version: the version; its `files` are set.
            beside_requests: whether other versions serve, so that the load has a low priority.

        Raises:
            Exception: The version cannot be loaded; see `status.from_exception`.
        """
        threads = self._low_priority_threads if beside_requests else self._threads
        async with self._turns:
            load = asyncio.get_running_loop().run_in_executor(threads, self._load_and_plan, version)
            await asyncio.wait([load], timeout=_TURN_SECONDS)
        return await load

    def close(self) -> None:
        """Begin no further load."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._low_priority_threads.shutdown(wait=False, cancel_futures=True)

    def _load_and_plan(self, version: ManagedVersion) -> Loaded:
        folder, start = version.path, time.monotonic()
        version.files = version_folders.listing(folder)
        if not self._follow_links:
            version_folders.check_inside(folder)
        if self._verify:
            _check_condition(folder)
        engine = self._load(folder)
        try:
            may_be_fast = self._fast_paths and version.model not in self._plain_models
            routes = plan_routes(engine, folder, self._limits, time.monotonic() - start) if may_be_fast else {}
            failed_trials = {name: route.why_not_shared for name, route in routes.items() if route.why_not_shared}
            decided = sharing.decide(engine, folder, self._policy, failed_trials, version.name)
            if version_folders.listing(folder) != version.files:
                raise RequestError(
                    Code.FAILED_PRECONDITION,
                    "the files of the version changed during the load; it is loaded again when they no longer change",
                )
        except BaseException:
            engine.close()
            raise
        return Loaded(engine, routes, decided, version_header.headers(version.model, version.number, folder))


def _check_condition(folder: str) -> None:
    """Check that a version that Benison pushed is as it was pushed; log what that cost.

    Raises:
        RequestError: DATA_LOSS; the message names the first changed files.
    """
    state = condition.check(Path(folder), lambda path: low_priority.call(checksum.of_file, path))
    if state.is_damaged:
        problems = "; ".join([*state.problems[:3], *(["…"] if len(state.problems) > 3 else [])])
        raise RequestError(Code.DATA_LOSS, f"the version is damaged: {problems}; BENISON_VERIFY=off loads it anyway")
    if state.kind == "whole":
        _log.info("%s: as it was pushed (%s)", folder, state.cost())
