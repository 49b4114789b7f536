"""Read statistics of examples: counts, moments and distributions of each column, by split."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = "FeatureStats.pb"
_SPLIT = "Split-"
_ORDER = ("train", "valid", "blend", "test")


@dataclass(frozen=True)
class Column:
    """The statistics of a column in a split.

    Attributes:
        name: the column.
        kind: number, text or bytes.
        rows: number of rows of the split.
        missing: number of rows without a value.
        mean: of numbers; None for text, as are the six after it.
        std: standard deviation.
        low: smallest number.
        median: the median.
        high: largest number.
        zeros: number of rows with 0.
        not_numbers: number of values that are NaN.
        unique: number of different texts; None for numbers.
        bins: low and high end, and rows, of TFDV's buckets of equal width, which it estimates from quantiles; empty for
            text.
        values: the most frequent texts, each with its rows; empty for numbers.
    """

    name: str
    kind: str
    rows: int
    missing: int
    mean: float | None = None
    std: float | None = None
    low: float | None = None
    median: float | None = None
    high: float | None = None
    zeros: int | None = None
    not_numbers: int = 0
    unique: int | None = None
    bins: Sequence[tuple[float, float, float]] = ()
    values: Sequence[tuple[str, float]] = ()

    @property
    def missing_share(self) -> float:
        """The share of rows without a value."""
        return self.missing / self.rows if self.rows else 0.0


Statistics = Mapping[str, Mapping[str, Column]]  # by split and column


def read(folder: Path) -> Statistics:
    """Read an artifact of type ExampleStatistics.

    Returns:
        The columns by split and name: `train`, `valid`, `blend` and `test` first, other splits after them.

    Raises:
        OSError: the artifact no longer exists.
    """
    files = {file.parent.name.removeprefix(_SPLIT): file for file in folder.glob(f"{_SPLIT}*/{FILE}")}
    if not files:
        raise FileNotFoundError(f"no statistics in {folder}")
    splits = sorted(files, key=lambda split: (_ORDER.index(split) if split in _ORDER else len(_ORDER), split))
    return {split: read_file(files[split]) for split in splits}


def read_file(file: Path) -> dict[str, Column]:
    """Read the statistics of one split, by column."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    message = statistics_pb2.DatasetFeatureStatisticsList()
    message.ParseFromString(file.read_bytes())
    dataset = message.datasets[0]
    columns = (_column(feature, int(dataset.num_examples)) for feature in dataset.features)
    return {column.name: column for column in columns}


def _column(feature: Any, rows: int) -> Column:
    field = feature.WhichOneof("stats")
    stats = getattr(feature, field)
    missing = rows - int(stats.common_stats.num_non_missing)
    name = ".".join(feature.path.step)
    if field == "num_stats":
        bins = next((h for h in stats.histograms if h.type == h.STANDARD), None)
        return Column(
            name,
            "number",
            rows,
            missing,
            mean=stats.mean,
            std=stats.std_dev,
            low=stats.min,
            median=stats.median,
            high=stats.max,
            zeros=int(stats.num_zeros),
            not_numbers=int(bins.num_nan) if bins else 0,
            bins=[(b.low_value, b.high_value, b.sample_count) for b in bins.buckets] if bins else [],
        )
    if field == "string_stats":
        values = [(b.label, b.sample_count) for b in stats.rank_histogram.buckets[:_MOST_VALUES]]
        if any(text == _BYTES for text, _ in values):
            return Column(name, "bytes", rows, missing, unique=int(stats.unique))
        return Column(name, "text", rows, missing, unique=int(stats.unique), values=values)
    return Column(name, "bytes", rows, missing)


_MOST_VALUES = 50
_BYTES = "__BYTES_VALUE__"  # TFDV's word for all values that are no text


@dataclass(frozen=True)
class Distribution:
    """The distribution of a column's texts in several splits.

    Attributes:
        column: the name.
        places: each text.
        shares: by split, the share of its rows at each place.
    """

    column: str
    places: Sequence[str]
    shares: Mapping[str, Sequence[float]]


def distribution(columns: Mapping[str, Column], texts: int = 8) -> Distribution | None:
    """Return a text column's distribution in each split; None if there is nothing to compare.

    Args:
        columns: the same column of each split.
        texts: number of texts; the other texts are together in `other`.
    """
    if not columns or any(column.kind != "text" for column in columns.values()):
        return None
    return _texts(next(iter(columns.values())).name, columns, texts)


def histograms(columns: Mapping[str, Column]) -> dict[str, list[tuple[float, float, float]]]:
    """Return the histograms of a number column by split, as the statistics hold them; empty for other columns.

    Each split keeps its own buckets: to cut them into other ones would invent rows where there are none.

    Args:
        columns: the same column of each split.

    Returns:
        Low end, high end and share of the split's rows of each bucket.
    """
    if any(column.kind != "number" for column in columns.values()):
        return {}
    finite = {
        split: [
            (low, high, rows / max(column.rows, 1))
            for low, high, rows in column.bins
            if math.isfinite(low) and math.isfinite(high)
        ]
        for split, column in columns.items()
    }
    return {split: buckets for split, buckets in finite.items() if buckets}


def _texts(name: str, columns: Mapping[str, Column], texts: int) -> Distribution | None:
    counts: dict[str, float] = {}
    for column in columns.values():
        for text, rows in column.values:
            counts[text] = counts.get(text, 0.0) + rows / max(column.rows, 1)
    places = sorted(counts, key=lambda text: -counts[text])[:texts]
    if not places:
        return None
    shares = {}
    has_others = len(counts) > len(places) or any((c.unique or 0) > len(c.values) for c in columns.values())
    for split, column in columns.items():
        rows = column.rows or 1
        here = dict(column.values)
        shares[split] = [here.get(text, 0.0) / rows for text in places]
        if has_others:
            shares[split].append(max(0.0, (column.rows - column.missing) / rows - sum(shares[split])))
    return Distribution(name, [*places, *([OTHERS] if has_others else [])], shares)


OTHERS = "(other values)"
