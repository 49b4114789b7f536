"""Tests of LabelCheck: a column that alone predicts the label is suspicious, one that only helps is not."""

from __future__ import annotations

import numpy as np
import pytest

from benison.components.evaluate import label_report
from benison.components.evaluate.metrics import METRICS
from benison.components.validate import label_check, leaks
from benison.serving.errors import DataError

RNG = np.random.default_rng(3)
ROWS = 4000
LATE = RNG.random(ROWS) < 0.2
LABEL = np.where(LATE, "yes", "no")


@pytest.mark.parametrize(
    ("values", "suspicious"),
    [
        (np.where(LATE, "arrived late", "arrived"), True),
        (LATE * 30.0 + RNG.random(ROWS), True),
        (np.where(LATE, RNG.random(ROWS), np.nan), True),
        (np.where(LATE, "", RNG.choice(["a", "b"], ROWS)), True),
        (LATE * 1.0 + RNG.normal(0, 1, ROWS), False),
        (np.array([f"id-{i}" for i in range(ROWS)]), False),
        (np.arange(ROWS, dtype=float), False),
        (np.full(ROWS, "same"), False),
        (np.full(ROWS, np.nan), False),
    ],
)
def test_a_column_that_predicts_a_binary_label_is_suspicious(values: np.ndarray, suspicious: bool) -> None:
    assert (leaks.predictive_power(values, LABEL, regression=False) >= leaks.LEAK_THRESHOLD) == suspicious


