"""Finds the rows that a drift consists of: the values whose share grew most since the earlier span, with examples.

The values of a column are counted in buckets. For numbers the buckets are the quantiles of the earlier span and the
values outside them; for text they are the values of the earlier span and all others; missing values are one more. Each
bucket contributes to the Jensen-Shannon divergence (J. Lin, Divergence Measures Based on the Shannon Entropy, IEEE
Trans. Inf. Theory 37, 1991). Of the buckets whose share of the rows grew, the one that contributes most is reported.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benison.components.ingest.csv_table import CsvTable
from benison.components.validate.schema_violations import MAX_EXAMPLES, format_cell, format_share
from benison.serving.number_text import normalize_number

MISSING, OTHER = "missing", "other"


@dataclass(frozen=True)
class DriftedRows:
    """The rows of the bucket that grew most.

    Attributes:
        count: number of rows in the bucket.
        rows: number of all rows.
        what: what the rows of the bucket have in common, such as `are above 20`.
        before: share of the bucket in the earlier span.
        span: number of the earlier span.
        examples: the first rows, each with file, line and value.
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
            f"for example {', '.join(self.examples)}"
        )


def value_shares(feature: Any, rows: int) -> dict[str, Any]:
    """Return the distribution of a column's values, as JSON data.

    Args:
        feature: TFDV's FeatureNameStatistics.
        rows: number of rows of the span.

    Returns:
        `missing`, the share of rows without a value. For numbers also `edges` (ascending), `up_to` (the share between
        the edge before and each edge) and `whole` (the numbers are integers). For text also `values`, the share of each
        of the most frequent values.
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
    """Read a table again and find the rows that the drift of each column consists of.

    Args:
        table: the data.
        before: `value_shares` of each column in the earlier span; columns that the table lacks are skipped, and
            those of several values per row.
        span: number of the earlier span.

    Returns:
        By column, the rows of the bucket that grew most.
    """
    columns = {
        name: _ColumnBuckets(shares)
        for name, shares in before.items()
        if name in table.header and name not in table.lists
    }
    indices = {name: table.header.index(name) for name in columns}
    rows = 0
    for row in table.rows():
        rows += 1
        for name, column in columns.items():
            cell = row.cells[indices[name]]
            bucket = column.bucket(None if cell in table.missing else cell, table.number_form(name))
            column.counts[bucket] += 1
            if len(examples := column.examples.setdefault(bucket, [])) < MAX_EXAMPLES:
                examples.append(format_cell(row, cell))
    return {name: drifted for name, column in columns.items() if (drifted := column.largest_growth(rows, span))}


@dataclass
class _ColumnBuckets:
    """The rows of a column by bucket; a bucket is a text value, the index of an edge, `(MISSING,)` or `(OTHER,)`."""

    before: Mapping[str, Any]
    counts: Counter[Any] = field(default_factory=Counter)
    examples: dict[Any, list[str]] = field(default_factory=dict)

    def bucket(self, cell: str | None, form: str) -> Any:
        if cell is None:
            return (MISSING,)
        if "values" in self.before:
            return cell if cell in self.before["values"] else (OTHER,)
        try:
            number = float(normalize_number(cell, form))
        except ValueError:
            return (OTHER,)
        # ExampleGen wrote float32, so the edges are float32 values.
        number = number if self.before["whole"] else float(np.float32(number))
        edges = self.before["edges"]
        return 1 if number == edges[0] and len(edges) > 1 else bisect.bisect_left(edges, number)

    def largest_growth(self, rows: int, span: int) -> DriftedRows | None:
        """Return, of the buckets that grew, the one that contributes most to the divergence; None if none grew."""
        grew = {bucket: count for bucket, count in self.counts.items() if count / rows > self._share(bucket)}
        if not grew:
            return None
        bucket = max(grew, key=lambda b: _divergence_part(grew[b] / rows, self._share(b)))
        return DriftedRows(
            grew[bucket], rows, self._describe(bucket, span), self._share(bucket), span, tuple(self.examples[bucket])
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

    def _describe(self, bucket: Any, span: int) -> str:
        if bucket == (MISSING,):
            return "have no value"
        if bucket == (OTHER,):
            return f"have a value that span {span} did not have" if "values" in self.before else "are not numbers"
        if isinstance(bucket, str):
            return f"are {bucket!r}"
        edges = self.before["edges"]
        if bucket == 0:
            return f"are below {edges[0]:g}"
        if bucket == len(edges):
            return f"are above {edges[-1]:g}"
        return f"are between {edges[bucket - 1]:g} and {edges[bucket]:g}"


def _divergence_part(now: float, before: float) -> float:
    """Return the contribution of a bucket to the Jensen-Shannon divergence, in bits; `now` > `before` >= 0."""
    mean = (now + before) / 2
    return (now * math.log2(now / mean) + (before * math.log2(before / mean) if before else 0.0)) / 2
