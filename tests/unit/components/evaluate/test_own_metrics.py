"""A user's own metric: a weighted mean of its numbers per row, or a number that it makes of the weights."""

from __future__ import annotations

import numpy as np
import pytest

from benison.components.evaluate import own_metrics
from benison.components.evaluate.bootstrap import bootstrap, percentile_interval
from benison.components.evaluate.metrics import MOST_LIKELY, Decision, metric_for
from benison.components.evaluate.own_metrics import OwnMetric
from benison.components.evaluate.rules import Rule, judge
from benison.components.train.dry_run import Project
from benison.serving.errors import DataError, UsageError

CODE = """
import numpy as np

def profit(labels, decisions):
    return 10 * (labels * decisions) - 1.0 * decisions

def total(labels, decisions, weights):
    return (weights * profit(labels, decisions)).sum() / weights.sum()

def one_number(labels):
    return 3.0

def per_row(labels, weights):
    return weights

def fails(labels):
    return labels[10**6]

def misspelt(label, predictions):
    return predictions

def far(labels, predictions, limit=2.0):
    return np.abs(labels - predictions) > limit
"""
LABELS = np.array([0, 1, 1, 0] * 20)
ANSWERS = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.4, 0.6]] * 20)


@pytest.fixture
def load(tmp_path):
    (tmp_path / "own.py").write_text(CODE)

    def load(function, problem="binary", decision=MOST_LIKELY, **options):
        own = OwnMetric(function, f"{tmp_path}/own.py:{function}", **options)
        return own_metrics.load([own], problem, decision, ["no", "yes"])[function]

    return load


def test_a_metric_per_row_is_the_weighted_mean_of_the_decisions_at_the_threshold(load):
    assert load("profit").compute(LABELS, ANSWERS) == pytest.approx((9 - 1) / 4)
    weights = np.tile([1.0, 1, 3, 1], 20)
    assert load("profit").compute(LABELS, ANSWERS, weights) == pytest.approx((27 - 1) / 6)
    assert load("profit", decision=Decision(0.3)).compute(LABELS, ANSWERS) == pytest.approx((9 + 9 - 1) / 4)


def test_a_metric_that_takes_the_weights_has_the_same_interval_as_the_equal_one_per_row(load):
    of_rows, of_weights = (bootstrap(load(name), LABELS, [ANSWERS], 50)[0] for name in ("profit", "total"))
    assert of_weights == pytest.approx(of_rows)
    assert percentile_interval(of_weights, 0.9).low < 2 < percentile_interval(of_weights, 0.9).high


def test_a_metric_of_a_regression_takes_numbers_and_may_have_defaults(load):
    far = load("far", "regression", larger_is_better=False)
    assert far.compute(np.array([[0.0], [0.0]]), np.array([[1.0], [5.0]])) == 0.5
    assert not far.greater_is_better


def test_rules_can_be_about_an_own_metric(load):
    own = {"profit": load("profit")}
    rules = [Rule("profit", min=1.5), Rule("profit", min=2.5)]
    report = judge(
        problem="binary", metric="profit", labels=LABELS, ensemble=ANSWERS, reference=np.array([0.5, 0.5]), rules=rules,
        own=own,
    )  # fmt: skip
    assert [verdict.passed for verdict in report.verdicts[2:]] == [True, False]
    assert metric_for("profit", "binary", own=own).name == "profit"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("one_number", r"returned one number for 80 rows, expected one number per row \[80\]; or take `weights`"),
        ("per_row", r"returned shape \[80\], expected one number"),
        ("fails", r"own.py, line 17: the metric failed: IndexError"),
    ],
)
def test_a_metric_that_does_not_do_what_it_must_is_named_with_its_file(load, function, message):
    with pytest.raises(DataError, match=message):
        load(function).compute(LABELS, ANSWERS)


def test_an_unknown_argument_is_named_with_a_close_one(load):
    with pytest.raises(UsageError, match=r"takes 'label', expected arguments among labels, .*did you mean 'labels'"):
        load("misspelt")


def test_validate_lists_the_mistakes_of_all_metrics_by_their_keys(tmp_path):
    (tmp_path / "own.py").write_text(CODE)
    metrics = {f"metrics.{name}": f"{tmp_path}/own.py:{name}" for name in ("profit", "fails", "misspelt", "gone")}
    project = Project("", {}, "y", "binary", [], metrics=metrics)
    lines = own_metrics.mistakes(project)
    assert [line.partition(":")[0] for line in lines] == ["metrics.fails", "metrics.misspelt", "metrics.gone"]
