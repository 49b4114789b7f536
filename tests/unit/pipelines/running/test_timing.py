"""The seconds of phases: one inside another counts once."""

from __future__ import annotations

import time

import pytest

from benison.pipelines.running import timing


def test_a_phase_inside_another_one_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 4.0, 10.0, 20.0, 21.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    timing.begin()
    with timing.phase("launcher"), timing.phase("executor"):
        pass
    with timing.phase("launcher"):
        pass
    assert timing.measured() == {"launcher": 8.0, "executor": 3.0}
    timing.begin()
    assert timing.measured() == {}


def test_the_memory_and_the_processor_time_of_this_process_are_measured() -> None:
    used = timing.resources()
    assert used["processor_s"] > 0
    assert used["memory_mb"] > 1
