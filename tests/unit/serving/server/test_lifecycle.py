"""A version serves until its successor does; a bad version changes nothing; a request keeps its version."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from benison.serving.models_config import All, Config, Latest, Model, Specific
from benison.serving.server import lifecycle, version_folders, version_loader
from benison.serving.server.batching.limits import BatchLimits
from benison.serving.server.engines import low_priority
from benison.serving.server.lifecycle import Models
from benison.serving.server.managed_version import ManagedVersion, State, next_action
from benison.serving.server.status import Code, RequestError
from benison.serving.versions import local
from benison.serving.versions.manifest import Manifest

AVAILABLE, START, LOADING, END = State.AVAILABLE, State.START, State.LOADING, State.END


@pytest.mark.parametrize(
    ("versions", "action"),
    [
        ([], None),
        ([(1, True, START)], ("load", 1)),
        ([(1, True, START), (2, True, START)], ("load", 2)),
        ([(1, True, AVAILABLE), (2, True, START)], ("load", 2)),
        ([(1, True, AVAILABLE), (2, True, LOADING)], None),
        ([(1, False, AVAILABLE), (2, True, START)], ("load", 2)),  # load before unload
        ([(1, False, AVAILABLE), (2, True, LOADING)], None),
        ([(1, False, AVAILABLE), (2, True, AVAILABLE)], ("unload", 1)),
        ([(1, False, AVAILABLE), (2, True, END)], None),  # a bad version leaves the old one serving
        ([(1, False, AVAILABLE), (2, False, AVAILABLE), (3, True, START)], ("unload", 1)),
        ([(1, False, AVAILABLE)], ("unload", 1)),
        ([(1, False, END)], None),
        ([(1, True, AVAILABLE), (2, False, AVAILABLE)], ("unload", 2)),  # back to an older version
    ],
)
def test_the_next_action_keeps_a_version_serving(versions, action):
    assert next_action({n: ManagedVersion("m", n, "", aspired, state) for n, aspired, state in versions}) == action


class FakeEngine:
    """An engine that knows its version number."""

    kind = "fake"
    parallel = True

    def __init__(self, path: str) -> None:
        self.number = int(Path(path).name)
        self.signatures: dict = {}
        self.closed = False

    def close(self) -> None:
        self.closed = True


def niceness() -> int:
    """Return the niceness of this thread."""
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


class Loader:
    """Loads versions not listed as bad; records every try and the niceness of its thread and of its long calls."""

    def __init__(self) -> None:
        self.bad: set[int] = set()
        self.tries: list[int] = []
        self.niceness: list[int] = []
        self.engines: list[FakeEngine] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, path: str) -> Any:
        number = int(Path(path).name)
        self.tries.append(number)
        self.niceness += [niceness(), low_priority.call(niceness)]
        self.gate.wait(10)
        if number in self.bad:
            raise RequestError(Code.NOT_FOUND, f"bad {number}")
        self.engines.append(FakeEngine(path))
        return self.engines[-1]


def within_a_loop(test):
    @functools.wraps(test)
    def run(*arguments, **named):
        asyncio.run(asyncio.wait_for(test(*arguments, **named), 20))

    return run


@pytest.fixture
def base(tmp_path):
    (tmp_path / "m").mkdir()
    return tmp_path / "m"


def add(base: Path, *versions: int) -> None:
    for version in versions:
        (base / str(version)).mkdir()


def config(base: Path, policy=Latest(), **labels: int) -> Config:  # noqa: B008
    return Config({"m": Model("m", str(base), policy, labels)})


def models(loader: Loader, **options) -> Models:
    return Models(loader, BatchLimits(), **{"max_retries": 0, "retry_seconds": 0.0, **options})


async def until(models: Models, **states: State) -> None:
    """Poll until the versions (`v1=…`) are in these states."""
    while {f"v{n}": v.state for n, v in models.versions.get("m", {}).items()} != states:
        await models.poll()
        await asyncio.sleep(0)


@within_a_loop
async def test_a_new_version_takes_over(base):
    loader = Loader()
    served = models(loader)
    add(base, 1)
    await served.reload(config(base))
    with served.lease("m") as version:
        assert version.number == 1
    add(base, 2)
    await until(served, v1=END, v2=AVAILABLE)
    assert [engine.closed for engine in loader.engines] == [True, False]
    await served.close()


def publish(base: Path, number: int) -> Path:
    """A version that Benison pushed."""
    model = base.with_name("model")
    model.mkdir(exist_ok=True)
    (model / "saved_model.pb").write_bytes(b"graph")
    return local.publish(model, base, Manifest(), lambda: number).path


@pytest.mark.parametrize("verify", [True, False])
@within_a_loop
async def test_a_damaged_version_is_loaded_only_if_asked_and_the_old_one_serves(base, verify):
    loader = Loader()
    served = models(loader, verify=verify)
    publish(base, 1)
    await served.reload(config(base))
    (publish(base, 2) / "saved_model.pb").write_bytes(b"hparg")
    await until(served, **({"v1": AVAILABLE, "v2": END} if verify else {"v1": END, "v2": AVAILABLE}))
    assert loader.tries == ([1] if verify else [1, 2])
    if verify:
        (damaged, _) = served.status("m")
        assert damaged.error.code is Code.DATA_LOSS
        assert f"the version is damaged: {base}/2/saved_model.pb: changed since the push" in str(damaged.error)
    await served.close()


@within_a_loop
async def test_a_version_that_is_repaired_is_loaded_at_the_next_try(base):
    served = models(Loader(), max_retries=1000)
    file = publish(base, 1) / "saved_model.pb"
    file.write_bytes(b"hparg")
    with pytest.raises(RequestError, match="the version is damaged"):
        await served.reload(config(base))
    file.write_bytes(b"graph")
    await until(served, v1=AVAILABLE)
    await served.close()


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priorities of their own")
@within_a_loop
async def test_a_load_has_low_priority_while_a_version_serves(base):
    loader = Loader()
    served = models(loader)
    add(base, 1)
    await served.reload(config(base))
    add(base, 2)
    await until(served, v1=END, v2=AVAILABLE)
    normal = os.getpriority(os.PRIO_PROCESS, 0)
    assert loader.niceness == [normal, normal, min(normal + 5, 19), 19]
    await served.close()


@within_a_loop
async def test_a_request_ends_on_the_version_that_it_started_on(base):
    loader = Loader()
    served = models(loader)
    add(base, 1)
    await served.reload(config(base))
    with served.lease("m") as version:
        add(base, 2)
        await until(served, v1=State.UNLOADING, v2=AVAILABLE)
        assert id(version.engine) == id(loader.engines[0])
        assert not loader.engines[0].closed
        with served.lease("m") as newer:
            assert newer.number == 2
        with pytest.raises(RequestError, match=r"Specific\(m, 1\)"), served.lease("m", 1):
            pass
    await until(served, v1=END, v2=AVAILABLE)
    assert loader.engines[0].closed
    await served.close()


@within_a_loop
async def test_a_version_that_is_aspired_again_while_it_unloads_is_loaded_again(base):
    loader = Loader()
    served = models(loader)
    add(base, 1, 2)
    await served.reload(config(base, Specific(frozenset({1}))))
    with served.lease("m") as first:
        await served.reload(config(base, Specific(frozenset({2}))))
        back = asyncio.create_task(served.reload(config(base, Specific(frozenset({1, 2})))))
        await asyncio.sleep(0.05)
        assert first.state is State.UNLOADING
        assert not back.done()
    await back
    await served.reload(config(base, Specific(frozenset({1, 2})), stable=1))
    with served.lease("m", label="stable") as version:
        assert version.number == 1
        assert version is not first
    assert loader.tries == [1, 2, 1]
    await served.close()


@within_a_loop
async def test_a_failing_version_that_was_dropped_and_is_aspired_again_while_it_loads_is_tried_again(base):
    loader = Loader()
    loader.gate.clear()
    loader.bad.add(1)
    served = models(loader)
    add(base, 1)
    first = asyncio.create_task(served.reload(config(base)))
    await until(served, v1=LOADING)
    (base / "1").rmdir()
    await served.poll()
    add(base, 1)
    await served.poll()
    loader.gate.set()
    with pytest.raises(RequestError, match="bad 1"):
        await first
    assert loader.tries == [1, 1]
    await served.close()


@within_a_loop
async def test_a_bad_version_is_retried_then_ends_with_its_error_and_the_old_one_keeps_serving(base):
    loader = Loader()
    loader.bad = {2}
    served = models(loader, max_retries=2)
    add(base, 1)
    await served.reload(config(base))
    add(base, 2)
    await until(served, v1=AVAILABLE, v2=END)
    assert loader.tries == [1, 2, 2, 2]
    assert served.status("m", 2)[0].error.message == "bad 2"
    await served.poll()
    assert loader.tries == [1, 2, 2, 2]  # a failed version is not tried again
    with served.lease("m") as version:
        assert version.number == 1
    await served.close()


async def with_a_failed_version(base: Path) -> tuple[Loader, Models]:
    """Load version 1, and fail to load version 2."""
    loader = Loader()
    loader.bad = {2}
    served = models(loader)
    add(base, 1, 2)
    await served.reload(config(base, All()))
    await until(served, v1=AVAILABLE, v2=END)
    return loader, served


@within_a_loop
async def test_a_failed_version_that_is_removed_and_returns_fixed_is_loaded(base):
    loader, served = await with_a_failed_version(base)
    (base / "2").rmdir()
    await served.poll()
    loader.bad = set()
    add(base, 2)
    await until(served, v1=AVAILABLE, v2=AVAILABLE)
    await served.close()


@within_a_loop
async def test_a_version_that_is_no_longer_aspired_is_not_retried(base):
    loader = Loader()
    loader.bad = {2}
    served = models(loader, max_retries=5, retry_seconds=3600.0)
    add(base, 1)
    await served.reload(config(base))
    add(base, 2)
    while 2 not in loader.tries:
        await served.poll()
        await asyncio.sleep(0)
    (base / "2").rmdir()
    await until(served, v1=AVAILABLE, v2=END)
    assert loader.tries == [1, 2]
    await served.close()


@within_a_loop
async def test_a_reload_replaces_the_whole_config_and_waits_for_the_new(base, tmp_path):
    loader = Loader()
    served = models(loader)
    add(base, 1, 2)
    await served.reload(config(base, Specific(frozenset([1]))))
    await served.reload(config(base, Specific(frozenset([1, 2])), stable=1))
    assert {n: v.state for n, v in served.versions["m"].items()} == {1: AVAILABLE, 2: AVAILABLE}
    with served.lease("m", label="stable") as version:
        assert version.number == 1
    with served.lease("m") as version:
        assert version.number == 2
    (tmp_path / "other" / "7").mkdir(parents=True)
    await served.reload(Config({"other": Model("other", str(tmp_path / "other"))}))
    with pytest.raises(RequestError, match="Unrecognized servable version label"), served.lease("m", label="stable"):
        pass
    with served.lease("other") as version:
        assert version.number == 7
    await until(served, v1=END, v2=END)
    await served.close()


@within_a_loop
async def test_a_wrong_label_changes_nothing(base):
    served = models(Loader())
    add(base, 1, 2)
    before = config(base, Specific(frozenset([1])))
    await served.reload(before)
    with pytest.raises(RequestError, match="label to version 2"):
        await served.reload(config(base, Specific(frozenset([2])), stable=2))
    assert served.config == before
    await served.poll()
    assert {n: v.state for n, v in served.versions["m"].items()} == {1: AVAILABLE}
    await served.close()


@within_a_loop
async def test_a_new_model_that_cannot_be_loaded_fails_the_reload(base):
    loader = Loader()
    loader.bad = {1}
    served = models(loader)
    add(base, 1)
    with pytest.raises(RequestError, match=r"1 servable\(s\) did not become available") as error:
        await served.reload(config(base))
    assert error.value.code is Code.UNKNOWN
    assert "bad 1" in error.value.message
    await served.close()


@within_a_loop
async def test_a_reload_does_not_wait_for_a_model_without_a_version_which_is_served_when_it_has_one(base):
    served = models(Loader())
    await served.reload(config(base))
    assert served.versions == {}
    add(base, 1)
    await until(served, v1=AVAILABLE)
    await served.close()


@within_a_loop
async def test_a_failed_version_is_tried_again_when_its_files_have_changed_and_no_longer_change(base):
    loader, served = await with_a_failed_version(base)
    await served.poll()
    for part in ("saved_model.pb", "variables"):  # each poll sees another state
        (base / "2" / part).write_text("a part")
        await served.poll()
    assert loader.tries.count(2) == 1
    loader.bad = set()
    await served.poll()
    await until(served, v1=AVAILABLE, v2=AVAILABLE)
    assert loader.tries.count(2) == 2
    await served.close()


@within_a_loop
async def test_a_version_whose_files_change_during_the_load_is_loaded_again(base):
    loader = Loader()
    served = models(loader)
    loader.gate.clear()
    add(base, 1)
    reload = asyncio.create_task(served.reload(config(base)))
    while not loader.tries:
        await asyncio.sleep(0)
    (base / "1" / "saved_model.pb").write_text("the copy goes on")
    loader.gate.set()
    with pytest.raises(RequestError, match="changed during the load"):
        await reload
    assert loader.engines[0].closed
    await until(served, v1=AVAILABLE)
    await served.close()


@within_a_loop
async def test_the_start_waits_for_no_model_that_failed_or_has_no_version_or_loads_for_long(base, tmp_path, caplog):
    loader = Loader()
    loader.bad = {7}
    served = models(loader, max_retries=1000, retry_seconds=3600.0)
    entries = {name: Model(name, str(tmp_path / name)) for name in ("m", "empty", "bad", "nowhere")}
    for folder in ("m/1", "bad/7", "slow/9"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    await served.replace(Config({name: entries[name] for name in ("bad", "nowhere")}))
    with pytest.raises(asyncio.TimeoutError):  # nothing to serve yet
        await asyncio.wait_for(served.wait_for_start(0), 0.05)
    await served.replace(Config(entries))
    await served.wait_for_start(60.0)
    assert served.status("m")[0].state is AVAILABLE

    loader.gate.clear()
    await served.replace(Config({**entries, "slow": Model("slow", str(tmp_path / "slow"))}))
    await served.wait_for_start(0.01)
    assert "Still loading: slow; the other models are served meanwhile" in caplog.text
    loader.gate.set()
    await served.close()


@within_a_loop
async def test_the_start_fails_if_every_model_failed(base):
    loader = Loader()
    loader.bad = {1}
    served = models(loader)
    add(base, 1)
    await served.replace(config(base))
    with pytest.raises(RequestError, match=r"1 servable\(s\) did not become available: .*bad 1"):
        await served.wait_for_start(60.0)
    await served.close()


@within_a_loop
async def test_a_model_that_loads_for_long_delays_no_other_model(base, tmp_path, monkeypatch):
    monkeypatch.setattr(version_loader, "_TURN_SECONDS", 0.01)
    loader = Loader()
    served = models(loader)
    (tmp_path / "slow" / "9").mkdir(parents=True)
    add(base, 1, 2)
    slow = {"slow": Model("slow", str(tmp_path / "slow"))}
    loader.gate.clear()
    first = asyncio.create_task(served.reload(Config(slow)))
    while 9 not in loader.tries:
        await asyncio.sleep(0)
    gate, loader.gate = loader.gate, threading.Event()
    loader.gate.set()
    for number in (1, 2):
        await served.reload(Config({**slow, **config(base, Specific(frozenset([number]))).models}))
        with served.lease("m") as version:
            assert version.number == number
    assert not first.done()
    gate.set()
    await first
    await served.close()


@within_a_loop
async def test_a_folder_that_cannot_be_listed_in_time_delays_no_other_model(base, tmp_path, monkeypatch):
    monkeypatch.setattr(lifecycle, "_LOOK_SECONDS", 0.05)
    hanging = threading.Event()
    listed = version_folders.aspired_versions

    def look(model, *arguments):
        if model.name == "mount":
            hanging.wait(10)
        return listed(model, *arguments)

    monkeypatch.setattr(version_folders, "aspired_versions", look)
    served = models(Loader())
    await served.replace(Config({"mount": Model("mount", str(tmp_path)), **config(base).models}))
    add(base, 1)
    await until(served, v1=AVAILABLE)
    hanging.set()
    await served.close()


@within_a_loop
async def test_a_folder_that_hangs_takes_no_thread_of_the_requests(base, monkeypatch):
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    hanging, reached = threading.Event(), threading.Event()
    listing = version_folders.listing

    def look(path):
        if path.endswith("/2"):
            reached.set()
            hanging.wait(10)
        return listing(path)

    served = models(Loader())
    add(base, 1)
    await served.reload(config(base))
    monkeypatch.setattr(version_folders, "listing", look)
    add(base, 2)
    await served.poll()
    while not reached.is_set():
        await asyncio.sleep(0.01)

    assert await asyncio.wait_for(asyncio.to_thread(lambda: "converted"), 5) == "converted"
    hanging.set()
    await until(served, v1=END, v2=AVAILABLE)
    await served.close()


@within_a_loop
async def test_a_base_path_that_cannot_be_read_leaves_the_other_models_alone(base, tmp_path, caplog):
    served = models(Loader())
    add(base, 1)
    await served.reload(config(base))
    base.rename(tmp_path / "away")
    await served.poll()
    assert "Could not find base path" in caplog.text
    with served.lease("m") as version:
        assert version.number == 1
    await served.close()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("", None, None), Code.INVALID_ARGUMENT, "ModelSpec has no name specified."),
        (("m", None, None), Code.NOT_FOUND, "Servable not found for request: Latest(m)"),
        (("m", 3, None), Code.NOT_FOUND, "Servable not found for request: Specific(m, 3)"),
        (("m", None, "x"), Code.INVALID_ARGUMENT, "Unrecognized servable version label: x"),
    ],
)
@within_a_loop
async def test_an_error_names_what_is_not_served(arguments, code, message):
    with pytest.raises(RequestError) as error, models(Loader()).lease(*arguments):
        pass
    assert (error.value.code, error.value.message) == (code, message)


def test_the_states_have_tf_servings_numbers():
    assert [state.value for state in State] == [10, 20, 30, 40, 50]
