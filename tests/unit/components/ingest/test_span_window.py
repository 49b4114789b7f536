"""Which parts of which spans make each split of a window."""

from __future__ import annotations

import itertools

from benison.components.ingest.span_window import splits_of

SPLITS = ("train", "valid", "blend", "test")
EVERY_PART = {f"{side}-{split}" for side in ("head", "tail") for split in ("train", "valid", "blend")}


def _parts(window: list[int]) -> dict[str, set[tuple[int, str]]]:
    return {split: {(s, p) for s, parts in spans.items() for p in parts} for split, spans in splits_of(window).items()}


def test_the_newest_span_is_test_and_the_earlier_ones_are_learnt_from() -> None:
    made = splits_of([1, 2, 3])
    assert set(made["test"]) == {3}
    assert {span for split in SPLITS[:3] for span in made[split]} == {1, 2}


def test_a_span_alone_gives_its_tail_to_test() -> None:
    made = splits_of([5])
    assert all(part.startswith("tail-") for part in made["test"][5])
    assert all(part.startswith("head-") for split in SPLITS[:3] for part in made[split][5])


def test_no_row_is_in_two_splits_and_none_is_lost() -> None:
    for window in ([7], [1, 2], [2, 3, 4, 5]):
        made = _parts(window)
        for one, other in itertools.combinations(SPLITS, 2):
            assert not made[one] & made[other]
        assert set.union(*made.values()) == {(span, part) for span in window for part in EVERY_PART}
