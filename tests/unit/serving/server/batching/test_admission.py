"""Once requests have waited too long for a while, few may wait; a burst may be longer, up to a limit."""

from __future__ import annotations

import pytest

from benison.serving.server.batching.admission import Admission


def busy(per_run: int, seconds_per_run: float, lasting: float) -> tuple[Admission, float]:
    """Return an admission whose requests all waited long for `lasting` seconds, and the time at the end."""
    admission, now = Admission(1000), 100.0
    admission.record_run(per_run, 0.0, now)
    while now <= 100.0 + lasting:
        now += seconds_per_run
        admission.record_run(per_run, 0.2, now)
    return admission, now


@pytest.mark.parametrize(
    ("per_run", "seconds_per_run", "most"),
    [
        (128, 0.5, 128),  # as many as one run takes
        (64, 0.01, 640),  # as many as the version handles in a tenth of a second
        (1, 0.02, 64),  # never fewer
    ],
)
def test_a_standing_queue_is_kept_short(per_run, seconds_per_run, most):
    admission, now = busy(per_run, seconds_per_run, lasting=5.0)
    assert not admission.refuses(most - 2, now)
    assert admission.refuses(most + 1, now)


def test_a_queue_that_each_run_empties_can_still_be_congested():
    """As many requests as one run takes may wait, so each run empties the queue."""
    admission, now = busy(64, 0.1, lasting=5.0)
    for _ in range(100):
        now += 0.1
        admission.record_run(64, 0.1, now)
        assert admission.refuses(65, now)


def test_runs_that_begin_together_are_no_sign_of_a_fast_model():
    admission, now = Admission(1000), 100.0
    for _ in range(100):
        now += 0.5
        for _ in range(4):
            admission.record_run(1, 0.2, now)
            now += 0.0001
    assert admission.refuses(70, now)


@pytest.mark.parametrize(("waiting", "refused"), [(319, False), (322, True)])
def test_a_burst_that_clears_in_half_a_second_is_accepted(waiting, refused):
    admission, now = busy(64, 0.1, lasting=5.0)
    admission.record_run(64, 0.01, now + 0.1)
    assert admission.refuses(waiting, now + 0.2) is refused


def test_the_first_burst_may_fill_the_queue():
    """The rate of the version is not known yet."""
    admission = Admission(1000)
    admission.record_run(1, 0.0, 100.0)
    assert not admission.refuses(999, 100.1)
    assert admission.refuses(1000, 100.1)


def test_idle_time_does_not_lower_the_rate():
    admission = Admission(1000)
    for second in range(100):
        admission.record_run(1, 0.0, float(second))  # one request a second, each alone
    now = 100.0
    for _ in range(100):
        admission.record_run(50, 0.06, now := now + 0.01)
    assert not admission.refuses(400, now)
