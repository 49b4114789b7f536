"""Tests of the rows that a drift consists of."""

from __future__ import annotations

from pathlib import Path

import pytest

from benison.components.ingest.csv_table import CsvTable
from benison.components.validate.drift_rows import find_drifted_rows, value_shares

DECILES = {"missing": 0.0, "edges": [0.0, 10.0, 20.0], "up_to": [0.0, 0.5, 0.5], "whole": False}
CATEGORY = {"missing": 0.1, "values": {"AA": 0.6, "UA": 0.3}}


def drifted(folder: Path, cells: list[str], before: dict, decimal: str = ".") -> str:
    file = folder / "may.csv"
    file.write_text("x;y\n" + "".join(f"{cell};0\n" for cell in cells))
    table = CsvTable((str(file),), frozenset({"", "NA"}), ";", decimal=decimal)
    return str(find_drifted_rows(table, {"x": before, "gone": before}, 3).get("x"))


@pytest.mark.parametrize(
    ("cells", "before", "message"),
    [
        (
            ["5", "500", "700", "15"],
            DECILES,
            "2 of 4 rows (50.00%) are above 20 (in span 3: 0.00%); for example may.csv line 3 '500', may.csv line 4 '700'",
        ),
        (["5", "-1", "15"], DECILES, "1 of 3 rows (33.33%) are below 0 (in span 3: 0.00%); for example may.csv line 3 '-1'"),
        (
            ["11", "12", "20", "13", "0"],
            DECILES,
            "4 of 5 rows (80.00%) are between 10 and 20 (in span 3: 50.00%); "
            "for example may.csv line 2 '11', may.csv line 3 '12', may.csv line 4 '20'",
        ),
        (["NA", "5", "15"], DECILES, "1 of 3 rows (33.33%) have no value (in span 3: 0.00%); for example may.csv line 2 'NA'"),
        (
            ["AA", "ZZ", "YY"],
            CATEGORY,
            "2 of 3 rows (66.67%) have a value that span 3 did not have (in span 3: 0.00%); "
            "for example may.csv line 3 'ZZ', may.csv line 4 'YY'",
        ),
        (["UA", "UA"], CATEGORY, "2 of 2 rows (100.00%) are 'UA' (in span 3: 30.00%); for example may.csv line 2 'UA', may.csv line 3 'UA'"),
        (["AA"] * 6 + ["UA"] * 3 + [""], CATEGORY, "None"),
    ],
)  # fmt: skip
def test_the_bucket_that_grew_most_is_reported_with_examples(tmp_path: Path, cells, before, message: str) -> None:
    assert drifted(tmp_path, cells, before) == message


def test_decimal_commas_are_read_as_such(tmp_path: Path) -> None:
    assert drifted(tmp_path, ["20,5"], DECILES, decimal=",").startswith("1 of 1 rows (100.00%) are above 20")


def test_the_ends_of_the_earlier_range_are_inside_it_also_in_single_precision(tmp_path: Path) -> None:
    import numpy as np

    ends = {**DECILES, "edges": [float(np.float32(0.1)), 10.0, float(np.float32(20.7))]}
    assert "are between" in drifted(tmp_path, ["0.1", "0.1"], ends)
    assert "are between" in drifted(tmp_path, ["20.7", "20.7"], ends)


def test_shares_are_read_from_statistics() -> None:
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import statistics_pb2

    def feature(text: str):
        return text_format.Parse(text, statistics_pb2.FeatureNameStatistics())

    number = """
        type: FLOAT
        num_stats {
          common_stats { num_non_missing: 8 } min: 1 max: 9
          histograms { type: QUANTILES
            buckets { low_value: 1 high_value: 5 sample_count: 4 }
            buckets { low_value: 5 high_value: 5 sample_count: 2 }
            buckets { low_value: 5 high_value: 9 sample_count: 2 } } }
    """
    assert value_shares(feature(number), 10) == {
        "missing": pytest.approx(0.2),
        "edges": [1, 5, 9],
        "up_to": [0, pytest.approx(0.6), pytest.approx(0.2)],
        "whole": False,
    }
    text = """
        type: STRING
        string_stats { common_stats { num_non_missing: 10 }
          rank_histogram { buckets { label: "a" sample_count: 7 } buckets { label: "b" sample_count: 3 } } }
    """
    assert value_shares(feature(text), 10) == {"missing": 0, "values": {"a": 0.7, "b": 0.3}}
