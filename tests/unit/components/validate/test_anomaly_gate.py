"""Tests of the gate's anomalies: severity, one per kind and column, and a readable length."""

from __future__ import annotations

from pathlib import Path

import pytest

from benison.pipelines.facts import anomalies
from tests.unit.serving.test_signature_names import NASTY

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


def test_an_anomaly_names_its_column_as_it_is_called(tmp_path: Path) -> None:
    import tensorflow_data_validation as tfdv
    from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

    from benison.components.validate.anomaly_gate import tfdv_anomalies

    statistics = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = statistics.datasets.add(num_examples=3)
    names = [name for name in NASTY if name]
    for name in names:
        common = dataset.features.add(type="INT", path={"step": [name]}).num_stats.common_stats
        common.num_non_missing, common.min_num_values, common.max_num_values = 3, 1, 1
    found = tfdv.validate_statistics(statistics, schema_pb2.Schema())
    assert "'a.b'" in found.anomaly_info, "TFDV quotes such a name"
    (tmp_path / "Split-train").mkdir()
    (tmp_path / "Split-train/SchemaDiff.pb").write_bytes(found.SerializeToString())
    named = {column: kind for column, kind, _ in tfdv_anomalies(tmp_path, "train")}
    assert named == dict.fromkeys(names, "new_column")
    assert {anomaly.column for anomaly in anomalies.read_validation(tmp_path)} == set(names)
