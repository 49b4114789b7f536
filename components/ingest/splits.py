"""Assigns rows to splits and to the parts of a span; needs no TFX."""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benison.components.ingest.times import Cell, Format, Instant, Survey, TimeColumn
from benison.serving.errors import DataError

SPAN_SPLIT = "rows"  # the only split of an ingested span; its files are the parts of the span
ROW_COUNTS = "rows"  # artifact property: JSON object, number of rows by part
TRAINING_SPLITS = ("train", "valid", "blend")
# The parts of each split in a window of one span.
SINGLE_SPAN_PARTS = {
    **{split: (f"head-{split}",) for split in TRAINING_SPLITS},
    "test": tuple(f"tail-{split}" for split in TRAINING_SPLITS),
}
UNTIMED = "head-train"  # the part of rows without a time
_ENOUGH_ROWS = 300  # with this many different rows an empty split is very unlikely


def split_index(key: Sequence[str], buckets: Sequence[int]) -> int:
    """Return the split of a row: SHA-256 modulo the sum of all buckets.

    TFX's ExampleGen hashes the serialised tf.Example, which may differ between the two supported versions of TFX. This
    function hashes the text of the cells, so that the splits are the same in both.

    Args:
        key: the texts of the row that decide.
        buckets: number of hash buckets of each split.

    Returns:
        Index of the split.
    """
    bounds = [sum(buckets[: i + 1]) for i in range(len(buckets))]
    digest = hashlib.sha256("\x1f".join(key).encode()).hexdigest()
    return bisect.bisect(bounds, int(digest, 16) % bounds[-1])


@dataclass(frozen=True)
class TimeParts:
    """The parts of a span: the latest rows are the `tail`, the others the `head`, and both are divided by hash.

    Attributes:
        column: the time column.
        format: its format.
        end_of_head: the latest instant of the head; None if there are no rows.
        training: hash buckets of the training splits.
        warnings: facts for the user.
    """

    column: TimeColumn
    format: Format
    end_of_head: Instant | None
    training: Mapping[str, int]
    warnings: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The parts, such as `head-train`."""
        return tuple(f"{side}-{name}" for side in ("head", "tail") for name in self.training)

    def part_of(self, time: str | None, key: Sequence[str], *, in_group: bool = False) -> str:
        """Return the part of a row.

        Args:
            time: its cell in the time column.
            key: the texts that `SplitKeys` returns for the row.
            in_group: the row has a value in the column of `splits.by`.
        """
        if time is None or self.end_of_head is None or not self.column.has_value(time):
            return f"head-{split_by_hash(key, self.training)}" if in_group else UNTIMED
        side = "tail" if self.format.parse(time.strip()) > self.end_of_head else "head"
        return f"{side}-{split_by_hash(key, self.training)}"


def parts_by_time(
    cells: Iterable[Cell], column: TimeColumn, splits: Mapping[str, int], by: str | None = None
) -> TimeParts:
    """Divide a span into parts, so that the splits of any window consist of whole parts.

    The latest rows are the `tail`, with the same share of the rows as `test`; the other rows are the `head`. Both are
    divided by hash. In a window of one span the tail is `test`. In a larger window the newest span is `test`, and of
    the earlier spans both head and tail are used for training. Rows without a time are in `head-train`.

    Args:
        cells: the time column of the span.
        column: its settings.
        splits: hash buckets of train, valid, blend and test.
        by: the column of `splits.by`; all rows of one value are in one of the training splits.

    Raises:
        DataError: a cell cannot be read as a time, the format is not clear, or too many rows have no time.
    """
    survey = Survey(column)
    for cell in cells:
        survey.add(cell)
    form, sample = survey.format(), survey.sample()
    training = {name: buckets for name, buckets in splits.items() if name != "test"}
    where = "`train`" if by is None else f"the split of their {by}, which is not `test`"
    warnings = (f"{untimed}; rows without a time are in {where}",) if (untimed := survey.missing_rows()) else ()
    end_of_head = _end_of_head(sample, 1 - splits["test"] / sum(splits.values())) if sample else None
    return TimeParts(column, form, end_of_head, training, warnings)


def _end_of_head(times: Sequence[Instant], share: float) -> Instant:
    """Return the quantile of the sorted times; if no time is later, the second latest one."""
    end = times[min(int(len(times) * share), len(times) - 1)]
    if end < times[-1]:
        return end
    return times[max(bisect.bisect_left(times, end) - 1, 0)]  # a span of one time has no tail


def split_by_hash(key: Sequence[str], splits: Mapping[str, int]) -> str:
    """Return the name of the split of a row; see `split_index`.

    Args:
        key: the texts that `SplitKeys` returns for the row.
        splits: hash buckets by split.
    """
    return list(splits)[split_index(key, list(splits.values()))]


def check_counts(source: str, counts: Mapping[str, int], *, by_time: bool = False, by: str | None = None) -> None:
    """Raise DataError if a split has no row.

    Args:
        source: name of the data, for the message.
        counts: number of rows by split.
        by_time: `test` is the latest part of the same data.
        by: the column of `splits.by`.
    """
    empty = [name for name, count in counts.items() if not count]
    if empty:
        rows = sum(counts.values())
        if by_time and empty == ["test"] and rows >= _ENOUGH_ROWS:
            raise DataError(f"{source}: all {rows} rows have the same time; `test` needs rows that are later")
        cause = f"most of the {rows} rows have the same features, and such rows share a split"
        if rows < _ENOUGH_ROWS:
            cause = f"too few rows ({rows})"
        elif by is not None:
            cause = f"too few values of {by!r}, and rows with the same value share a split (splits.by)"
        raise DataError(
            f"{source}: {cause}: no row is in the splits {', '.join(empty)}; add rows, or set larger buckets under "
            "`splits`"
        )
