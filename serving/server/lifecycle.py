"""The life cycle of versions: load before unload, retries, states, labels, and leases of versions in use.

Everything here runs on the event loop, so nothing needs a lock; loads and unloads block threads of their own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from benison.serving.files import checksum
from benison.serving.models_config import Config
from benison.serving.server import version_folders
from benison.serving.server.batching import sharing
from benison.serving.server.batching.limits import BatchLimits
from benison.serving.server.batching.routes import Route, plan_routes
from benison.serving.server.batching.runner import Runner
from benison.serving.server.batching.sharing import Sharing, SharingPolicy
from benison.serving.server.engine import Engine
from benison.serving.server.engines import low_priority
from benison.serving.server.model_config import check_labels
from benison.serving.server.status import Code, RequestError, from_exception, invalid
from benison.serving.versions import condition

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
        dropped: set when the policy no longer selects the version.
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
    dropped: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        """The name of the version in messages."""
        return f"model {self.model} version {self.number}"

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


def _newest(versions: Mapping[int, ManagedVersion]) -> ManagedVersion | None:
    """Return the highest available version; None if no version is available."""
    available = [number for number, version in versions.items() if version.state is State.AVAILABLE]
    return versions[max(available)] if available else None


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


class Models:
    """All models, their versions and labels."""

    def __init__(
        self,
        load: Callable[[str], Engine],
        limits: BatchLimits,
        *,
        load_threads: int = 1,
        max_retries: int = 5,
        retry_seconds: float = 60.0,
        allow_new_labels: bool = False,
        fast_paths: bool = True,
        plain_models: Collection[str] = (),
        verify: bool = True,
        policy: SharingPolicy = SharingPolicy(),  # noqa: B008
    ) -> None:
        """Start without models; `reload` loads them.

        Args:
            load: loads a version's folder; blocks.
            limits: the limits of each version's queues and runs.
            load_threads: the number of versions that load at the same time.
            max_retries: the number of tries after the first one.
            retry_seconds: the time between two tries (seconds).
            allow_new_labels: whether a new label may name a version that is not available yet.
            fast_paths: whether requests may take a faster route than the plain one.
            plain_models: models whose requests take the plain route anyway.
            verify: whether a version's files are compared with its manifest before it is loaded.
            policy: decides with each version's graph whether its requests share runs.
        """
        self.config = Config({})
        self.labels: dict[str, dict[str, int]] = {}
        self.versions: dict[str, dict[int, ManagedVersion]] = {}
        self._load = load
        self._limits = limits
        self._max_retries = max_retries
        self._retry_seconds = retry_seconds
        self._allow_new_labels = allow_new_labels
        self._fast_paths = fast_paths
        self._plain_models = plain_models
        self._verify = verify
        self._policy = policy
        self._loaders = ThreadPoolExecutor(max(load_threads, 1), thread_name_prefix="load")
        self._low_priority_loaders = ThreadPoolExecutor(
            max(load_threads, 1), "load", initializer=low_priority.lower_this_thread
        )
        self._unloaders = ThreadPoolExecutor(4, thread_name_prefix="unload")
        self._tasks: dict[str, asyncio.Task[None]] = {}  # each loads and unloads the versions of one model
        self._unloads: set[asyncio.Task[None]] = set()
        self._reloading = asyncio.Lock()
        self._changed = asyncio.Condition()

    @contextmanager
    def lease(self, model: str, number: int | None = None, label: str | None = None) -> Iterator[ManagedVersion]:
        """Lease a version for one request; it is not unloaded before the lease ends.

        Raises:
            RequestError: The label does not exist, or no such version is available.
        """
        version = self.acquire(model, number, label)
        try:
            yield version
        finally:
            self.release(version)

    def acquire(self, model: str, number: int | None = None, label: str | None = None) -> ManagedVersion:
        """Return a version that is not unloaded before `release`.

        Args:
            model: the name of the model.
            number: the version number; None for the version of the label, or for the highest available version.
            label: the label of the version.

        Raises:
            RequestError: The label does not exist, or no such version is available.
        """
        version = self._find(model, number, label)
        version.leases += 1
        return version

    def release(self, version: ManagedVersion) -> None:
        """End the use of a version from `acquire`."""
        version.leases -= 1
        if not version.leases:
            version.idle.set()

    def status(self, model: str, number: int | None = None) -> list[ManagedVersion]:
        """Return a model's versions, the highest first, including ended ones; or only the requested version.

        Raises:
            RequestError: There is no such version.
        """
        versions = self.versions.get(model, {})
        if number is not None:
            if number not in versions:
                raise RequestError(Code.NOT_FOUND, f"Could not find version {number} of model {model}")
            return [versions[number]]
        if not versions:
            raise RequestError(Code.NOT_FOUND, f"Could not find any versions of model {model}")
        return [versions[n] for n in sorted(versions, reverse=True)]

    async def reload(self, config: Config) -> None:
        """Replace the whole config, and wait until its new models and versions are available.

        Raises:
            RequestError: A label names a version that is not available; nothing was changed. Or a new model did not
                become available. A failed version of an existing model is not an error: the old version stays
                available, and the status shows the failure.
        """
        async with self._reloading:
            available = {
                name: frozenset(n for n, v in versions.items() if v.state is State.AVAILABLE)
                for name, versions in self.versions.items()
            }
            self.labels = check_labels(config, self.labels, available, self._allow_new_labels)
            new = config.models.keys() - self.config.models.keys()
            removed = self.config.models.keys() - config.models.keys()
            self.config = config
            for name in removed:
                self._set_aspired(name, {})
            await self.poll()
            async with self._changed:
                await self._changed.wait_for(lambda: all(self._settled(name, name in new) for name in config.models))
        failed = [
            version
            for name in sorted(new)
            for version in self.versions.get(name, {}).values()
            if version.error and not self._serves(name)
        ]
        if failed:
            failures = "".join(f"{{{{name: {v.model} version: {v.number}}} due to error: {v.error}}}, " for v in failed)
            raise RequestError(Code.UNKNOWN, f"{len(failed)} servable(s) did not become available: {{{failures}}}")

    async def poll(self) -> None:
        """Look for versions in the folders of all models, and start to load and unload them."""
        loop = asyncio.get_running_loop()
        for model in list(self.config.models.values()):
            try:
                paths = await loop.run_in_executor(None, version_folders.aspired_versions, model)
            except OSError as error:
                _log.warning("Could not find base path %s for servable %s: %s", model.base_path, model.name, error)
                continue
            if not paths:
                _log.warning("No versions of servable %s found under base path %s", model.name, model.base_path)
            if self.config.models.get(model.name) is model:  # otherwise the config was replaced meanwhile
                self._set_aspired(model.name, paths)

    async def close(self) -> None:
        """Unload all versions."""
        for task in [*self._tasks.values(), *self._unloads]:
            task.cancel()
        runners = [v.runner for versions in self.versions.values() for v in versions.values() if v.runner]
        await asyncio.gather(*(asyncio.to_thread(runner.close) for runner in runners), return_exceptions=True)
        self._loaders.shutdown(wait=False, cancel_futures=True)
        self._low_priority_loaders.shutdown(wait=False, cancel_futures=True)
        self._unloaders.shutdown(wait=False, cancel_futures=True)

    def _find(self, model: str, number: int | None, label: str | None) -> ManagedVersion:
        if not model:
            raise invalid("ModelSpec has no name specified.")
        if label is not None:
            number = self.labels.get(model, {}).get(label)
            if number is None:
                raise invalid(f"Unrecognized servable version label: {label}")
        versions = self.versions.get(model, {})
        version = versions.get(number) if number is not None else _newest(versions)
        if version is None or version.state is not State.AVAILABLE:
            request = f"Latest({model})" if number is None else f"Specific({model}, {number})"
            raise RequestError(Code.NOT_FOUND, f"Servable not found for request: {request}")
        return version

    def _set_aspired(self, model: str, paths: Mapping[int, str]) -> None:
        """Record which versions are aspired now, and start to load and unload.

        Args:
            model: the name of the model.
            paths: the folders of the aspired versions.
        """
        versions = self.versions.setdefault(model, {})
        for number, version in versions.items():
            version.aspired = number in paths
            if not version.aspired:
                version.dropped.set()
        for number, path in paths.items():
            old = versions.get(number)
            # An unloaded or dropped version may return. A failed one is not tried again before it was dropped.
            if old is None or (old.state is State.END and (old.error is None or old.dropped.is_set())):
                versions[number] = ManagedVersion(model, number, path)
        self._start_task(model)
        if not versions:
            del self.versions[model]

    def _start_task(self, model: str) -> None:
        """Start the task of a model, if there is something to do and it does not run yet."""
        if next_action(self.versions[model]) and model not in self._tasks:
            self._tasks[model] = asyncio.create_task(self._load_and_unload(model))

    async def _load_and_unload(self, model: str) -> None:
        """Load and unload a model's versions until there is nothing more to do."""
        try:
            while action := next_action(self.versions[model]):
                version = self.versions[model][action[1]]
                if action[0] == "unload":
                    self._begin_unload(version)
                else:
                    await self._load_with_retries(version)
                await self._notify()
        finally:
            del self._tasks[model]  # without an await after the last check, so that no new step is missed

    async def _load_with_retries(self, version: ManagedVersion) -> None:
        """Load a version, with retries; the result is AVAILABLE, or END with the error."""
        loop = asyncio.get_running_loop()
        version.enter(State.LOADING)
        while True:
            version.tries += 1
            try:
                engine, routes, decided = await loop.run_in_executor(self._loader(), self._load_and_plan, version)
            except Exception as error:
                version.error = from_exception(error)
                _log.warning(
                    "model %s version %d, try %d: %s", version.model, version.number, version.tries, version.error
                )
            else:
                break
            await self._notify()
            is_refused = version.error.code is Code.PERMISSION_DENIED  # a retry would be refused too
            if is_refused or version.tries > self._max_retries or await self._dropped_before_retry(version):
                self._end(version)
                return
        version.error = None
        version.engine, version.routes = engine, routes
        version.runner = Runner(engine, self._limits, loop, version.name, routes, decided)
        version.enter(State.AVAILABLE)

    def _loader(self) -> ThreadPoolExecutor:
        """Return the threads to load in; they have low priority if any version is available."""
        return self._low_priority_loaders if any(map(self._serves, self.versions)) else self._loaders

    def _load_and_plan(self, version: ManagedVersion) -> tuple[Engine, Mapping[str, Route], Sharing]:
        """Load a version; return it, the route of each signature, and whether their requests share runs."""
        folder, start = version.path, time.monotonic()
        version_folders.check_inside(folder)
        if self._verify:
            _check_condition(folder)
        engine = self._load(folder)
        may_be_fast = self._fast_paths and version.model not in self._plain_models
        routes = plan_routes(engine, folder, self._limits, time.monotonic() - start) if may_be_fast else {}
        failed_trials = {name: route.why_not_shared for name, route in routes.items() if route.why_not_shared}
        return engine, routes, sharing.decide(engine, folder, self._policy, failed_trials, version.name)

    async def _dropped_before_retry(self, version: ManagedVersion) -> bool:
        """Wait for the next try; return True as soon as the policy drops the version."""
        try:
            await asyncio.wait_for(version.dropped.wait(), max(self._retry_seconds, 0))
        except asyncio.TimeoutError:
            return version.dropped.is_set()
        return True

    def _begin_unload(self, version: ManagedVersion) -> None:
        """Stop serving a version; its memory is released after its last request."""
        version.enter(State.UNLOADING)
        task = asyncio.create_task(self._unload(version))
        self._unloads.add(task)
        task.add_done_callback(self._unloads.discard)

    async def _unload(self, version: ManagedVersion) -> None:
        while version.leases:
            version.idle.clear()
            await version.idle.wait()
        if version.runner:
            await asyncio.get_running_loop().run_in_executor(self._unloaders, version.runner.close)
        version.runner = version.engine = None
        version.routes = {}  # they reference the engine
        self._end(version)
        self._start_task(version.model)
        await self._notify()

    def _end(self, version: ManagedVersion) -> None:
        """End a version. If it was dropped and is aspired again meanwhile, start again."""
        version.enter(State.END)
        if version.aspired and version.dropped.is_set():
            self.versions[version.model][version.number] = ManagedVersion(version.model, version.number, version.path)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _serves(self, model: str) -> bool:
        return any(v.state is State.AVAILABLE for v in self.versions.get(model, {}).values())

    def _settled(self, model: str, new: bool) -> bool:
        """Return whether a reload no longer waits for a model."""
        aspired = [v for v in self.versions.get(model, {}).values() if v.aspired]
        if new:
            return self._serves(model) or bool(aspired and all(v.state is State.END for v in aspired))
        return all(v.state in (State.AVAILABLE, State.END) or v.error for v in aspired)
