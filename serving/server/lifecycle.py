"""The life cycle of versions: load before unload, retries, states, labels, and leases of versions in use.

Everything here runs on the event loop, so nothing needs a lock; loads and unloads block threads of their own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import Any

from benison.serving.models_config import Config, Model
from benison.serving.server import version_folders
from benison.serving.server.batching.limits import BatchLimits
from benison.serving.server.batching.runner import Runner
from benison.serving.server.batching.sharing import SharingPolicy
from benison.serving.server.engine import Engine
from benison.serving.server.managed_version import ManagedVersion, State, newest, next_action
from benison.serving.server.model_config import check_labels
from benison.serving.server.status import Code, RequestError, from_exception, invalid
from benison.serving.server.version_folders import Listing
from benison.serving.server.version_loader import Loaded, VersionLoader

_LOOKS = 8  # into folders at the same time
_LOOK_SECONDS = 5.0  # a folder that takes longer to list, such as a broken mount, no longer delays the others
MAX_HUNG_RUNS = 2  # of a version; its memory and threads are lost until the process ends
_log = logging.getLogger(__name__)


class Models:
    """All models, their versions and labels."""

    def __init__(
        self,
        load: Callable[[str], Engine],
        limits: BatchLimits,
        *,
        load_threads: int = 0,
        max_retries: int = 5,
        retry_seconds: float = 60.0,
        allow_new_labels: bool = False,
        fast_paths: bool = True,
        plain_models: Collection[str] = (),
        verify: bool = True,
        policy: SharingPolicy = SharingPolicy(),  # noqa: B008
        follow_links: bool = False,
    ) -> None:
        """Start without models; `reload` loads them.

        Args:
            load: loads a version's folder; blocks.
            limits: the limits of each version's queues and runs.
            load_threads: the number of versions that load at the same time, not counting those that take long; 0: one.
            max_retries: the number of tries after the first one.
            retry_seconds: the time between two tries (seconds).
            allow_new_labels: whether a new label may name a version that is not available yet.
            fast_paths: whether requests may take a faster route than the plain one.
            plain_models: models whose requests take the plain route anyway.
            verify: whether a version's files are compared with its manifest before it is loaded.
            policy: decides with each version's graph whether its requests share runs.
            follow_links: whether a version may link to places outside the base path.
        """
        self.config = Config({})
        self.labels: dict[str, dict[str, int]] = {}
        self.versions: dict[str, dict[int, ManagedVersion]] = {}
        self._loader = VersionLoader(
            load,
            limits,
            load_threads=load_threads,
            fast_paths=fast_paths,
            plain_models=plain_models,
            verify=verify,
            policy=policy,
            follow_links=follow_links,
        )
        self._limits = limits
        self._max_retries = max_retries
        self._retry_seconds = retry_seconds
        self._allow_new_labels = allow_new_labels
        self._follow_links = follow_links
        self._lookers = ThreadPoolExecutor(_LOOKS, thread_name_prefix="look")
        self._unloaders = ThreadPoolExecutor(4, thread_name_prefix="unload")
        self._tasks: dict[str, asyncio.Task[None]] = {}  # each loads and unloads the versions of one model
        self._beside: set[asyncio.Task[None]] = set()  # which unload versions, or load them again
        self._looks: dict[str, tuple[Model, asyncio.Task[None]]] = {}  # the last look into the folder of each model
        self._warnings: dict[str, tuple[str, ...]] = {}  # the last ones about the folder of each model
        self._abandoned: list[Runner] = []
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
        """Replace the whole config, and wait for the models that it adds or changes.

        A new model is waited for until one of its versions is available, another one until each of its versions is. A
        version is not waited for if a try to load it failed, nor a model that has no version yet or that a later config
        replaces.

        Raises:
            RequestError: A label names a version that is not available; nothing was changed. Or a new model did not
                become available. A failed version of an existing model is not an error: the old version stays
                available, and the status shows the failure.
        """
        before = self.config.models
        new = config.models.keys() - before.keys()
        await self.replace(config)
        await self._settle([model for name, model in config.models.items() if before.get(name) != model], new)
        failed = [v for name in sorted(new) if not self._serves(name) for v in self._aspired(name) if v.error]
        if failed:
            raise _not_available(failed)

    async def change(self, name: str, model: Model | None) -> None:
        """Replace, add or remove one model of the config, and wait for it as `reload` does.

        Args:
            name: the name of the model.
            model: the model; None removes it.

        Raises:
            RequestError: A label names a version that is not available; nothing was changed.
        """
        others = {other: entry for other, entry in self.config.models.items() if other != name}
        await self.replace(Config({**others, name: model} if model else others))
        await self._settle([model] if model else [])

    async def replace(self, config: Config) -> None:
        """Replace the whole config, and start to load and unload what it changes.

        Raises:
            RequestError: A label of a model that changes names a version that is not available; nothing was changed.
        """
        available = {
            name: frozenset(n for n, v in versions.items() if v.state is State.AVAILABLE)
            for name, versions in self.versions.items()
        }
        changed = {name: model for name, model in config.models.items() if self.config.models.get(name) != model}
        labels = check_labels(Config(changed), self.labels, available, self._allow_new_labels)
        removed = self.config.models.keys() - config.models.keys()
        kept = {name: own for name, own in self.labels.items() if name not in changed and name not in removed}
        self.labels = {**kept, **labels}
        # An equal model stays the same object, which a look into its folder belongs to.
        self.config = Config({name: changed.get(name) or self.config.models[name] for name in config.models})
        for name in removed:
            self._warnings.pop(name, None)
            self._set_aspired(name, {})
        await self._look(changed.values())
        await self._notify()  # nobody waits for what is no longer in the config

    async def wait_for_start(self, patience: float) -> None:
        """Wait until the ports may open.

        All models are waited for. As soon as one is available, no other is waited for that has failed or has no version
        yet, or that still loads after a time.

        Args:
            patience: that time (seconds).

        Raises:
            RequestError: All versions of all models failed.
        """

        def none_left() -> bool:
            names = self.config.models
            return not names or any(map(self._serves, names)) or all(map(self._failed, names))

        def all_settled() -> bool:
            return all(self._is_settled(name) for name in self.config.models)

        async with self._changed:
            await self._changed.wait_for(none_left)
        if self.config.models and not any(map(self._serves, self.config.models)):
            raise _not_available([version for name in sorted(self.config.models) for version in self._failed(name)])
        try:
            await asyncio.wait_for(self._wait(all_settled), patience)
        except asyncio.TimeoutError:
            slow = sorted(name for name in self.config.models if not self._is_settled(name))
            _log.warning("Still loading: %s; the other models are served meanwhile", ", ".join(slow))

    async def poll(self) -> None:
        """Look for versions in the folders of all models, and start to load and unload them."""
        await self._look(self.config.models.values())

    async def watch_runs(self, seconds: float) -> None:
        """End each version in which MAX_HUNG_RUNS runs do not end; see `Runner.hung_runs`. It never returns."""
        while True:
            await asyncio.sleep(min(seconds, 1.0))
            for version in [v for versions in self.versions.values() for v in versions.values()]:
                runner = version.runner if version.state is State.AVAILABLE else None
                if runner and (hung := runner.hung_runs(seconds)) >= MAX_HUNG_RUNS:
                    self._end_stuck(version, runner, hung)
                    await self._notify()

    def is_stuck(self) -> bool:
        """Return whether a model has no version because its runs did not end; only a new process helps then."""
        return any(
            any(version.is_stuck for version in versions.values()) and not self._serves(name)
            for name, versions in self.versions.items()
        )

    def runs_in_progress(self) -> int:
        """Return the number of runs in threads that have not ended."""
        runners = [v.runner for versions in self.versions.values() for v in versions.values() if v.runner]
        return sum(runner.runs_in_progress() for runner in [*runners, *self._abandoned])

    async def close(self) -> None:
        """Unload all versions."""
        for task in [*self._tasks.values(), *self._beside, *(task for _, task in self._looks.values())]:
            task.cancel()
        runners = [v.runner for versions in self.versions.values() for v in versions.values() if v.runner]
        await asyncio.gather(*(asyncio.to_thread(runner.close) for runner in runners), return_exceptions=True)
        self._lookers.shutdown(wait=False, cancel_futures=True)
        self._loader.close()
        self._unloaders.shutdown(wait=False, cancel_futures=True)

    def _find(self, model: str, number: int | None, label: str | None) -> ManagedVersion:
        if not model:
            raise invalid("ModelSpec has no name specified.")
        if label is not None:
            number = self.labels.get(model, {}).get(label)
            if number is None:
                raise invalid(f"Unrecognized servable version label: {label}")
        versions = self.versions.get(model, {})
        version = versions.get(number) if number is not None else newest(versions)
        if version is None or version.state is not State.AVAILABLE:
            request = f"Latest({model})" if number is None else f"Specific({model}, {number})"
            raise RequestError(Code.NOT_FOUND, f"Servable not found for request: {request}")
        return version

    async def _look(self, models: Iterable[Model]) -> None:
        """Look into the folders of some models, each on its own; do not wait long for one that cannot be listed."""
        tasks = []
        for model in list(models):
            last, task = self._looks.get(model.name, (None, None))
            if task is None or task.done() or last is not model:
                task = asyncio.create_task(self._look_into(model))
                self._looks[model.name] = model, task
                tasks.append(task)
        if tasks:
            done, _ = await asyncio.wait(tasks, timeout=_LOOK_SECONDS)
            for task in done:
                task.result()

    async def _look_into(self, model: Model) -> None:
        """Look for the versions of a model, and whether the files of some have changed."""
        watched = {number: v.path for number, v in self.versions.get(model.name, {}).items() if v.is_watched}
        warnings: list[str] = []

        def look() -> tuple[dict[int, str], dict[int, Listing]]:
            paths = version_folders.aspired_versions(model, self._follow_links, warnings.append)
            return paths, {number: version_folders.listing(path) for number, path in watched.items() if number in paths}

        try:
            paths, files = await asyncio.get_running_loop().run_in_executor(self._lookers, look)
        except OSError as error:
            self._warn(model, [f"Could not find base path {model.base_path} for servable {model.name}: {error}"])
            return
        if self.config.models.get(model.name) is not model:
            return  # the config was replaced meanwhile
        if not paths:
            warnings.append(f"No versions of servable {model.name} found under base path {model.base_path}")
        self._warn(model, warnings)
        self._set_aspired(model.name, paths, files)

    def _warn(self, model: Model, warnings: Sequence[str]) -> None:
        """Log the warnings about a model's folder, unless they are those of the last look."""
        if self._warnings.get(model.name, ()) != tuple(warnings):
            self._warnings[model.name] = tuple(warnings)
            for warning in warnings:
                _log.warning("%s", warning)

    def _set_aspired(
        self, model: str, paths: Mapping[int, str], files: Mapping[int, Listing] = MappingProxyType({})
    ) -> None:
        """Record which versions are aspired now, and start to load and unload.

        Args:
            model: the name of the model.
            paths: the folders of the aspired versions.
            files: the files of the versions that are watched.
        """
        versions = self.versions.setdefault(model, {})
        for number, version in versions.items():
            version.aspired = number in paths
            if not version.aspired:
                version.drop()
        for number, path in paths.items():
            old = versions.get(number)
            changed = bool(old and number in files and old.has_changed(files[number]))
            # An unloaded or dropped version may return. A failed one is tried again if it was dropped, or repaired.
            if old is None or (old.state is State.END and (old.error is None or old.dropped or changed)):
                versions[number] = ManagedVersion(model, number, path)
            elif changed and old.state is State.AVAILABLE:
                old.files = files[number]  # the next reload is after the next change
                self._begin(self._load_again(old))
            elif changed:
                old.tries = 0
                old.wake.set()
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
        version.enter(State.LOADING)
        while True:
            version.tries += 1
            if not version.dropped:
                version.wake.clear()
            try:
                if self._serves(version.model):
                    await self._loader.wait_for_copy(version)  # there is no hurry
                loaded = await self._loader.load(version, any(map(self._serves, self.versions)))
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
        self._serve(version, loaded)

    async def _dropped_before_retry(self, version: ManagedVersion) -> bool:
        """Wait for the next try; return True as soon as the policy drops the version."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(version.wake.wait(), max(self._retry_seconds, 0))
        return version.dropped

    def _begin_unload(self, version: ManagedVersion) -> None:
        """Stop serving a version; its memory is released after its last request."""
        version.enter(State.UNLOADING)
        self._begin(self._unload(version))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def _load_again(self, old: ManagedVersion) -> None:
        """Replace an available version by one with its files as they are now; if they do not load, keep it."""
        _log.error("%s: its files changed after it was loaded, as those of a slow copy; loading it again", old.name)
        new = ManagedVersion(old.model, old.number, old.path)
        try:
            loaded = await self._loader.load(new, beside_requests=True)
        except Exception as error:
            _log.error("%s: not loaded again: %s", old.name, from_exception(error))
            return
        versions = self.versions.get(old.model, {})
        if versions.get(old.number) is not old or old.state is not State.AVAILABLE:
            await asyncio.to_thread(loaded.engine.close)
            return
        self._serve(new, loaded)
        versions[old.number] = new
        self._begin_unload(old)

    def _serve(self, version: ManagedVersion, loaded: Loaded) -> None:
        """Make a loaded version available."""
        version.error = None
        version.engine, version.routes, version.headers = loaded.engine, loaded.routes, loaded.headers
        version.runner = Runner(
            loaded.engine, self._limits, asyncio.get_running_loop(), version.name, loaded.routes, loaded.sharing
        )
        version.enter(State.AVAILABLE)

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

    def _end_stuck(self, version: ManagedVersion, runner: Runner, hung: int) -> None:
        version.error = RequestError(
            Code.UNAVAILABLE,
            f"{version.name}: {hung} runs did not end after their deadlines and cannot be stopped; restart the server",
        )
        version.is_stuck = True
        version.runner = version.engine = None
        version.routes = {}
        version.enter(State.END)
        runner.abandon(version.error)
        self._abandoned.append(runner)

    def _end(self, version: ManagedVersion) -> None:
        """End a version. If it was dropped and is aspired again meanwhile, start again."""
        version.enter(State.END)
        if version.aspired and version.dropped:
            self.versions[version.model][version.number] = ManagedVersion(version.model, version.number, version.path)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _serves(self, model: str) -> bool:
        return any(v.state is State.AVAILABLE for v in self.versions.get(model, {}).values())

    def _aspired(self, model: str) -> list[ManagedVersion]:
        return [version for version in self.versions.get(model, {}).values() if version.aspired]

    def _failed(self, model: str) -> list[ManagedVersion]:
        """Return the versions of a model, all of which failed; none if one may still become available."""
        aspired = self._aspired(model)
        return aspired if all(v.state is State.END and v.error for v in aspired) else []

    def _is_settled(self, model: str) -> bool:
        """Return whether a model is no longer waited for: each of its versions is available or has failed."""
        return all(v.state in (State.AVAILABLE, State.END) or v.error for v in self._aspired(model))

    async def _settle(self, models: Sequence[Model], new: Collection[str] = ()) -> None:
        """Wait as `reload` says for some models of the config, of which some are new."""

        def is_settled(model: Model) -> bool:
            if self.config.models.get(model.name) is not model:
                return True  # a later config replaced it
            return (model.name in new and self._serves(model.name)) or self._is_settled(model.name)

        def settled() -> bool:
            return all(map(is_settled, models))

        await self._wait(settled)

    async def _wait(self, condition: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(condition)


def _not_available(versions: Sequence[ManagedVersion]) -> RequestError:
    failures = "".join(f"{{{{name: {v.model} version: {v.number}}} due to error: {v.error}}}, " for v in versions)
    return RequestError(Code.UNKNOWN, f"{len(versions)} servable(s) did not become available: {{{failures}}}")
