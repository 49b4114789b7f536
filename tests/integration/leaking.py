"""Penguins with a ring whose colour depends on the species; one species has no ring."""

from __future__ import annotations

import csv

from tests.integration.conftest import Project

WARNING = "column 'ring' alone predicts the label (1.0000 of 1): is it known before the label?"


def add_rings(project: Project) -> None:
    """Add the column `ring` to the project's CSV."""
    with project.csv.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with project.csv.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [*rows[0], "ring"])
        writer.writeheader()
        writer.writerows({**row, "ring": {"Adelie": "red", "Gentoo": "blue"}.get(row["species"], "")} for row in rows)
