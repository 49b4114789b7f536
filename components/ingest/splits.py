"""Assigns rows to splits and to the parts of a span; needs no TFX."""

from __future__ import annotations

import bisect
import hashlib
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence

from benison.components.ingest.csv_table import CsvTable, Row
from benison.serving.errors import DataError

SPAN_SPLIT = "rows"  # the only split of an ingested span; its files are the parts of the span
ROW_COUNTS = "rows"  # artifact property: JSON object, number of rows by part
TRAINING_SPLITS = ("train", "valid", "blend")
# The parts of each split in a window of one span.
SINGLE_SPAN_PARTS = {
    **{split: (f"head-{split}",) for split in TRAINING_SPLITS},
    "test": tuple(f"tail-{split}" for split in TRAINING_SPLITS),
}
_SAMPLE_ROWS = 20_000
_ENOUGH_ROWS = 300  # with this many different rows an empty split is very unlikely


def split_index(cells: Sequence[str], buckets: Sequence[int]) -> int:
    """Return the split of a row: SHA-256 modulo the sum of all buckets.

    TFX's ExampleGen hashes the serialised tf.Example, which may differ between the two supported versions of TFX. This
    function hashes the text of the cells, so that the splits are the same in both.

    Args:
        cells: the row.
        buckets: number of hash buckets of each split.

    Returns:
        Index of the split.
    """
    bounds = [sum(buckets[: i + 1]) for i in range(len(buckets))]
    digest = hashlib.sha256("\x1f".join(cells).encode()).hexdigest()
    return bisect.bisect(bounds, int(digest, 16) % bounds[-1])


def parts_by_time(
    table: CsvTable, column: str, splits: Mapping[str, int]
) -> tuple[tuple[str, ...], Callable[[Row], str]]:
    """Divide a span into parts, so that the splits of any window consist of whole parts.

    The latest rows are the `tail`, with the same share of the rows as `test`; the other rows are the `head`. Both are
    divided by hash. In a window of one span the tail is `test`. In a larger window the newest span is `test`, and of
    the earlier spans both head and tail are used for training.

    Args:
        table: the span.
        column: the time column: ISO dates and times, or numbers.
        splits: hash buckets of train, valid, blend and test.

    Returns:
        The parts, such as `head-train`, and a function that returns the part of a row.

    Raises:
        DataError: the table has no such column.
    """
    if column not in table.header:
        raise DataError(f"{table.files[0]}: no time column {column!r}; it has {', '.join(table.header)}")
    index = table.header.index(column)
    training = {name: buckets for name, buckets in splits.items() if name != "test"}
    end_of_head = _quantile((row.cells[index] for row in table.rows()), 1 - splits["test"] / sum(splits.values()))

    def part(row: Row) -> str:
        side = "tail" if _time_key(row.cells[index]) > end_of_head else "head"
        return f"{side}-{split_by_hash(row.cells, training)}"

    return tuple(f"{side}-{name}" for side in ("head", "tail") for name in training), part


def _quantile(cells: Iterable[str], share: float) -> tuple[float, str]:
    """Return a quantile of the times, from a reservoir sample of constant size (Vitter 1985)."""
    rng = random.Random(0)
    sample: list[tuple[float, str]] = []
    for seen, cell in enumerate(cells):
        if len(sample) < _SAMPLE_ROWS:
            sample.append(_time_key(cell))
        elif (index := rng.randrange(seen + 1)) < _SAMPLE_ROWS:
            sample[index] = _time_key(cell)
    return sorted(sample)[min(int(len(sample) * share), len(sample) - 1)] if sample else (0.0, "")


def _time_key(cell: str) -> tuple[float, str]:
    """Return a sort key: numbers sort as numbers, ISO dates as text, and missing values come first."""
    try:
        return float(cell), ""
    except ValueError:
        return -math.inf, cell


def split_by_hash(cells: Sequence[str], splits: Mapping[str, int]) -> str:
    """Return the name of the split of a row; see `split_index`.

    Args:
        cells: the row.
        splits: hash buckets by split.
    """
    return list(splits)[split_index(cells, list(splits.values()))]


def check_counts(source: str, counts: Mapping[str, int]) -> None:
    """Raise DataError if a split has no row.

    Args:
        source: name of the data, for the message.
        counts: number of rows by split.
    """
    empty = [name for name, count in counts.items() if not count]
    if empty:
        rows = sum(counts.values())
        cause = (
            f"too few rows ({rows})"
            if rows < _ENOUGH_ROWS
            else f"most of the {rows} rows are identical, and identical rows share a split"
        )
        raise DataError(
            f"{source}: {cause}: no row is in the splits {', '.join(empty)}; add rows, or set larger buckets under "
            "`splits`"
        )