@pytest.mark.parametrize("rows", [120, 180, 1200])
def test_an_id_that_sorts_by_the_label_is_suspicious_in_small_tables(rows: int) -> None:
    ids = RNG.permutation(rows).astype(float)
    several = np.array(["a", "b", "c"])[(ids * 3 // rows).astype(int)]
    assert leaks.predictive_power(ids, several, regression=False) >= leaks.LEAK_THRESHOLD
    binary = np.where(ids < 0.4 * rows, "no", "yes")
    ids[:2] = np.nan
    assert leaks.predictive_power(ids, binary, regression=False) >= leaks.LEAK_THRESHOLD
    assert leaks.predictive_power(RNG.random(rows), several, regression=False) < 0.7


def test_a_copy_of_a_label_that_alternates_from_row_to_row_is_suspicious() -> None:
    label = np.array(["no", "yes"] * 300)
    assert leaks.predictive_power(np.char.add(label, "!"), label, regression=False) == pytest.approx(1)


def test_a_copy_of_the_label_with_missing_cells_is_suspicious() -> None:
    missing = RNG.random(ROWS) < 0.2
    copy = np.where(missing, "", LABEL)
    assert leaks.predictive_power(copy, LABEL, regression=False) == pytest.approx(1)
    assert leaks.predictive_power(np.where(missing, np.nan, LATE), LABEL, regression=False) == pytest.approx(1)
    price = RNG.normal(100, 20, ROWS)
    assert leaks.predictive_power(np.where(missing, np.nan, price), price, regression=True) >= 0.99


def test_predictive_power_for_several_classes() -> None:
    label = RNG.choice(["a", "b", "c"], ROWS)
    assert leaks.predictive_power(np.char.add(label, "!"), label, regression=False) == pytest.approx(1)
    assert leaks.predictive_power(RNG.choice(["x", "y"], ROWS), label, regression=False) == pytest.approx(0.5, abs=0.05)


def test_a_small_table_shows_what_a_column_alone_explains() -> None:
    """With a few rows per quantile, the means of quantiles are worse than the mean of all rows."""
    rng = np.random.default_rng(4)
    numbers, texts = rng.normal(size=(2, 440)), rng.choice(["u", "v", "w"], 440)
    label = 7 * numbers[0] - 9 * numbers[1] + 5 * (texts == "v") - 5 * (texts == "w") + rng.normal(0, 2, 440)
    explained = [np.corrcoef(number, label)[0, 1] ** 2 for number in numbers]
    found = [leaks.predictive_power(number, label, regression=True) for number in numbers]
    assert found == pytest.approx(explained, abs=0.12)
    assert 0.05 < leaks.predictive_power(texts, label, regression=True) < 0.25


def test_predictive_power_for_a_number() -> None:
    price = RNG.normal(100, 20, ROWS)
    assert leaks.predictive_power(price * 1.1, price, regression=True) >= 0.97
    assert leaks.predictive_power(RNG.normal(0, 1, ROWS), price, regression=True) < 0.1


def test_a_label_with_one_class_cannot_be_predicted() -> None:
    assert leaks.predictive_power(LATE * 1.0, np.full(ROWS, "no"), regression=False) == 0.5


def test_a_suspicion_names_column_and_figure_and_asks_the_question() -> None:
    report = {"columns": {"delay": 0.9991, "hour": 0.6}, "suspicious": ["delay"], "severity": {"delay": "warn"}}
    sentence = "column 'delay' alone predicts the label (0.9991 of 1): is it known before the label?"
    assert label_report.suspicions(report, "warn") == {"delay": sentence}
    assert label_report.suspicions(report, "stop") == {}
    (verdict,) = label_report.accepted(report)
    assert verdict["rule"] == "suspicious column delay"
    assert verdict["reason"] == f"{sentence} (accepted)"
    assert label_report.accepted({**report, "severity": {"delay": "ignore"}}) == []


SEEDS = range(20)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_number_whose_own_auc_is_0_99_is_suspicious_also_in_few_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    late = rng.random(900) < 0.5
    wrong = rng.permutation(900) < 6
    column = ((late ^ wrong) + rng.uniform(0, 0.9, 900)).round(4)
    auc = METRICS["auc"].compute(late.astype(np.int64), np.stack([-column, column], axis=1))
    power = leaks.predictive_power(column, np.where(late, "yes", "no"), regression=False)
    assert power >= auc - 1e-9
    assert leaks.predictive_power(-column, np.where(late, "yes", "no"), regression=False) >= auc - 1e-9


@pytest.mark.parametrize("seed", SEEDS)
def test_a_copy_of_the_label_and_a_coarse_copy_are_suspicious_and_noise_is_not(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = {"binary": rng.choice(["no", "yes"], 1200, p=[0.8, 0.2]), "multiclass": rng.choice([*"abcd"], 1200)}
    for label in classes.values():
        ids = np.unique(label, return_inverse=True)[1].astype(float)
        # One row in two hundred is wrong, and the rest is the class with noise that does not hide it.
        coarse = np.where(rng.random(1200) < 0.005, rng.permutation(ids), ids) + rng.uniform(0, 0.9, 1200)
        for column in (np.char.add("was ", label), ids, coarse):
            assert leaks.predictive_power(column, label, regression=False) >= leaks.LEAK_THRESHOLD
        for column in (rng.permutation(label), rng.normal(size=1200), ids + rng.normal(0, 1, 1200)):
            assert leaks.predictive_power(column, label, regression=False) < leaks.LEAK_THRESHOLD
    for price in (rng.normal(100, 20, 1200), rng.pareto(1.5, 1200), rng.exponential(1, 1200)):
        for column in (price, -3 * price + 1, np.log(price - price.min() + 1), np.round(price, 1)):
            assert leaks.predictive_power(column, price, regression=True) >= leaks.LEAK_THRESHOLD
        for column in (rng.permutation(price), price + rng.normal(0, price.std() / 2, 1200), rng.normal(size=1200)):
            assert leaks.predictive_power(column, price, regression=True) < leaks.LEAK_THRESHOLD


@pytest.mark.parametrize(
    ("label", "regression", "message"),
    [
        (np.array([]), False, "no row of train has a label; expected at least two"),
        (np.array(["a", "a"]), False, "all 2 rows of train have the same class, a"),
        (
            np.arange(100).astype(str),
            False,
            "100 classes in 100 rows of train, such as 0; expected classes that appear more than once",
        ),
        (np.array([1.5, 1.5]), True, "all 2 rows of train have the same number, 1.5"),
    ],
)
def test_a_label_that_cannot_be_learned_is_refused(label, regression: bool, message: str) -> None:
    with pytest.raises(DataError, match=message):
        label_check.check_classes("late", label, regression)


def test_a_label_that_is_rounded_as_a_32_bit_float_is_refused() -> None:
    seconds = 1_600_000_000 + np.linspace(-500, 500, 100)
    with pytest.raises(DataError, match=r"as large as 1600000500, where 32-bit floats are 128 apart, .* only 292: "):
        label_check.check_precision("seen", seconds)
    label_check.check_precision("seen", seconds - 1_600_000_000)
    label_check.check_precision("seen", 1_600_000_000 + np.linspace(-5e7, 5e7, 100))  # of three years
    label_check.check_precision("seen", np.array([1e9]))


def test_a_regression_needs_numbers() -> None:
    label_check.check_numbers("price", np.array([1.5, np.nan]))
    with pytest.raises(DataError, match=r"problem is regression, but the label is text in the schema, such as '1,200'"):
        label_check.check_numbers("price", np.array(["12", "", "1,200"]))


def test_rows_without_a_label_are_recognised() -> None:
    assert list(label_check.has_label(np.array(["a", "", "b"]))) == [True, False, True]
    assert list(label_check.has_label(np.array([1.0, np.nan]))) == [True, False]


def test_of_many_classes_only_the_most_frequent_ones_are_distinguished() -> None:
    label = RNG.integers(0, 2000, 10_000).astype(str)
    assert leaks.predictive_power(label, label, regression=False) == pytest.approx(1, abs=0.01)
    assert leaks.predictive_power(RNG.permutation(label), label, regression=False) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("rows", "positives"), [(30, 1), (60, 3), (200, 2), (500, 5)])
def test_noise_is_no_leak_in_a_small_table_or_with_few_positives(rows: int, positives: int) -> None:
    rng = np.random.default_rng(0)
    label = np.array(["y"] * positives + ["n"] * (rows - positives))
    for _ in range(200):
        noise = rng.normal(size=rows)
        noise[rng.random(rows) < 0.3] = np.nan
        assert leaks.predictive_power(noise, rng.permutation(label), regression=False) < 0.99
