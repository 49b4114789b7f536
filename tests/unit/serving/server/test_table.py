"""docs/model-server.md names a test or a reason for every behaviour of TF Serving, and every named test exists."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from benison.serving.server.flags import WITHOUT_EFFECT, Flags

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "model-server.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in PAGE.splitlines() if line.startswith("| ")]


def tables(first: str) -> list[list[str]]:
    """Return the rows of the tables whose first column has this name."""
    rows: list[list[str]] = []
    inside = False
    for line in PAGE.splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
            inside = inside or cells[0] == first
            if inside and cells[0] != first and not cells[0].startswith("---"):
                rows.append(cells)
        else:
            inside = False
    return rows


@pytest.mark.parametrize("row", tables("behaviour") + tables("flags"), ids=lambda row: row[0][:60])
def test_every_behaviour_has_a_test_or_a_reason(row):
    assert len(row) == 2
    assert row[1]


def test_every_test_that_is_named_exists():
    code = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    existing = set(re.findall(r"^(?:async )?def (test_\w+)", code, re.MULTILINE))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 50
    assert sorted(named - existing) == []


def test_every_flag_is_listed_once():
    listed = [flag for row in tables("flags") for flag in row[0].strip("`").split()]
    assert sorted(listed) == sorted({f.name for f in fields(Flags)} | WITHOUT_EFFECT.keys())
