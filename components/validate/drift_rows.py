"""Rows that a drift is made of: the kind of value that grew most since the earlier span, and a few rows to look at.

The values of a column fall into buckets: for numbers the quantiles of the earlier span and what lies outside of them,
for text its values and all others, and for both the missing ones. Each bucket has its part in the Jensen-Shannon
divergence (J. Lin, Divergence Measures Based on the Shannon Entropy, IEEE Trans. Inf. Theory 37, 1991); shown is the
one with the largest part among those that hold a larger share of the rows than before.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benison.components.ingest.csv_table import CsvTable, normalize_number
from benison.components.validate.schema_violations import MAX_EXAMPLES, format_cell, format_share

MISSING, OTHER = "missing", "other"


@dataclass(frozen=True)
class DriftedRows:
    """The rows of the bucket that grew most.

    Attributes:
        count: how many.
        rows: of how many.
        what: they have in common.
        before: their share in the earlier span.
        span: which one that was.
        examples: the first few, each with file, line and value.
    """

    count: int
    rows: int
    what: str
    before: float
    span: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{format_share(self.count, self.rows)} {self.what} (in span {self.span}: {self.before:.2%}); "
            f"such as {', '.join(self.examples)}"
        )


def value_shares(feature: Any, rows: int) -> dict[str, Any]:
    """How a column's values were distributed, as JSON.

    Args:
        feature: TFDV's FeatureNameStatistics.
        rows: of the span.

    Returns:
        `missing`, a share of the rows, and either `edges` (ascending) with the share up to each one, or the share of
        each of the most frequent `values`.
    """
    from tensorflow_metadata.proto.v0 import statistics_pb2

    numeric = feature.WhichOneof("stats") == "num_stats"
    stats = feature.num_stats if numeric else feature.string_stats
    present = stats.common_stats.num_non_missing
    shares: dict[str, Any] = {"missing": 1 - present / max(rows, 1)}
    if not numeric:
        buckets = stats.rank_histogram.buckets
        return {**shares, "values": {bucket.label: bucket.sample_count / max(rows, 1) for bucket in buckets}}
    quantiles = next((h for h in stats.histograms if h.type == statistics_pb2.Histogram.QUANTILES), None)
    up_to: Counter[float] = Counter({stats.min: 0.0})
    for bucket in quantiles.buckets if quantiles else ():
        up_to[bucket.high_value] += bucket.sample_count / max(rows, 1)
    whole = feature.type == statistics_pb2.FeatureNameStatistics.INT
    return {**shares, "edges": sorted(up_to), "up_to": [up_to[edge] for edge in sorted(up_to)], "whole": whole}


def find_drifted_rows(table: CsvTable, before: Mapping[str, Mapping[str, Any]], span: int) -> dict[str, DriftedRows]:
    """Reads a table once more, for columns that drifted.

    Args:
        table: the data.
        before: `value_shares` each column in the earlier span; columns that the table lacks are passed over.
        span: the earlier one.

    Returns:
        By column, the rows of the bucket that grew most.
    """
    columns = {name: _ColumnBuckets(shares) for name, shares in before.items() if name in table.header}
    places = {name: table.header.index(name) for name in columns}
    rows = 0
    for row in table.rows():
        rows += 1
        for name, column in columns.items():
            cell = row.cells[places[name]]
            bucket = column.bucket(None if cell in table.missing else cell, table.decimal)
            column.counts[bucket] += 1
            if len(found := column.examples.setdefault(bucket, [])) < MAX_EXAMPLES:
                found.append(format_cell(row, cell))
    return {name: shifted for name, column in columns.items() if (shifted := column.most(rows, span))}


@dataclass
class _ColumnBuckets:
    """What the rows of a column fall into; a bucket is a value, the place of an edge, MISSING or OTHER."""

    before: Mapping[str, Any]
    counts: Counter[Any] = field(default_factory=Counter)
    examples: dict[Any, list[str]] = field(default_factory=dict)

    def bucket(self, cell: str | None, decimal: str) -> Any:
        if cell is None:
            return (MISSING,)
        if "values" in self.before:
            return cell if cell in self.before["values"] else (OTHER,)
        try:
            number = float(normalize_number(cell, decimal))
        except ValueError:
            return (OTHER,)
        # The edges are of what ExampleGen wrote.
        number = number if self.before["whole"] else float(np.float32(number))
        edges = self.before["edges"]
        return 1 if number == edges[0] and len(edges) > 1 else bisect.bisect_left(edges, number)

    def most(self, rows: int, span: int) -> DriftedRows | None:
        """The bucket with the largest part in the divergence among those that grew; None where none did."""
        grew = {bucket: count for bucket, count in self.counts.items() if count / rows > self._share(bucket)}
        if not grew:
            return None
        bucket = max(grew, key=lambda one: _divergence_part(grew[one] / rows, self._share(one)))
        return DriftedRows(
            grew[bucket], rows, self._what(bucket, span), self._share(bucket), span, tuple(self.examples[bucket])
        )

    def _share(self, bucket: Any) -> float:
        if bucket == (MISSING,):
            return float(self.before["missing"])
        if bucket == (OTHER,):
            values = self.before.get("values")
            return max(1 - self.before["missing"] - sum(values.values()), 0.0) if values else 0.0
        if isinstance(bucket, str):
            return float(self.before["values"][bucket])
        up_to = self.before["up_to"]
        return float(up_to[bucket]) if bucket < len(up_to) else 0.0

    def _what(self, bucket: Any, span: int) -> str:
        if bucket == (MISSING,):
            return "have no value"
        if bucket == (OTHER,):
            return (
                f"have a value that was not among those of span {span}" if "values" in self.before else "are no number"
            )
        if isinstance(bucket, str):
            return f"are {bucket!r}"
        edges = self.before["edges"]
        if bucket == 0:
            return f"lie below {edges[0]:g}"
        return (
            f"lie above {edges[-1]:g}"
            if bucket == len(edges)
            else f"lie from {edges[bucket - 1]:g} to {edges[bucket]:g}"
        )


def _divergence_part(now: float, before: float) -> float:
    """A bucket's part in the Jensen-Shannon divergence, in bits; `now` > `before` >= 0."""
    mean = (now + before) / 2
    return (now * math.log2(now / mean) + (before * math.log2(before / mean) if before else 0.0)) / 2
