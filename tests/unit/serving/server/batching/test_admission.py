"""Once requests wait for long, few may wait; a burst may be longer, but not without end."""

from __future__ import annotations

import pytest

from benison.serving.server.batching.admission import Admission


def busy(per_run: int, seconds_per_run: float, lasting: float) -> tuple[Admission, float]:
    """An admission whose requests all waited for long, and the time after that many seconds of it."""
    admission, now = Admission(1000), 100.0
    admission.took(per_run, 0.0, now)
    while now <= 100.0 + lasting:
        now += seconds_per_run
        admission.took(per_run, 0.2, now)
    return admission, now


@pytest.mark.parametrize(
    ("per_run", "seconds_per_run", "most"),
    [
        (128, 0.5, 128),  # what one run takes
        (64, 0.01, 640),  # what a tenth of a second works off
        (1, 0.02, 64),  # never fewer
    ],
)
def test_a_standing_queue_is_kept_short(per_run, seconds_per_run, most):
    admission, now = busy(per_run, seconds_per_run, lasting=5.0)
    assert not admission.refuses(most - 2, now)
    assert admission.refuses(most + 1, now)


def test_that_a_run_takes_all_who_wait_is_no_sign_that_they_do_not_wait_for_long():
    """As many as one run takes may wait, so each run leaves nobody behind."""
    admission, now = busy(64, 0.1, lasting=5.0)
    for _ in range(100):
        admission.took(64, 0.1, now)
        now += 0.1
        assert admission.refuses(65, now)


@pytest.mark.parametrize(("waiting", "refused"), [(319, False), (322, True)])
def test_a_burst_is_taken_on_that_half_a_second_works_off(waiting, refused):
    admission, now = busy(64, 0.1, lasting=5.0)
    admission.took(64, 0.01, now + 0.1)
    assert admission.refuses(waiting, now + 0.2) is refused


def test_the_first_burst_may_fill_the_queue():
    """Nobody knows yet what the version can do."""
    admission = Admission(1000)
    admission.took(1, 0.0, 100.0)
    assert not admission.refuses(999, 100.1)
    assert admission.refuses(1000, 100.1)


def test_idle_time_says_nothing_about_the_pace():
    admission = Admission(1000)
    for second in range(100):
        admission.took(1, 0.0, float(second))  # one request a second, each alone
    now = 100.0
    for _ in range(100):
        admission.took(50, 0.06, now := now + 0.01)
    assert not admission.refuses(400, now)
