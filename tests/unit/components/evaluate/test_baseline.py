"""What a candidate is compared with."""

from __future__ import annotations

from pathlib import Path

import pytest

from benison.components.evaluate import baseline
from benison.serving.versions.local import Version


def _served(spans: list[int]) -> Version:
    return Version(9, Path("serving/p/9"), {"candidate": "abc", "spans": spans})


def test_where_nothing_is_served_that_is_said() -> None:
    assert baseline.describe(None, [1, 2])["why_not"] == "nothing is served yet"


@pytest.mark.parametrize(
    ("theirs", "window", "counts"),
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
def test_a_baseline_that_learnt_from_the_test_span_does_not_count(theirs, window, counts) -> None:
    found = baseline.describe(_served(theirs), window)
    assert (found["path"] is not None) == counts
    assert found["version"] == 9
    if not counts:
        assert found["why_not"] == f"version 9 learnt from span {window[-1]}, which is the test here"
