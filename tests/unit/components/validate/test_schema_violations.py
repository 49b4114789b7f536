"""Tests of the rows that violate the schema."""

from __future__ import annotations

from pathlib import Path

import pytest

from benison.components.ingest.csv_table import CsvTable
from benison.components.validate.schema_violations import find_violations

SCHEMA = """
feature { name: "origin" type: BYTES domain: "origin" presence { min_fraction: 1.0 } }
feature { name: "distance" type: FLOAT float_domain { min: 10 max: 5000 } presence { min_fraction: 0.9 } }
feature { name: "seats" type: INT }
string_domain { name: "origin" value: "EWR" value: "JFK" }
"""
ROWS = ["EWR,200,150", "JFK,NA,NA", "LGA,22000,3.5", ",90,2", "JFK,far,1.0"]


@pytest.fixture
def violations(tmp_path: Path):
    (tmp_path / "schema.pbtxt").write_text(SCHEMA)
    (tmp_path / "may.csv").write_text("origin,distance,seats\n" + "\n".join(ROWS) + "\n")
    table = CsvTable((str(tmp_path / "may.csv"),), frozenset({"", "NA"}))
    return find_violations(table, tmp_path / "schema.pbtxt", ["origin", "distance", "seats", "gone"])


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (
            "origin",
            "2 of 5 rows (40.00%) do not fit, expected one of EWR, JFK; for example may.csv line 4 'LGA', may.csv line 5 ''",
        ),
        (
            "distance",
            "3 of 5 rows (60.00%) do not fit, expected a number from 10 to 5000; "
            "for example may.csv line 3 'NA', may.csv line 4 '22000', may.csv line 6 'far'",
        ),
        ("seats", "1 of 5 rows (20.00%) do not fit, expected a whole number; for example may.csv line 4 '3.5'"),
    ],
)
def test_violations_are_counted_and_reported_with_file_and_line(violations, column: str, text: str) -> None:
    assert str(violations[column]) == text


def test_a_missing_column_is_skipped(violations) -> None:
    assert "gone" not in violations
