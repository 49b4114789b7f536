"""What the gate makes of anomalies: one of each kind a column, of a length that can be read, with its severity."""

from __future__ import annotations

import pytest

# TFX and what it imports warn of one another.
pytestmark = pytest.mark.filterwarnings("ignore")

SEVERITY = {"kinds": {"drift": "warn"}, "columns": {"temp": "ignore"}}


@pytest.mark.parametrize(
    ("column", "kind", "severity"),
    [
        ("distance", "range", "stop"),
        ("distance", "drift", "warn"),
        ("distance", "new_column", "warn"),
        ("temp", "drift", "ignore"),
        ("temp", "range", "ignore"),
    ],
)
def test_a_columns_severity_counts_before_its_kinds(column: str, kind: str, severity: str) -> None:
    from benison.components.validate.anomaly_gate import Anomaly, severity_of

    assert severity_of(Anomaly(column, kind, "", ""), SEVERITY) == severity


def test_what_each_split_says_of_a_column_is_told_once() -> None:
    from benison.components.validate.anomaly_gate import Anomaly, _deduplicate

    train = Anomaly("carrier", "domain", "", "ZZ (~17%)")
    other = Anomaly("", "other", "", "too few rows")
    assert _deduplicate([train, other, Anomaly("carrier", "domain", "", "ZZ (~15%)"), other]) == [train, other]


def test_a_hundred_thousand_new_values_are_cut_short() -> None:
    from benison.components.validate.anomaly_gate import _shorten

    said = _shorten(
        "Examples contain values missing from the schema: " + ", ".join(f"isle{i} (<1%)" for i in range(100_000))
    )
    assert said.startswith("Examples contain values missing from the schema: isle0 (<1%), isle1 (<1%), ")
    assert said.endswith(" (<1%), …")
    assert len(said) < 310
