"""A queue that stands is kept short; one that is soon worked off is not."""

from __future__ import annotations

import pytest

from serving.server.admission import Admission


def standing(per_run: int, seconds_per_run: float, left: int, lasting: float) -> tuple[Admission, float]:
    """An admission whose queue was never empty for so long, and the time then."""
    admission, now = Admission(1000), 0.0
    while now <= lasting:
        admission.took(per_run, left, now)
        now += seconds_per_run
    return admission, now


@pytest.mark.parametrize(
    ("per_run", "seconds_per_run", "most"),
    [
        (64, 0.1, 128),  # two runs
        (64, 0.01, 640),  # what a tenth of a second works off
        (1, 0.02, 64),  # never fewer
    ],
)
def test_a_standing_queue_is_kept_short(per_run, seconds_per_run, most):
    admission, now = standing(per_run, seconds_per_run, left=500, lasting=5.0)
    assert not admission.refuses(most - 1, now)
    assert admission.refuses(most + 1, now)


def test_a_burst_may_fill_the_queue():
    admission, now = standing(64, 0.1, left=500, lasting=0.1)
    assert not admission.refuses(999, now)
    assert admission.refuses(1000, now)


def test_a_queue_that_was_empty_again_may_be_long_again():
    admission, now = standing(64, 0.1, left=500, lasting=5.0)
    admission.took(64, 0, now)
    assert not admission.refuses(999, now + 1.0)


def test_idle_time_says_nothing_about_the_pace():
    admission = Admission(1000)
    for second in range(100):
        admission.took(1, 0, float(second))  # one request a second, each alone
    for run in range(10):
        admission.took(50, 100, 100.0 + 0.01 * run)
    for run in range(100):
        admission.took(50, 100, 100.1 + 0.01 * run)
    assert not admission.refuses(400, 102.0)
