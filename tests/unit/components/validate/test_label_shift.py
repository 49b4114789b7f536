"""A change of the label between two spans needs both: a test that chance does not explain it, and a size."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benison.components import label_values
from benison.components.validate import drift_report
from benison.components.validate.label_shift import CLASSES_LIMIT, NUMBERS_LIMIT, LabelShift, of_classes, of_numbers


def alarms(shift: LabelShift, limit: float) -> bool:
    return drift_report.drifted({**shift.to_json(), "threshold": limit})


@pytest.mark.parametrize(
    ("before", "now", "rows", "alarm"),
    [
        (0.62, 0.90, 1000, True),
        (0.62, 0.90, 10, False),  # chance explains it
        (0.62, 0.63, 1_000_000, False),  # chance does not explain it, but it is small
        (0.17, 0.33, 28_000, False),  # two months of flights
        (0.01, 0.20, 1000, True),
        (0.5, 0.5, 1000, False),
    ],
)
def test_a_change_of_the_share_of_a_class_alarms_if_it_is_large_and_no_chance(
    before: float, now: float, rows: int, alarm: bool
) -> None:
    counts = [Counter(yes=round(share * rows), no=rows - round(share * rows)) for share in (before, now)]
    assert alarms(of_classes(*counts), CLASSES_LIMIT) == alarm


def test_the_size_is_cohens_h_and_the_shares_are_shown() -> None:
    shift = of_classes(Counter(yes=620, no=380), Counter(yes=900, no=100))
    assert shift.distance == pytest.approx(2 * abs(np.arcsin(0.62**0.5) - np.arcsin(0.9**0.5)))
    assert shift.p < 1e-40
    assert shift.before == "'no' 38.0%, 'yes' 62.0% of 1000 rows"
    assert shift.now == "'no' 10.0%, 'yes' 90.0% of 1000 rows"
    described = drift_report.description({**shift.to_json(), "threshold": 0.5}, 3)
    assert described.startswith("the label differs from span 3 by 0.685 (Cohen's h; chi-squared test, p = ")
    assert "), the limit is 0.5; before: 'no' 38.0%, 'yes' 62.0% of 1000 rows, now:" in described


def test_many_rare_classes_are_no_alarm_by_themselves() -> None:
    rng = np.random.default_rng(0)
    alarmed = 0
    for _ in range(100):
        before, now = (Counter(map(str, rng.integers(0, 60, 80))) for _ in range(2))
        alarmed += alarms(of_classes(before, now), CLASSES_LIMIT)
    assert alarmed == 0
    assert of_classes(Counter(a=1), Counter(a=2)).p == 1


@pytest.mark.parametrize(("moved", "rows", "alarm"), [(0.0, 5000, False), (0.1, 50_000, False), (0.8, 2000, True)])
def test_a_number_that_moves_by_most_of_a_deviation_alarms(moved: float, rows: int, alarm: bool) -> None:
    rng = np.random.default_rng(1)
    assert (
        alarms(of_numbers(*((rng.normal(mean, 1, rows), np.ones(rows)) for mean in (0, moved))), NUMBERS_LIMIT) == alarm
    )


def test_the_worst_columns_are_those_that_drifted_then_those_nearest_to_their_limit() -> None:
    report = {
        "features": {
            "near": {"distance": 0.09, "threshold": 0.1},
            "far": {"distance": 0.01, "threshold": 0.1},
            "label": {"distance": 0.9, "threshold": 0.5, "p": 0.2},
            "drifted": {"distance": 0.11, "threshold": 0.1},
        }
    }
    assert drift_report.worst(report, 3) == ["drifted", "label", "near"]
    assert drift_report.size(report["features"]["label"]) == "0.900 of 0.5 (p = 0.2)"
    assert drift_report.worst({"features": {}}, 3) == []


def test_the_test_of_numbers_is_scipys_and_a_row_of_weight_three_is_three_rows() -> None:
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(2)
    before, now = np.round(rng.normal(0, 1, 300), 1), np.round(rng.normal(0.3, 1, 200), 1)
    expected = ks_2samp(before, now, method="asymp")
    equal = of_numbers((before, np.ones(300)), (now, np.full(200, 7.0)))
    assert (equal.distance, equal.p) == pytest.approx((expected[0], expected[1]))
    weights = rng.choice([1.0, 3.0], 200)
    weighted = of_numbers((before, np.ones(300)), (now, weights))
    repeated = of_numbers((before, np.ones(300)), (np.repeat(now, weights.astype(int)), np.ones(int(weights.sum()))))
    assert weighted.distance == pytest.approx(repeated.distance)
    assert weighted.p > repeated.p  # fewer rows tell less


def test_rows_of_a_span_count_by_their_weight(tmp_path: Path) -> None:
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(tmp_path / "rows.gz"), "GZIP") as writer:
        for label, weight in [(b"yes", 1.0), (b"yes", 0.0), (b"", 5.0), (b"no", 3.0), (b"yes", 2.0)]:
            features = {
                "y": tf.train.Feature(bytes_list=tf.train.BytesList(value=[label])),
                "w": tf.train.Feature(float_list=tf.train.FloatList(value=[weight])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    values, weights = label_values.of_span(str(tmp_path), "y", "w")
    assert (values.tolist(), weights.tolist()) == ([b"yes", b"no", b"yes"], [1, 3, 2])
    values, weights = label_values.of_span(str(tmp_path), "y", "absent")
    assert (len(values), weights.tolist()) == (4, [1, 1, 1, 1])
    assert len(label_values.of_span(str(tmp_path), "absent")[0]) == 0
