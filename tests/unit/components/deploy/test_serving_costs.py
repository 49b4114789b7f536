"""A budget that only a busy machine exceeds is tried once more; a refusal tells processor time and load."""

from __future__ import annotations

import pytest

from benison.components.deploy import serving_costs
from benison.components.deploy.serving_costs import ServingBudget

BUDGET = ServingBudget(load_s=10, memory_mb=500, p99_ms=20)


def _attempt(**figures: float) -> dict[str, float]:
    usual = {"load_s": 3.0, "memory_mb": 300.0, "p99_ms": 2.0}
    processor = {"load_processor_s": 2.0, "request_processor_ms": 1.0, "load_average": 12.5}
    return {**usual, **processor, **figures}


BUSY, SLOW = {"p99_ms": 90.0}, {"p99_ms": 90.0, "request_processor_ms": 60.0}


@pytest.mark.parametrize(
    ("figures", "attempts"),
    [({}, 1), (BUSY, 4), ({"load_s": 40.0}, 4), (SLOW, 3), ({**BUSY, "memory_mb": 900.0}, 3)],
    ids=["within the budget", "waits", "loads and waits", "computes", "takes too much memory"],
)
def test_one_more_attempt_follows_only_if_waiting_alone_exceeds_the_budget(
    figures: dict[str, float], attempts: int
) -> None:
    measured = [_attempt(**figures)]
    while serving_costs.needs_another_attempt(measured, BUDGET):
        measured.append(_attempt(**figures))
    assert len(measured) == attempts


def test_a_quiet_last_attempt_passes() -> None:
    measured = [_attempt(**BUSY)] * 3 + [_attempt()]
    assert not serving_costs.needs_another_attempt(measured, BUDGET)
    assert all(verdict["passed"] for verdict in serving_costs.verdicts(measured, BUDGET))


def test_a_refusal_tells_the_processor_time_and_the_load_of_the_machine() -> None:
    (refused,) = [v for v in serving_costs.verdicts([_attempt(**BUSY)] * 4, BUDGET) if not v["passed"]]
    assert refused["rule"] == "p99 latency <= 20 ms"
    assert "p99 latency 90 ms, the best of 4 attempts; the budget is 20 ms (1 ms of processor time" in refused["reason"]
    assert "load average 12.5 on " in refused["reason"]


def test_a_note_is_in_the_verdict_of_its_figure():
    notes = {"p99_ms": "mine has 300 walked trees"}
    reasons = [v["reason"] for v in serving_costs.verdicts([_attempt()], BUDGET, notes)]
    assert [reason.endswith("; mine has 300 walked trees") for reason in reasons] == [False, False, True]
