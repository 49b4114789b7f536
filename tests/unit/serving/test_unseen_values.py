"""A prediction names the values that its model cannot know."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from benison.serving import unseen_values
from benison.serving.versions.local import Version
from benison.serving.versions.manifest import DateForm, Manifest

SCHEMA = """
feature { name: "smoker" type: BYTES domain: "smoker" value_count { min: 1 max: 1 } }
feature { name: "body mass" type: FLOAT float_domain { min: 0 max: 300 } value_count { min: 1 max: 1 } }
feature { name: "town" type: BYTES }
feature { name: "zip" type: BYTES }
feature { name: "when" type: BYTES }
string_domain { name: "smoker" value: "0" value: "1" }
"""
MISSING: dict[str, Any] = {"smoker": "", "body_mass": math.nan, "town": "", "zip": "", "when": ""}


@pytest.fixture
def version(tmp_path: Path) -> Version:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra/schema.pbtxt").write_text(SCHEMA)
    (tmp_path / "assets/trees.columns").write_bytes(b"0:Bern\n0:yes\n0-2\n1:00123\n1:line\\nbreak\n1-2\n")
    date = DateForm(format="%d/%m/%Y", pattern=r"(\d{1,2})/(\d{1,2})/(\d{4})", letters="dmY")
    vocabularies = {"trees": ("town", "zip"), "categories": ("town",)}
    return Version(1, tmp_path, Manifest(dates={"when": date}, vocabularies=vocabularies))


def lines(version: Version, **values: list[Any]) -> list[str]:
    return list(unseen_values.find(version, values, MISSING))


def test_values_of_training_and_missing_ones_are_no_line(version: Version) -> None:
    known = lines(
        version,
        smoker=["1", "0", ""],
        body_mass=[0.0, 300.0, math.nan],
        town=["Bern", "", "yes"],
        zip=["00123", "line\nbreak", ["00123", ""]],
        when=["29/02/2024", "", "1/1/2023"],
        another=["x", "", "y"],
    )
    assert known == []


@pytest.mark.parametrize(
    ("column", "values", "line"),
    [
        (
            "smoker",
            ["1.0", "", "1", "0.0"],
            "column 'smoker': 2 of 4 rows have values that the model has never seen: '1.0' (it knows '1'), '0.0' (it knows '0')",
        ),
        ("smoker", ["True"], "column 'smoker': 1 of 1 rows have values that the model has never seen: 'True' (it knows '1')"),
        ("town", ["bern ", "N/A"], "column 'town': 2 of 2 rows have values that the model has never seen: 'bern ' (it knows 'Bern'), 'N/A'"),
        ("zip", ["123"], "column 'zip': 1 of 1 rows have values that the model has never seen: '123' (it knows '00123')"),
        ("town", [*"abcd", "a"], "column 'town': 5 of 5 rows have values that the model has never seen: 'a', 'b', 'c', ..."),
        ("town", [["Bern", "x"], ["z", "x"]], "column 'town': 2 of 2 rows have values that the model has never seen: 'x', 'z'"),
        (
            "when",
            ["2024-02-28", "12/31/2023", "31/12/2023"],
            "column 'when': 2 of 3 rows are no dates of the form that the model reads (%d/%m/%Y), and count as missing: "
            "'2024-02-28', '12/31/2023'",
        ),
        (
            "body_mass",
            [70.5, 70500.0],
            "column 'body mass': 1 of 2 rows are beyond the limits of the schema (0 to 300), so training had none such: 70500",
        ),
    ],
)  # fmt: skip
def test_values_that_the_model_cannot_know_are_a_line(
    version: Version, column: str, values: list[Any], line: str
) -> None:
    assert lines(version, **{column: values}) == [line]


def test_a_version_of_another_tool_has_no_values_to_know(tmp_path: Path) -> None:
    assert lines(Version(1, tmp_path, Manifest()), smoker=["1.0"]) == []
