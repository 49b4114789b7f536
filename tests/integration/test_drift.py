"""Corrupted spans stop at a node that reports the fault; an unchanged span passes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

Results = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Results]:
    """Return state and reason of each node, by corruption of the month."""
    root = tmp_path_factory.mktemp("root")
    program = Path(__file__).with_name("ingesting.py")
    process = subprocess.run([sys.executable, program, root], capture_output=True, text=True, timeout=580)
    assert process.returncode == 0, process.stderr[-3000:]
    return dict(json.loads(process.stdout.splitlines()[-1]))


def test_the_first_span_is_compared_with_nothing_and_passes(results: dict[str, Results]) -> None:
    assert results["january"]["AnomalyGate"]["state"] == "complete"


def test_an_untouched_month_passes(results: dict[str, Results]) -> None:
    assert results["untouched"]["AnomalyGate"]["state"] == "complete", results["untouched"]["AnomalyGate"]["reason"]


@pytest.mark.parametrize(
    ("column", "kind", "message"),
    [
        ("distance", "drift", "from span 1"),
        ("distance", "range", "do not fit, expected"),
        ("dest_lat", "presence", "do not fit, expected"),
        ("distance", "drift", "are above 4983 (in span 1: 0.00%); for example 3-2.csv line"),
        ("carrier", "domain", "'ZZ'"),
        ("sched_minutes", "drift", "Jensen-Shannon divergence"),
        ("late", "drift", "the label differs from span 1 by"),
        ("late", "drift", "Cohen's h; chi-squared test, p = "),
        ("late", "drift", "are 'yes' (in span 1: "),
        ("sched_minutes", "drift", "5903 of 5903 rows (100.00%) are above 690 (in span 1: 0.00%)"),
    ],
)
def test_a_corrupted_month_stops_at_the_gate(results: dict[str, Results], column, kind, message) -> None:
    gate = results["corrupted"]["AnomalyGate"]
    assert gate["state"] == "invalid"
    (reason,) = [part for part in gate["reason"].split("; column ") if f"{column!r} ({kind})" in part][:1]
    assert message in reason


def test_the_time_column_is_not_compared(results: dict[str, Results]) -> None:
    assert "time_hour" not in results["corrupted"]["AnomalyGate"]["reason"]


def test_violations_are_reported_with_share_file_and_line(results: dict[str, Results]) -> None:
    reason = results["corrupted"]["AnomalyGate"]["reason"]
    assert "rows (" in reason
    assert "2.csv line" in reason


def test_a_type_that_changed_stops_at_the_first_cell(results: dict[str, Results]) -> None:
    ingestion = results["type"]["CsvExampleGen"]
    assert ingestion["state"] == "invalid"
    assert "column 'hour': got" in ingestion["reason"]
    assert "expected a whole number" in ingestion["reason"]
