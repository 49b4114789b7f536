"""Tests of the splits of a window of spans."""

from __future__ import annotations

import itertools

from benison.components.ingest.span_window import window_splits

SPLITS = ("train", "valid", "blend", "test")
EVERY_PART = {f"{side}-{split}" for side in ("head", "tail") for split in ("train", "valid", "blend")}


def _parts(window: list[int]) -> dict[str, set[tuple[int, str]]]:
    return {
        split: {(s, p) for s, parts in spans.items() for p in parts} for split, spans in window_splits(window).items()
    }


def test_the_newest_span_is_test_and_the_earlier_ones_are_for_training() -> None:
    splits = window_splits([1, 2, 3])
    assert set(splits["test"]) == {3}
    assert {span for split in SPLITS[:3] for span in splits[split]} == {1, 2}


def test_in_a_window_of_one_span_its_tail_is_test() -> None:
    splits = window_splits([5])
    assert all(part.startswith("tail-") for part in splits["test"][5])
    assert all(part.startswith("head-") for split in SPLITS[:3] for part in splits[split][5])


def test_no_row_is_in_two_splits_and_none_is_lost() -> None:
    for window in ([7], [1, 2], [2, 3, 4, 5]):
        splits = _parts(window)
        for first, second in itertools.combinations(SPLITS, 2):
            assert not splits[first] & splits[second]
        assert set.union(*splits.values()) == {(span, part) for span in window for part in EVERY_PART}
