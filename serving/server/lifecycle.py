"""The life of versions: load before unload, retries, states, labels, and who may still use an old one.

Everything here runs on the event loop, so nothing needs a lock; loads and unloads block threads of their own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum

from benison.serving.models_config import Config
from benison.serving.server import version_folders
from benison.serving.server.batching import routes
from benison.serving.server.batching.limits import BatchLimits
from benison.serving.server.batching.routes import Route
from benison.serving.server.batching.runner import Runner
from benison.serving.server.engine import Engine
from benison.serving.server.engines import low_priority
from benison.serving.server.model_config import check_labels
from benison.serving.server.status import Code, RequestError, from_exception, invalid

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
        model: the model's name.
        number: the version's.
        path: its folder.
        aspired: whether the policy wants it now.
        state: where in its life it is.
        error: why it ended, if not as asked; or why the last try to load it failed.
        tries: how often it was tried to load it.
        engine: what is loaded; None unless AVAILABLE or UNLOADING.
        runner: its queue.
        paths: the way of each signature's requests.
        since: Unix time of the last change of state (seconds).
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
    paths: Mapping[str, Route] = field(default_factory=dict)
    since: float = field(default_factory=time.time)
    leases: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    unwanted: asyncio.Event = field(default_factory=asyncio.Event)

    def enter(self, state: State) -> None:
        """Changes the state."""
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
    """What to do next, so that a version serves all the time (TF Serving calls it AvailabilityPreservingPolicy).

    An unwanted version goes once a wanted one serves, or none is wanted, or another unwanted one remains; else the
    highest wanted version that was not tried yet is loaded.

    Returns:
        `load` or `unload` and the version; None where there is nothing to do.
    """
    wanted = [version for version in versions.values() if version.aspired]
    old = [v.number for v in versions.values() if not v.aspired and v.state is State.AVAILABLE]
    serving = any(version.state is State.AVAILABLE for version in wanted)
    if old and (not wanted or serving or len(old) > 1):
        return "unload", min(old)
    new = [version.number for version in wanted if version.state is State.START]
    return ("load", max(new)) if new else None


def _newest(versions: Mapping[int, ManagedVersion]) -> ManagedVersion | None:
    """Of those that serve."""
    serving = [number for number, version in versions.items() if version.state is State.AVAILABLE]
    return versions[max(serving)] if serving else None


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
    ) -> None:
        """Nothing is loaded before `reload`.

        Args:
            load: from a version's folder to the loaded version; blocks.
            limits: of each version's queue and batches.
            load_threads: versions that load at the same time.
            max_retries: tries after the first.
            retry_seconds: between two of them.
            allow_new_labels: a new label may be for a version that does not serve yet.
            fast_paths: whether requests may go a faster way than the plain one.
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
        self._loaders = ThreadPoolExecutor(max(load_threads, 1), thread_name_prefix="load")
        self._modest_loaders = ThreadPoolExecutor(max(load_threads, 1), "load", initializer=low_priority.begin)
        self._unloaders = ThreadPoolExecutor(4, thread_name_prefix="unload")
        self._tasks: dict[str, asyncio.Task[None]] = {}  # the work on each model's versions, one after the other
        self._unloads: set[asyncio.Task[None]] = set()
        self._reloading = asyncio.Lock()
        self._changed = asyncio.Condition()

    @contextmanager
    def lease(self, model: str, number: int | None = None, label: str | None = None) -> Iterator[ManagedVersion]:
        """A version for the time of one request: it is not unloaded before.

        Raises:
            RequestError: no such label, or nothing that serves.
        """
        version = self.take(model, number, label)
        try:
            yield version
        finally:
            self.give_back(version)

    def take(self, model: str, number: int | None = None, label: str | None = None) -> ManagedVersion:
        """A version that is not unloaded until it is given back.

        Raises:
            RequestError: no such label, or nothing that serves.
        """
        version = self._find(model, number, label)
        version.leases += 1
        return version

    def give_back(self, version: ManagedVersion) -> None:
        """Ends the use of a version that was taken."""
        version.leases -= 1
        if not version.leases:
            version.idle.set()

    def status(self, model: str, number: int | None = None) -> list[ManagedVersion]:
        """A model's versions, the highest first, with those that have ended; or the one asked for.

        Raises:
            RequestError: there is none.
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
        """Replaces the whole config, and waits until what it newly asks for serves.

        Raises:
            RequestError: a label is for a version that does not serve, and nothing was changed; or a model that is new
                did not become available. A failed version of a model that was there before is no error: its old
                version goes on serving, and the status says so.
        """
        async with self._reloading:
            available = {
                name: frozenset(n for n, v in versions.items() if v.state is State.AVAILABLE)
                for name, versions in self.versions.items()
            }
            self.labels = check_labels(config, self.labels, available, self._allow_new_labels)
            new = config.models.keys() - self.config.models.keys()
            gone = self.config.models.keys() - config.models.keys()
            self.config = config
            for name in gone:
                self._aspire(name, {})
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
            listed = "".join(f"{{{{name: {v.model} version: {v.number}}} due to error: {v.error}}}, " for v in failed)
            raise RequestError(Code.UNKNOWN, f"{len(failed)} servable(s) did not become available: {{{listed}}}")

    async def poll(self) -> None:
        """Looks into the folders of all models, and begins what has to be done."""
        loop = asyncio.get_running_loop()
        for model in list(self.config.models.values()):
            try:
                found = await loop.run_in_executor(None, version_folders.aspired, model)
            except OSError as error:
                _log.warning("Could not find base path %s for servable %s: %s", model.base_path, model.name, error)
                continue
            if not found:
                _log.warning("No versions of servable %s found under base path %s", model.name, model.base_path)
            if self.config.models.get(model.name) is model:  # else another config came meanwhile
                self._aspire(model.name, found)

    async def close(self) -> None:
        """Unloads everything."""
        for task in [*self._tasks.values(), *self._unloads]:
            task.cancel()
        runners = [v.runner for versions in self.versions.values() for v in versions.values() if v.runner]
        await asyncio.gather(*(asyncio.to_thread(runner.close) for runner in runners), return_exceptions=True)
        self._loaders.shutdown(wait=False, cancel_futures=True)
        self._modest_loaders.shutdown(wait=False, cancel_futures=True)
        self._unloaders.shutdown(wait=False, cancel_futures=True)

    def _find(self, model: str, number: int | None, label: str | None) -> ManagedVersion:
        if not model:
            raise invalid("ModelSpec has no name specified.")
        if label is not None:
            number = self.labels.get(model, {}).get(label)
            if number is None:
                raise invalid(f"Unrecognized servable version label: {label}")
        versions = self.versions.get(model, {})
        found = versions.get(number) if number is not None else _newest(versions)
        if found is None or found.state is not State.AVAILABLE:
            wanted = f"Latest({model})" if number is None else f"Specific({model}, {number})"
            raise RequestError(Code.NOT_FOUND, f"Servable not found for request: {wanted}")
        return found

    def _aspire(self, model: str, found: Mapping[int, str]) -> None:
        """Notes which versions are wanted now, and sees to it that the work on them goes on."""
        versions = self.versions.setdefault(model, {})
        for number, version in versions.items():
            version.aspired = number in found
            if not version.aspired:
                version.unwanted.set()
        for number, path in found.items():
            before = versions.get(number)
            # One that ended well or was taken away may come back; one that failed stays so until it was taken away.
            if before is None or (before.state is State.END and (before.error is None or before.unwanted.is_set())):
                versions[number] = ManagedVersion(model, number, path)
        self._go_on(model)
        if not versions:
            del self.versions[model]

    def _go_on(self, model: str) -> None:
        """Sees to it that somebody does what there is to do on a model's versions."""
        if next_action(self.versions[model]) and model not in self._tasks:
            self._tasks[model] = asyncio.create_task(self._work(model))

    async def _work(self, model: str) -> None:
        """Does what the policy says until there is nothing more to do."""
        try:
            while action := next_action(self.versions[model]):
                version = self.versions[model][action[1]]
                if action[0] == "unload":
                    self._begin_unload(version)
                else:
                    await self._bring_up(version)
                await self._notify()
        finally:
            del self._tasks[model]  # in the same step as the last look, or what is wanted meanwhile would be missed

    async def _bring_up(self, version: ManagedVersion) -> None:
        """Loads a version, with retries; it ends AVAILABLE or, with the error, at END."""
        loop = asyncio.get_running_loop()
        version.enter(State.LOADING)
        while True:
            version.tries += 1
            try:
                engine, paths = await loop.run_in_executor(self._loader(), self._load_and_plan, version.path)
            except Exception as error:
                version.error = from_exception(error)
                _log.warning(
                    "model %s version %d, try %d: %s", version.model, version.number, version.tries, version.error
                )
            else:
                break
            await self._notify()
            if version.tries > self._max_retries or await self._given_up(version):
                self._end(version)
                return
        version.error = None
        version.engine, version.paths = engine, paths
        version.runner = Runner(engine, self._limits, loop, f"model {version.model} version {version.number}", paths)
        version.enter(State.AVAILABLE)

    def _loader(self) -> ThreadPoolExecutor:
        """Those who give way, once there is anybody to give way to."""
        return self._modest_loaders if any(map(self._serves, self.versions)) else self._loaders

    def _load_and_plan(self, folder: str) -> tuple[Engine, Mapping[str, Route]]:
        version_folders.check_inside(folder)
        engine = self._load(folder)
        return engine, routes.plan_routes(engine, folder, self._limits) if self._fast_paths else {}

    async def _given_up(self, version: ManagedVersion) -> bool:
        """Waits for the time of the next try; True as soon as nobody wants the version any more."""
        try:
            await asyncio.wait_for(version.unwanted.wait(), max(self._retry_seconds, 0))
        except asyncio.TimeoutError:
            return version.unwanted.is_set()
        return True

    def _begin_unload(self, version: ManagedVersion) -> None:
        """Takes a version out of service; its memory goes once its last request has ended."""
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
        version.paths = {}  # they hold on to the engine
        self._end(version)
        self._go_on(version.model)
        await self._notify()

    def _end(self, version: ManagedVersion) -> None:
        """A version ends; one that was taken away and is wanted again before its end begins anew at once."""
        version.enter(State.END)
        if version.aspired and version.unwanted.is_set():
            self.versions[version.model][version.number] = ManagedVersion(version.model, version.number, version.path)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _serves(self, model: str) -> bool:
        return any(v.state is State.AVAILABLE for v in self.versions.get(model, {}).values())

    def _settled(self, model: str, new: bool) -> bool:
        """Whether a reload need not wait for a model any longer."""
        wanted = [v for v in self.versions.get(model, {}).values() if v.aspired]
        if new:
            return self._serves(model) or bool(wanted and all(v.state is State.END for v in wanted))
        return all(v.state in (State.AVAILABLE, State.END) or v.error for v in wanted)
