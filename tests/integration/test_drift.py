"""What corrupted spans are caught by, and that an untouched one is not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

Said = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Said]:
    """By corruption of the month, each node's state and reason."""
    root = tmp_path_factory.mktemp("root")
    program = Path(__file__).with_name("ingesting.py")
    done = subprocess.run([sys.executable, program, root], capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_the_first_span_is_compared_with_nothing_and_passes(said: dict[str, Said]) -> None:
    assert said["january"]["AnomalyGate"]["state"] == "complete"


def test_an_untouched_month_passes(said: dict[str, Said]) -> None:
    assert said["untouched"]["AnomalyGate"]["state"] == "complete", said["untouched"]["AnomalyGate"]["reason"]


@pytest.mark.parametrize(
    ("corruption", "column", "kind", "telling"),
    [
        ("currency", "distance", "drift", "from span 1"),
        ("currency", "distance", "range", "do not fit, expected"),
        ("nulls", "dest_lat", "presence", "do not fit, expected"),
        ("currency", "distance", "drift", "lie above 4983 (in span 1: 0.00%); such as 3-2.csv line"),
        ("category", "carrier", "domain", "'ZZ'"),
        ("unit", "sched_minutes", "drift", "Jensen-Shannon divergence"),
        ("unit", "sched_minutes", "drift", "5903 of 5903 rows (100.00%) lie above 690 (in span 1: 0.00%)"),
    ],
)
def test_a_corrupted_month_stops_at_the_gate(said: dict[str, Said], corruption, column, kind, telling) -> None:
    gate = said[corruption]["AnomalyGate"]
    assert gate["state"] == "invalid"
    (reason,) = [part for part in gate["reason"].split("; column ") if f"{column!r} ({kind})" in part][:1]
    assert telling in reason


def test_misfits_are_shown_with_share_file_and_line(said: dict[str, Said]) -> None:
    reason = said["category"]["AnomalyGate"]["reason"]
    assert "rows (" in reason
    assert "2.csv line" in reason


def test_a_type_that_changed_stops_at_the_first_cell(said: dict[str, Said]) -> None:
    gen = said["type"]["CsvExampleGen"]
    assert gen["state"] == "invalid"
    assert "column 'hour': got" in gen["reason"]
    assert "expected a whole number" in gen["reason"]
