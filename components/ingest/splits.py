"""Which split a row falls into, and the files that a span's rows lie in; needs no TFX."""

from __future__ import annotations

import bisect
import hashlib
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence

from benison.components.ingest.csv_table import CsvTable, Row
from benison.serving.errors import DataError

WHOLE = "rows"  # the split of a span, whose files are its parts
ROWS = "rows"  # artifact property: JSON, rows by part
LEARNT = ("train", "valid", "blend")
# Which parts make the splits of a span that stands alone.
ALONE = {
    **{split: (f"head-{split}",) for split in LEARNT},
    "test": tuple(f"tail-{split}" for split in LEARNT),
}
_SAMPLE = 20_000
_MANY = 300  # that many different rows hardly leave a split empty


def assign(cells: Sequence[str], buckets: Sequence[int]) -> int:
    """The split of a row: SHA-256 modulo the sum of all buckets.

    As TFX's own ExampleGen does it, but over the text of the cells: a serialised tf.Example may differ between the
    two tracks of TFX, and then the splits would.

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
    """How a span is divided so that any window can make its splits of whole files.

    The rows later than a moment near the end are the `tail`, as large a share as `test` has; head and tail are each
    divided by hash. Alone, a span's tail is `test`; before other spans its tail is divided like its head; as a window's
    newest span all of it is `test`.

    Args:
        table: the span.
        column: its time column: ISO dates and times, or numbers.
        splits: hash buckets of train, valid, blend and test.

    Returns:
        The parts, such as `head-train`, and what assigns a row to one.

    Raises:
        DataError: there is no such column.
    """
    if column not in table.header:
        raise DataError(f"{table.files[0]}: no time column {column!r}; it has {', '.join(table.header)}")
    index = table.header.index(column)
    learnt = {name: buckets for name, buckets in splits.items() if name != "test"}
    last = _quantile((row.cells[index] for row in table.rows()), 1 - splits["test"] / sum(splits.values()))

    def part(row: Row) -> str:
        side = "tail" if _moment(row.cells[index]) > last else "head"
        return f"{side}-{by_hash(row.cells, learnt)}"

    return tuple(f"{side}-{name}" for side in ("head", "tail") for name in learnt), part


def _quantile(cells: Iterable[str], share: float) -> tuple[float, str]:
    """The moment before which `share` of the rows lie, from a sample that does not grow with them (Vitter 1985)."""
    rng = random.Random(0)
    sample: list[tuple[float, str]] = []
    for seen, cell in enumerate(cells):
        if len(sample) < _SAMPLE:
            sample.append(_moment(cell))
        elif (place := rng.randrange(seen + 1)) < _SAMPLE:
            sample[place] = _moment(cell)
    return sorted(sample)[min(int(len(sample) * share), len(sample) - 1)] if sample else (0.0, "")


def _moment(cell: str) -> tuple[float, str]:
    """Sorts numbers as numbers and ISO dates as text; a missing one comes first."""
    try:
        return float(cell), ""
    except ValueError:
        return -math.inf, cell


def by_hash(cells: Sequence[str], splits: Mapping[str, int]) -> str:
    """The name of the split of a row; see `assign`.

    Args:
        cells: the row.
        splits: hash buckets by split.
    """
    return list(splits)[assign(cells, list(splits.values()))]


def check_counts(where: str, counts: Mapping[str, int]) -> None:
    """Raises DataError where a split got no row."""
    empty = [name for name, count in counts.items() if not count]
    if empty:
        rows = sum(counts.values())
        few = f"{rows} rows are too few" if rows < _MANY else f"{rows} rows, most of them equal, stay together"
        raise DataError(
            f"{where}: {few}: no row falls into {', '.join(empty)}; give more rows, or larger buckets under `splits`"
        )
