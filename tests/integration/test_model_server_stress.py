"""The model server under more than it likes: swaps, loads, too many requests and signals. `-m soak` has the full counts."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.integration.model_server import (
    Load,
    Server,
    config,
    entry,
    publish,
    reload,
    running,
    specific,
    start,
    under_load,
    wait_until,
    write_ensemble,
    write_layers,
)

soak = pytest.mark.soak
TOKEN = {"BENISON_ADMIN_TOKEN": "shared"}  # of a server whose config is reloaded
SERVER, *_, GENERATOR = sorted(os.sched_getaffinity(0)) * 2  # cores; the same one where there is only one


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of some milliseconds a row, so that the model is what there is not enough of, not Python."""
    return write_layers(tmp_path_factory.mktemp("layers") / "made", 16, 1024, repeats=4)


def told(reports: Sequence[dict[str, Any]]) -> set[str]:
    """All the different answers."""
    return {answer for report in reports for answer in report["answers"]}


def lost(reports: Sequence[dict[str, Any]]) -> list[dict[str, int]]:
    """Return the requests that were sent and never answered."""
    return [report["lost"] for report in reports if report["lost"]]


# --- versions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("swaps", "rollbacks"), [(3, 1), pytest.param(100, 20, marks=[soak, pytest.mark.timeout(1800)])]
)
def test_no_request_fails_or_mixes_versions_while_they_are_swapped(
    tmp_path: Path, made: dict[int, Path], swaps: int, rollbacks: int
) -> None:
    """Each swap as `benison promote` does it: both versions serve, the label moves, the old one goes."""
    base = tmp_path / "m"
    publish(made[1], base, 1)
    (tmp_path / "models.config").write_text(config([entry("m", base, specific(1, stable=1))]))
    flags = ("--allow_version_labels_for_unavailable_models=true", "--file_system_poll_wait_seconds=0")
    memory = []
    with running(tmp_path, f"--model_config_file={tmp_path / 'models.config'}", *flags, environment=TOKEN) as server:

        def swap(old: int, new: int) -> None:
            for policy in (specific(old, new, stable=old), specific(old, new, stable=new), specific(new, stable=new)):
                reload(server, config([entry("m", base, policy)]), TOKEN["BENISON_ADMIN_TOKEN"])
            memory.append(server.memory())

        with under_load(server, "m:predict", "m/labels/stable:predict", "", connections=8) as reports:
            for version in range(1, swaps + 1):
                publish(made[version % 3 + 1], base, version + 1)
                swap(version, version + 1)
            for version in range(swaps + 1, swaps + 1 - rollbacks, -1):
                swap(version, version - 1)
                shutil.rmtree(base / str(version))
        assert set(server.states("m").values()) == {"AVAILABLE", "END"}
    assert not lost(reports)
    whole = {f"[{offset:.1f}, {offset + 1:.1f}]" for offset in (1, 2, 3)}
    compact = {answer.replace(" ", "") for answer in whole}
    assert told(reports) == {f"OK {a}" for a in whole} | {f'200 {{"predictions":{a}}}' for a in compact}
    print(f"{sum(sum(report['statuses'].values()) for report in reports)} requests; MB after each swap:", memory)
    if swaps == 100:
        assert memory[-1] <= 1.1 * memory[19]


@pytest.mark.parametrize(("seconds", "members", "layers"), [(1, 2, 10), pytest.param(40, 8, 60, marks=soak)])
def test_another_model_loads_while_the_first_serves(
    tmp_path: Path, made: dict[int, Path], seconds: int, members: int, layers: int
) -> None:
    """The first at half of what it can; the second loads again and again."""
    publish(made[1], tmp_path / "m", 1)
    publish(write_ensemble(tmp_path / "large", members, layers), tmp_path / "other", 1)
    m, other = entry("m", tmp_path / "m"), entry("other", tmp_path / "other")
    with running(
        tmp_path, f"--model_base_path={tmp_path / 'm'}", "--model_name=m", core=SERVER, environment=TOKEN
    ) as server:
        most = closed_loop(server, min(seconds, 5))
        half: dict[str, Any] = {"connections": 64, "rate": most / 2, "core": GENERATOR}
        before = Load(server, "m:predict", seconds=seconds, **half).finished()
        load, loads, until = Load(server, "m:predict", **half), 0, time.monotonic() + seconds
        while time.monotonic() < until:
            reload(server, config([m, other]), TOKEN["BENISON_ADMIN_TOKEN"])
            reload(server, config([m]), TOKEN["BENISON_ADMIN_TOKEN"])
            loads += 1
        during = load.seen()
    assert not lost([before, during])
    assert told([before, during]) == {'200 {"predictions":[1.0,2.0]}'}
    print(f"{most:.0f} requests/s; p99 {before['p99']['200']:.2f} ms, in {loads} loads {during['p99']['200']:.2f} ms")
    if seconds == 40:
        assert during["p99"]["200"] <= 2 * before["p99"]["200"]


