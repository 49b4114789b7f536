"""Tests of the gate's anomalies: severity, one per kind and column, and a readable length."""

from __future__ import annotations

from pathlib import Path

import pytest

# TFX and its dependencies emit warnings about one another.
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
def test_the_severity_of_a_column_overrides_that_of_a_kind(column: str, kind: str, severity: str) -> None:
    from benison.components.validate.anomaly_gate import Anomaly, severity_of

    assert severity_of(Anomaly(column, kind, "", ""), SEVERITY) == severity


def write_anomalies(folder: Path, split: str, descriptions: dict[str, str], *, whole: str = "") -> None:
    """Write ExampleValidator's output for one split: new values by column, and a fault of the whole data set."""
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    message = anomalies_pb2.Anomalies()
    for column, description in descriptions.items():
        message.anomaly_info[column].reason.add(
            type=anomalies_pb2.AnomalyInfo.ENUM_TYPE_UNEXPECTED_STRING_VALUES, description=description
        )
    if whole:
        message.dataset_anomaly_info.reason.add(description=whole)
    file = folder / f"Split-{split}" / "SchemaDiff.pb"
    file.parent.mkdir()
    file.write_bytes(message.SerializeToString())


def test_an_anomaly_of_several_splits_is_reported_once(tmp_path: Path) -> None:
    from benison.components.validate.anomaly_gate import Anomaly, schema_anomalies

    write_anomalies(tmp_path, "train", {"carrier": "ZZ (~17%)"}, whole="too few rows")
    write_anomalies(tmp_path, "test", {"carrier": "ZZ (~15%)"}, whole="too few rows")
    assert schema_anomalies(tmp_path, ["train", "test"]) == [
        Anomaly("", "other", "", "too few rows"),
        Anomaly("carrier", "domain", "", "ZZ (~17%)"),
    ]


def test_a_missing_column_is_compared_with_the_new_ones(tmp_path: Path) -> None:
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    from benison.components.validate.anomaly_gate import schema_anomalies

    message = anomalies_pb2.Anomalies()
    for column, kind in {
        "age": "SCHEMA_MISSING_COLUMN",
        "sex": "SCHEMA_MISSING_COLUMN",
        "Age": "SCHEMA_NEW_COLUMN",
    }.items():
        message.anomaly_info[column].reason.add(type=anomalies_pb2.AnomalyInfo.Type.Value(kind), description=kind)
    (tmp_path / "Split-train").mkdir()
    (tmp_path / "Split-train" / "SchemaDiff.pb").write_bytes(message.SerializeToString())
    texts = {anomaly.column: anomaly.text for anomaly in schema_anomalies(tmp_path, ["train"])}
    assert texts["age"] == "SCHEMA_MISSING_COLUMN; did you mean 'Age'?"
    assert texts["sex"] == "SCHEMA_MISSING_COLUMN"


def test_a_list_of_a_hundred_thousand_new_values_is_shortened(tmp_path: Path) -> None:
    from benison.components.validate.anomaly_gate import schema_anomalies

    values = ", ".join(f"isle{i} (<1%)" for i in range(100_000))
    write_anomalies(tmp_path, "train", {"island": f"Examples contain values missing from the schema: {values}"})
    (anomaly,) = schema_anomalies(tmp_path, ["train"])
    assert anomaly.text.startswith("Examples contain values missing from the schema: isle0 (<1%), isle1 (<1%), ")
    assert anomaly.text.endswith(" (<1%), …")
    assert len(anomaly.text) < 310
