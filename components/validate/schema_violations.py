"""Finds the rows of a CSV that violate the schema: counts them and keeps a few examples."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benison.components.ingest.csv_table import CsvTable, fits
from benison.serving.number_text import normalize_number
from benison.serving.rows.chunks import Row

MAX_EXAMPLES = 3


@dataclass(frozen=True)
class SchemaViolations:
    """The rows whose value in a column violates the schema.

    Attributes:
        count: number of these rows.
        rows: number of all rows.
        expected: description of valid values.
        examples: the first rows, each with file, line and value.
    """

    count: int
    rows: int
    expected: str
    examples: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{format_share(self.count, self.rows)} do not fit, expected {self.expected}; "
            f"for example {', '.join(self.examples)}"
        )


def find_violations(table: CsvTable, schema: Path, columns: Collection[str]) -> dict[str, SchemaViolations]:
    """Read a table again and find the rows that violate the schema.

    Args:
        table: the data.
        schema: path of TensorFlow Metadata's Schema as text.
        columns: names of the columns to check; columns that the table or the schema lacks are skipped, and those of
            several values per row.

    Returns:
        The violations by column.
    """
    checks = {
        name: check
        for name, check in _column_checks(schema, table).items()
        if name in columns and name in table.header and name not in table.lists
    }
    indices = {name: table.header.index(name) for name in checks}
    counts = dict.fromkeys(checks, 0)
    examples: dict[str, list[str]] = {name: [] for name in checks}
    rows = 0
    for row in table.rows():
        rows += 1
        for name, (_, is_valid) in checks.items():
            cell = row.cells[indices[name]]
            if not is_valid("" if cell in table.missing else cell):
                counts[name] += 1
                if len(examples[name]) < MAX_EXAMPLES:
                    examples[name].append(format_cell(row, cell))
    return {
        name: SchemaViolations(counts[name], rows, expected, tuple(examples[name]))
        for name, (expected, _) in checks.items()
    }


def format_share(count: int, rows: int) -> str:
    """Return a number of rows as a text, such as `1020 of 5903 rows (17.28%)`."""
    return f"{count} of {rows} rows ({count / max(rows, 1):.2%})"


def format_cell(row: Row, cell: str) -> str:
    """Return a cell with its file and line, such as `5-2.csv line 5 'ZZ'`."""
    return f"{Path(row.file).name} {row.place} {cell[:40]!r}"


def _column_checks(schema: Path, table: CsvTable) -> dict[str, tuple[str, Callable[[str], bool]]]:
    """Return, by feature, a description of valid values and the check of a cell ('' is a missing value)."""
    import tensorflow_data_validation as tfdv

    message = tfdv.load_schema_text(str(schema))
    domains = {domain.name: frozenset(domain.value) for domain in message.string_domain}
    return {
        feature.name: _column_check(feature, domains, table.number_form(feature.name)) for feature in message.feature
    }


def _column_check(feature: Any, domains: dict[str, frozenset[str]], form: str) -> tuple[str, Callable[[str], bool]]:
    from tensorflow_metadata.proto.v0 import schema_pb2

    kind = {schema_pb2.INT: "int", schema_pb2.FLOAT: "float"}.get(feature.type, "bytes")
    required = feature.presence.min_fraction > 0
    domain = domains.get(feature.domain) or frozenset(feature.string_domain.value)
    bounds = getattr(feature, feature.WhichOneof("domain_info") or "", None) if kind != "bytes" else None
    low, high = (bounds.min, bounds.max) if bounds is not None and (bounds.min or bounds.max) else (None, None)
    expected = {"int": "a whole number", "float": "a number", "bytes": "text"}[kind]
    if low is not None:
        expected += f" from {low:g} to {high:g}"
    if domain:
        expected = f"one of {', '.join(sorted(domain)[:8])}" + (" …" if len(domain) > 8 else "")

    def is_valid(cell: str) -> bool:
        if not cell:
            return not required
        if not fits(cell, kind, form):
            return False
        if low is not None and high is not None:
            return bool(low <= float(normalize_number(cell, form)) <= high)
        return not domain or cell in domain

    return expected, is_valid
