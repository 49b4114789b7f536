"""Rows of a CSV that do not fit the schema: how many, and a few to look at."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benison.components.ingest.csv_table import KINDS, CsvTable, Row, kind_of, normalize_number

MAX_EXAMPLES = 3


@dataclass(frozen=True)
class SchemaViolations:
    """The rows whose value in a column does not fit.

    Attributes:
        count: how many.
        rows: of how many.
        expected: what fits.
        examples: the first few, each with file, line and value.
    """

    count: int
    rows: int
    expected: str
    examples: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{format_share(self.count, self.rows)} do not fit, expected {self.expected}; such as {', '.join(self.examples)}"
        )


def find_violations(table: CsvTable, schema: Path, columns: Collection[str]) -> dict[str, SchemaViolations]:
    """Reads a table once more, for columns in which anomalies were found.

    Args:
        table: the data.
        schema: TensorFlow Metadata's Schema as text.
        columns: names; those that the table or the schema lacks are passed over.

    Returns:
        The misfits by column.
    """
    fits = {name: fit for name, fit in _column_checks(schema, table.decimal).items() if name in columns and name in table.header}
    places = {name: table.header.index(name) for name in fits}
    counts = dict.fromkeys(fits, 0)
    examples: dict[str, list[str]] = {name: [] for name in fits}
    rows = 0
    for row in table.rows():
        rows += 1
        for name, (_, check) in fits.items():
            cell = row.cells[places[name]]
            if not check("" if cell in table.missing else cell):
                counts[name] += 1
                if len(examples[name]) < MAX_EXAMPLES:
                    examples[name].append(format_cell(row, cell))
    return {
        name: SchemaViolations(counts[name], rows, expected, tuple(examples[name]))
        for name, (expected, _) in fits.items()
    }


def format_share(count: int, rows: int) -> str:
    """So many rows of all, in words."""
    return f"{count} of {rows} rows ({count / max(rows, 1):.2%})"


def format_cell(row: Row, cell: str) -> str:
    """A cell to look at, with its place."""
    return f"{Path(row.file).name} line {row.line} {cell[:40]!r}"


def _column_checks(schema: Path, decimal: str) -> dict[str, tuple[str, Callable[[str], bool]]]:
    """By feature, what fits in words, and the check of a cell ('' being a missing one)."""
    import tensorflow_data_validation as tfdv

    loaded = tfdv.load_schema_text(str(schema))
    domains = {domain.name: frozenset(domain.value) for domain in loaded.string_domain}
    return {feature.name: _column_check(feature, domains, decimal) for feature in loaded.feature}


def _column_check(feature: Any, domains: dict[str, frozenset[str]], decimal: str) -> tuple[str, Callable[[str], bool]]:
    from tensorflow_metadata.proto.v0 import schema_pb2

    kind = {schema_pb2.INT: "int", schema_pb2.FLOAT: "float"}.get(feature.type, "bytes")
    required = feature.presence.min_fraction > 0
    domain = domains.get(feature.domain) or frozenset(feature.string_domain.value)
    bounds = getattr(feature, feature.WhichOneof("domain_info") or "", None) if kind != "bytes" else None
    low, high = (bounds.min, bounds.max) if bounds is not None and (bounds.min or bounds.max) else (None, None)
    words = {"int": "a whole number", "float": "a number", "bytes": "text"}[kind]
    if low is not None:
        words += f" from {low:g} to {high:g}"
    if domain:
        words = f"one of {', '.join(sorted(domain)[:8])}" + (" …" if len(domain) > 8 else "")

    def check(cell: str) -> bool:
        if not cell:
            return not required
        if KINDS.index(kind_of(cell, decimal)) > KINDS.index(kind):
            return False
        if low is not None and high is not None:
            return bool(low <= float(normalize_number(cell, decimal)) <= high)
        return not domain or cell in domain

    return words, check