# --- too much ---------------------------------------------------------------------------------------------------------


def closed_loop(server: Server, seconds: float, body: str = "[0, 2]") -> float:
    """Return the server's throughput (requests per second)."""
    plan = {"connections": 64, "seconds": seconds, "core": GENERATOR}
    Load(server, "m:predict", body, **plan).finished()  # the first are slower
    report = Load(server, "m:predict", body, **plan).finished()
    assert set(report["statuses"]) == {"200"}
    return float(report["statuses"]["200"]) / seconds


@pytest.mark.parametrize("seconds", [1, pytest.param(120, marks=soak)])
def test_four_times_too_much_is_refused_at_once_and_the_rest_answered_soon(
    tmp_path: Path, layers: Path, seconds: int
) -> None:
    publish(layers, tmp_path / "m", 1)
    with running(tmp_path, f"--model_base_path={tmp_path / 'm'}", "--model_name=m", core=SERVER) as server:
        most = closed_loop(server, min(seconds, 5), "[0]")
        plan: dict[str, Any] = {"connections": 2000, "core": GENERATOR}
        much = Load(server, "m:predict", "[0]", rate=0.8 * most, seconds=min(seconds, 20), **plan).finished()
        begun = server.memory()
        too_much = Load(server, "m:predict", "[0]", rate=4 * most, seconds=seconds, **plan).finished()
        ended = server.memory()
        assert server.post("m:predict", {"instances": [0]}) == (200, {"predictions": [1.0]})
    assert not lost([much, too_much])
    assert set(too_much["statuses"]) <= {"200", "503"}
    assert ended < 1.1 * begun
    print(f"{most:.0f} requests/s; {begun:.0f} MB, then {ended:.0f} MB; p99 at 80 %: {much['p99']} ms")
    print(f"at 400 %: {too_much['statuses']}, p50 {too_much['p50']}, p99 {too_much['p99']} ms")
    if seconds == 120:
        assert too_much["statuses"]["503"] > 2 * too_much["statuses"]["200"]
        assert too_much["late"] <= 2 * most  # else the generator was what there was too little of
        assert too_much["p99"]["200"] <= 3 * much["p99"]["200"]
        assert too_much["p50"]["503"] <= much["p50"]["200"]


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("times", [1, pytest.param(20, marks=soak)])
def test_sigterm_under_load_loses_no_request(tmp_path: Path, made: dict[int, Path], times: int) -> None:
    publish(made[1], tmp_path / "m", 1)
    for _ in range(times):
        with (
            running(tmp_path, f"--model_base_path={tmp_path / 'm'}", "--model_name=m") as server,
            under_load(server, "m:predict", "m:predict", "", connections=16) as reports,
        ):
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(60) == 0
        assert not lost(reports)
        assert all(report["refused"] for report in reports)
        assert told(reports) == {'200 {"predictions":[1.0,2.0]}', "OK [1.0, 2.0]"}


@pytest.mark.parametrize("times", [1, pytest.param(10, marks=soak)])
def test_after_sigkill_the_same_versions_serve_again(tmp_path: Path, made: dict[int, Path], times: int) -> None:
    """Killed while a version loads, too; a half-written one is there as well."""
    base, file = tmp_path / "m", tmp_path / "models.config"
    publish(made[1], base, 1)
    (base / ".incoming").mkdir()
    flags = (f"--model_config_file={file}", "--allow_version_labels_for_unavailable_models=true")
    for version in range(1, times + 1):
        publish(made[version % 3 + 1], base, version + 1)
        file.write_text(config([entry("m", base, specific(version, version + 1, stable=version))]))
        killed = start(tmp_path, *flags)
        wait_until(lambda: "LOADING" in killed.log.read_text(), 60)  # noqa: B023
        killed.process.kill()
        killed.process.wait()
        with running(tmp_path, *flags) as server, under_load(server, "m:predict", connections=4):
            wait_until(lambda: set(server.states("m").values()) == {"AVAILABLE"})
            states = server.states("m")
            server.process.kill()
            server.process.wait()
        with running(tmp_path, *flags) as server:
            wait_until(lambda: server.states("m") == states)  # noqa: B023
            stable = float((version - 1) % 3 + 1)
            assert server.post("m/labels/stable:predict", {"instances": [0.0]}) == (200, {"predictions": [stable]})
