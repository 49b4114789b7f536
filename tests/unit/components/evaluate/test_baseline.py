"""Tests of the baseline of a candidate."""

from __future__ import annotations

from pathlib import Path

import pytest

from benison.components.evaluate import baseline
from benison.serving.versions.local import Version
from benison.serving.versions.manifest import Manifest


def _served(spans: list[int]) -> Version:
    return Version(9, Path("serving/p/9"), Manifest(candidate="abc", spans=tuple(spans)))


def test_without_a_served_version_the_reason_is_that_nothing_is_served() -> None:
    assert baseline.describe(None, [1, 2])["why_not"] == "nothing was served before it"


@pytest.mark.parametrize(
    ("spans", "window", "counts"),
    [
        ([], [], True),  # no spans: the same rows are the test for both
        ([1, 2], [1, 2, 3], True),
        ([1, 2], [1, 2], True),  # the same test
        ([1, 2, 3], [1, 2], False),
        ([2], [2], True),  # the same tail
        ([2], [1, 2], False),
        ([1], [1, 2], True),
    ],
)
def test_a_version_trained_on_the_test_span_is_no_baseline(spans, window, counts) -> None:
    description = baseline.describe(_served(spans), window)
    assert (description["path"] is not None) == counts
    assert description["version"] == 9
    if not counts:
        assert description["why_not"] == (
            f"version 9 was trained on span {window[-1]}, which is the test span of this candidate"
        )
