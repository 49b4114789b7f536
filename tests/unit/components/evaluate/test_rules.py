"""Tests of the blessing's rules: which candidates pass or are refused, and the reasons."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from benison.components.evaluate.judged_rows import MemberChoice
from benison.components.evaluate.metrics import Decision
from benison.components.evaluate.rules import Rule, judge
from benison.components.evaluate.verdicts import BlessingReport, Verdict, verdict_line
from benison.serving.errors import DataError, UsageError

BETTER = "better_than_majority"
ROWS = 70
LABELS = np.array([0] * 31 + [1] * 24 + [2] * 15)
FREQUENCIES = np.array([0.44, 0.35, 0.21])
TARGETS = np.linspace(10, 20, ROWS)[:, None]
MEAN = np.array([15.0])


def right_in(share: float, labels=LABELS, classes: int = 3):
    """Return probabilities with the accuracy `share`, evenly over the rows; errors predict the next class."""
    hits = np.floor(np.arange(1, len(labels) + 1) * share) > np.floor(np.arange(len(labels)) * share)
    chosen = np.where(hits, labels, (labels + 1) % classes)
    return np.eye(classes)[chosen] * 0.8 + 0.2 / classes


def judged(**changes) -> BlessingReport:
    """Judge a good three-class candidate while nothing is served, with changes."""
    arguments = {
        "problem": "multiclass",
        "metric": "accuracy",
        "labels": LABELS,
        "ensemble": right_in(0.95),
        "reference": FREQUENCIES,
        "resamples": 300,
    }
    return judge(**(arguments | changes))


def off_by(error: float):
    """Return predictions that are alternately too high and too low, by about `error`."""
    return TARGETS + error * np.where(np.arange(ROWS) % 2, 1, -1)[:, None] * np.linspace(0.5, 1.5, ROWS)[:, None]


@pytest.mark.parametrize(("sharpness", "warned"), [(1.0, False), (8.0, True)])
def test_probabilities_that_say_less_than_the_frequencies_are_a_warning(sharpness, warned):
    """The order of the rows is the same, so that auc is; only the probabilities are too sure."""
    rng = np.random.default_rng(3)
    logit = rng.normal(-1.5, 1, 2000)
    labels = (rng.random(2000) < 1 / (1 + np.exp(-logit))).astype(int)
    yes = 1 / (1 + np.exp(-(logit * sharpness)))
    report = judged(
        problem="binary",
        metric="auc",
        labels=labels,
        ensemble=np.stack([1 - yes, yes], axis=1),
        reference=np.array([1 - labels.mean(), labels.mean()]),
    )
    assert report.blessed
    warnings = {verdict.rule: verdict.reason for verdict in report.verdicts if verdict.warning}
    assert set(warnings) == ({"probabilities"} if warned else set())
    assert all("do not use the probabilities" in reason for reason in warnings.values())


def judged_regression(error: float, **changes) -> BlessingReport:
    arguments = {
        "problem": "regression",
        "metric": "rmse",
        "labels": TARGETS,
        "ensemble": off_by(error),
        "reference": MEAN,
    }
    return judged(**(arguments | changes))


def verdict(blessing: BlessingReport, rule: str) -> Verdict:
    (result,) = [verdict for verdict in blessing.verdicts if verdict.rule == rule]
    return result


def test_a_good_first_candidate_is_blessed_by_both_default_rules():
    blessing = judged()
    assert blessing.blessed
    assert [verdict.rule for verdict in blessing.verdicts] == ["better_than_majority", "not_worse_than_served"]


def test_better_than_majority_reports_the_gain():
    passed = verdict(judged(), "better_than_majority")
    assert passed.passed
    assert passed.value == pytest.approx(66 / 70)
    assert passed.bound == pytest.approx(31 / 70)
    low, high = passed.interval
    assert 0 < low < 0.5 < high < 1
    assert passed.reason == (
        f"accuracy 0.943 is above the majority class's 0.443 by 0.5 (99.9 % interval {low:.3g} to {high:.3g})"
    )


@pytest.mark.parametrize(
    "ensemble", [right_in(0.44), right_in(0.5), right_in(0.1)], ids=["equal", "by chance", "worse"]
)
def test_a_candidate_not_significantly_better_than_the_majority_is_refused(ensemble):
    blessing = judged(ensemble=ensemble)
    refused = verdict(blessing, "better_than_majority")
    assert not blessing.blessed
    assert not refused.passed
    assert refused.interval[0] <= 0
    assert "is not significantly above the majority class's 0.443: the gain is " in refused.reason
    assert refused.reason.endswith("; its whole interval must be above 0")


def test_the_majority_class_is_that_of_training_not_of_test():
    assert verdict(judged(reference=np.array([0.2, 0.2, 0.6])), "better_than_majority").bound == pytest.approx(15 / 70)


@pytest.mark.parametrize(("metric", "bound"), [("auc", 0.5), ("log_loss", -np.log(FREQUENCIES)[LABELS].mean())])
def test_the_reference_predicts_the_class_frequencies(metric, bound):
    assert verdict(judged(metric=metric), "better_than_majority").bound == pytest.approx(bound, rel=1e-5)


# Of 100 rows 30 are positive. The model gives negatives 0.25 and positives 0.35, the opposite in every eleventh row.
BINARY_LABELS = np.array([0] * 70 + [1] * 30)
RISK = np.where((np.arange(100) % 11 == 0) ^ (BINARY_LABELS == 1), 0.35, 0.25)


@pytest.mark.parametrize(
    ("threshold", "accuracy", "blessed"),
    [(0.3, 0.9, True), (None, 0.7, False), (0.1, 0.3, False)],
    ids=["a good threshold", "never positive", "always positive"],
)
def test_rules_on_accuracy_are_about_the_decision_and_the_guess_is_the_majority(threshold, accuracy, blessed):
    blessing = judged(
        problem="binary",
        labels=BINARY_LABELS,
        ensemble=np.stack([1 - RISK, RISK], axis=1),
        reference=np.array([0.7, 0.3]),
        rules=[Rule("accuracy", min=0.85), Rule("accuracy", min=0.85, slices=("half",), rows=10)],
        slices={"half": np.array(["a", "b"] * 50)},
        decision=Decision(threshold),
    )
    assert blessing.blessed == blessed
    assert verdict(blessing, "accuracy >= 0.85").value == pytest.approx(accuracy)
    assert verdict(blessing, "accuracy >= 0.85 by half").passed == blessed
    assert verdict(blessing, "better_than_majority").bound == pytest.approx(0.7)


def test_a_loss_is_better_when_it_is_below():
    passed = verdict(judged(metric="log_loss"), "better_than_majority")
    assert passed.passed
    assert passed.interval[0] > 0
    assert "is below the majority class's" in passed.reason


@pytest.mark.parametrize(("error", "passes"), [(0.5, True), (3.0, False), (9.0, False)])
def test_a_regression_must_be_better_than_the_mean(error, passes):
    result = verdict(judged_regression(error), "better_than_mean")
    assert result.passed is passes
    assert (
        "is below the mean's 2.93 by" if passes else "is not significantly below the mean's 2.93: the gain"
    ) in result.reason


def test_the_guess_by_the_absolute_error_is_the_median():
    result = verdict(judged_regression(0.5, metric="mae", reference=np.median(TARGETS, axis=0)), "better_than_median")
    assert result.passed
    assert "is below the median's 2.54 by" in result.reason


def few_positives(rng: np.random.Generator, separation: float, positives: int = 5) -> BlessingReport:
    """Judge scores of 200 rows, in which those of the positives are higher by `separation` standard deviations."""
    labels = np.arange(200) < positives
    risk = 1 / (1 + np.exp(-rng.normal(separation * labels - 2)))
    return judged(
        problem="binary",
        metric="pr_auc",
        labels=labels.astype(int),
        ensemble=np.stack([1 - risk, risk], axis=1),
        reference=np.array([0.975, 0.025]),
        resamples=1000,
    )


def test_with_few_positives_a_model_that_knows_nothing_is_refused_and_a_good_one_is_not():
    noise = [few_positives(np.random.default_rng(seed), 0.0, positives=2) for seed in range(3)]
    assert not any(blessing.blessed for blessing in noise)
    doubted = [b.verdicts[0].reason for b in noise if b.verdicts[0].interval[0] > 0]
    assert doubted
    assert all(reason.endswith("999 shuffles of the predictions)") for reason in doubted)
    assert all(
        reason.startswith(
            "too few rows to judge: `test` has 200 rows, 2 of them outside the most frequent class; about "
        )
        for reason in doubted
    )
    assert few_positives(np.random.default_rng(0), 4.0).blessed


def test_few_positives_among_many_rows_are_told_from_chance_in_a_moment():
    labels = (np.arange(200_000) < 10).astype(int)
    risk = 1 / (1 + np.exp(-np.random.default_rng(0).normal(5.0 * labels)))
    good = {"labels": labels, "ensemble": np.stack([1 - risk, risk], axis=1), "reference": np.array([0.9999, 0.0001])}
    blessing = judged(problem="binary", metric="auc", resamples=20, **good)
    assert blessing.blessed


def test_three_rows_on_the_right_side_of_the_mean_are_no_proof():
    result = verdict(
        judged_regression(0.0, labels=TARGETS[[0, 40, 69]], ensemble=np.array([[14.9], [15.1], [15.2]])),
        "better_than_mean",
    )
    assert not result.passed
    assert result.reason.startswith(
        f"too few rows to judge: `test` has 3 rows; about {result.rows_needed} would do (rmse "
    )
    assert result.reason.endswith("999 shuffles of the predictions)")


def test_without_a_baseline_not_worse_than_served_passes_and_says_why():
    assert verdict(judged(), "not_worse_than_served") == Verdict(
        "not_worse_than_served", True, None, None, None, "nothing was served before it"
    )
    reason = "version 7 was trained on rows of the test span, so it is no baseline"
    assert verdict(judged(no_baseline=reason), "not_worse_than_served").reason == reason


@pytest.mark.parametrize("share", [0.8, 0.95, 0.97], ids=["better", "same", "worse by chance"])
def test_a_candidate_not_significantly_worse_than_the_served_version_passes(share):
    result = verdict(judged(served=right_in(share)), "not_worse_than_served")
    assert result.passed
    assert result.reason.startswith("accuracy 0.943 against the served version's")
    assert result.reason.endswith("so it is not significantly worse")


def test_a_candidate_significantly_worse_than_the_served_version_is_refused():
    blessing = judged(ensemble=right_in(0.8), served=right_in(1))
    refused = verdict(blessing, "not_worse_than_served")
    assert verdict(blessing, "better_than_majority").passed
    assert not refused.passed
    assert not blessing.blessed
    assert refused.interval[1] < 0
    assert "accuracy 0.8 against the served version's 1: the gain is -0.2 (95 % interval -0." in refused.reason
    assert refused.reason.endswith("; its interval must reach 0")


def test_the_same_model_as_served_has_a_gain_of_zero_not_of_minus_zero():
    result = verdict(judged_regression(0.5, served=off_by(0.5)), "not_worse_than_served")
    assert result.passed
    assert "the gain is 0 (95 % interval 0 to 0)" in result.reason


@pytest.mark.parametrize(
    ("threshold", "rule", "passes", "reason"),
    [
        (Rule("accuracy", min=0.85), "accuracy >= 0.85", True, "accuracy 0.943 is at least 0.85"),
        (Rule("accuracy", min=0.95), "accuracy >= 0.95", False, "accuracy 0.943 is below the minimum 0.95"),
        (Rule("log_loss", max=0.1), "log_loss <= 0.1", False, "log_loss 0.29 is above the maximum 0.1"),
        (Rule("auc", 0.5, 1), "0.5 <= auc <= 1", True, "auc 0.957 is between 0.5 and 1"),
        (Rule("accuracy", min=0.94286), "accuracy >= 0.94286", False, "accuracy 0.942857 is below the minimum 0.94286"),
        (Rule("accuracy", max=0.9), "accuracy <= 0.9", False, "accuracy 0.943 is above the maximum 0.9"),
    ],
)
def test_a_threshold_is_a_rule_of_its_own(threshold, rule, passes, reason):
    blessing = judged(rules=[threshold])
    result = verdict(blessing, rule)
    assert result.passed is passes
    assert blessing.blessed is passes
    assert result.reason.startswith(reason)
    assert result.interval is None


def test_a_threshold_is_inclusive():
    assert judged(ensemble=right_in(1), rules=[Rule("accuracy", min=1), Rule("accuracy", max=1)]).blessed


@pytest.mark.parametrize(
    ("problem", "labels", "size"),
    [
        ("multiclass", LABELS[:0], "0 rows; about"),
        ("multiclass", LABELS[:1], "1 row, 0 of them outside the most frequent class; about"),
        ("multiclass", LABELS[:40] * 0, "40 rows, 0 of them outside the most frequent class; about"),
        ("regression", TARGETS[:1], "1 row; about"),
    ],
)
@pytest.mark.parametrize("with_baseline", [True, False])
def test_a_split_that_is_too_small_to_decide_refuses_with_the_number_that_would_do(
    problem, labels, size, with_baseline
):
    regression = problem == "regression"
    ensemble = labels if regression else right_in(1, labels)
    blessing = judged(
        problem=problem,
        metric="rmse" if regression else "auc",
        labels=labels,
        ensemble=ensemble,
        reference=MEAN if regression else FREQUENCIES,
        served=ensemble if with_baseline else None,
        rules=[Rule("mae", max=1) if regression else Rule("accuracy", min=0.5)],
    )
    assert not blessing.blessed
    refused = [verdict for verdict in blessing.verdicts if not verdict.passed]
    assert len(refused) == (3 if with_baseline else 2)
    assert all(verdict.reason.startswith(f"too few rows to judge: `test` has {size}") for verdict in refused)
    assert all(verdict.too_few_rows and 20 <= verdict.rows_needed <= 80 for verdict in refused)


def binary(rows: int, positives: int, **changes) -> BlessingReport:
    """Judge a perfect candidate of a binary problem."""
    labels = (np.arange(rows) < positives).astype(int)
    share = positives / rows
    perfect = {"labels": labels, "ensemble": np.eye(2)[labels], "reference": np.array([1 - share, share])}
    return judged(**({"problem": "binary", "metric": "auc"} | perfect | changes))


@pytest.mark.parametrize("metric", ["auc", "log_loss"])
def test_sixteen_rows_bless_nothing_not_even_a_perfect_model(metric):
    blessing = binary(16, 8, metric=metric)
    (refused,) = [verdict for verdict in blessing.verdicts if not verdict.passed]
    assert refused.rule == "better_than_majority"
    assert refused.too_few_rows
    assert 20 <= refused.rows_needed <= 60
    assert (
        f"too few rows to judge: `test` has 16 rows, 8 of them outside the most frequent class; about "
        f"{refused.rows_needed} rows, {refused.rows_needed // 2} of them outside the most frequent class, with the "
        f"classes of `train`, would do ({metric} "
    ) in refused.reason


@pytest.mark.parametrize(("metric", "share"), [("auc", 0.1), ("accuracy", 0.4)])
def test_the_number_of_rows_that_would_do_does(metric, share):
    few = verdict(binary(19, 2, metric=metric, reference=np.array([1 - share, share])), BETTER)
    rows = few.rows_needed
    assert binary(rows, round(rows * share), metric=metric).blessed
    assert not binary(rows // 3, round(rows * share) // 3 or 1, metric=metric).blessed


def test_a_model_whose_rows_are_too_few_is_told_so_also_where_its_gain_is_no_proof():
    labels = (np.arange(16) < 8).astype(int)
    weak = np.stack([1 - RISK[:16], RISK[:16]], axis=1)
    refused = verdict(binary(16, 8, labels=labels, ensemble=weak), BETTER)
    assert refused.too_few_rows
    assert "is not significantly above the majority class's" in refused.reason


def test_enough_rows_and_no_knowledge_are_not_called_too_few():
    noise = np.random.default_rng(1).random(400)
    refused = verdict(binary(400, 200, ensemble=np.stack([1 - noise, noise], axis=1)), BETTER)
    assert not refused.passed
    assert not refused.too_few_rows


def test_a_wide_interval_around_the_served_version_is_no_pass():
    labels, rng = (np.arange(24) < 3).astype(int), np.random.default_rng(0)
    served, candidate = (1 / (1 + np.exp(-rng.normal(2.0 * labels))) for _ in range(2))
    blessing = binary(
        24, 3, ensemble=np.stack([1 - candidate, candidate], 1), served=np.stack([1 - served, served], axis=1)
    )
    refused = verdict(blessing, "not_worse_than_served")
    assert refused.interval[1] >= 0
    assert not refused.passed
    assert refused.reason.startswith("too few rows to judge: `test` has 24 rows, 3 of them outside ")


def test_few_rows_tell_that_a_candidate_answers_as_the_served_version():
    labels = (np.arange(24) < 3).astype(int)
    assert verdict(binary(24, 3, served=np.eye(2)[labels]), "not_worse_than_served").passed


def test_a_bound_that_shuffled_predictions_satisfy_too_needs_more_rows():
    refused = verdict(binary(4, 1, rules=[Rule("auc", min=0.9)]), "auc >= 0.9")
    assert refused.too_few_rows
    assert refused.reason.endswith("(auc 1 is at least 0.9)")
    assert verdict(binary(4, 1, rules=[Rule("log_loss", max=9)]), "log_loss <= 9").passed  # a guess satisfies it too


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (
            Rule("accuracy", min=0.4, slices=("where",)),
            "none of 70 slices can be judged; the largest, where=0, has 1 rows",
        ),
        (
            Rule("accuracy", min=0.4, slices=("half",)),
            "none of 2 slices can be judged; the largest, half=a, has 35 rows, and a slice needs 50 (`rows` of the rule); "
            "about 100 rows of `test` would do",
        ),
        (
            Rule("accuracy", min=0.4, slices=("class",), rows=10),
            "the largest, class=0, has 31 rows, 0 of them outside the most frequent class; about ",
        ),
    ],
)
def test_a_rule_by_slice_without_a_slice_to_judge_does_not_pass(rule, reason):
    slices = {
        "where": np.arange(ROWS).astype(str),
        "half": np.array(["a", "b"] * 35),
        "class": LABELS.astype(str),
    }
    refused = verdict(judged(slices=slices, rules=[rule]), rule.name)
    assert not refused.passed
    assert refused.too_few_rows
    assert refused.reason.startswith("too few rows to judge: ")
    assert reason in refused.reason


def test_a_prediction_that_is_nan_refuses_every_rule_that_needs_it():
    broken = right_in(0.95)
    broken[3] = np.nan
    blessing = judged(ensemble=broken, served=right_in(0.95), rules=[Rule("accuracy", min=0.1)])
    assert [verdict.passed for verdict in blessing.verdicts] == [False, False, False]
    assert [verdict.value for verdict in blessing.verdicts] == [None, None, None]
    assert all("accuracy is undefined on the split test" in verdict.reason for verdict in blessing.verdicts)


def test_a_blessing_survives_strict_json():
    blessing = judged(served=right_in(0.9), rules=[Rule("accuracy", min=0.99)])
    text = json.dumps(blessing.to_json(), allow_nan=False)
    assert BlessingReport.from_json(json.loads(text)) == blessing


def test_numbers_that_are_not_finite_become_null():
    verdict = Verdict("r2 >= 0", False, math.nan, -math.inf, (math.nan, math.nan), "r2 is undefined")
    data = BlessingReport(False, (verdict,)).to_json()
    assert (data["verdicts"][0]["value"], data["verdicts"][0]["bound"], data["verdicts"][0]["interval"]) == (None,) * 3
    assert json.dumps(data, allow_nan=False)


@pytest.mark.parametrize("data", [{}, {"blessed": True, "verdicts": [{}]}, {"blessed": True, "verdicts": 3}])
def test_data_that_is_not_a_blessing_is_refused(data):
    with pytest.raises(DataError, match="not a blessing"):
        BlessingReport.from_json(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "rmse"}, "'rmse' is not defined for a multiclass problem"),
        ({"rules": [Rule("acuracy", min=1)]}, "did you mean 'accuracy'"),
        ({"rules": [Rule("accuracy")]}, "the rule on accuracy has no bound; add `min`, `max`, `better_than`"),
        (
            {"rules": [Rule("accuracy", min=0, slices=("a",))]},
            "requires a in `slices` of the config, which has: none",
        ),
    ],
)
def test_a_rule_that_cannot_be_applied_is_a_usage_error(changes, message):
    with pytest.raises(UsageError, match=message):
        judged(**changes)


def test_a_reference_of_other_classes_is_named():
    with pytest.raises(DataError, match=r"the reference has shape \(2,\), but the candidate predicts \(3,\) per row"):
        judged(reference=np.array([0.5, 0.5]))


MANY = np.arange(3000) % 3


def best_of(members: dict, elsewhere: dict | None = None) -> dict:
    """Return arguments: members' predictions on `test`, and on the other rows that tell which is the best."""
    return {"members": members, "choice": MemberChoice(MANY, elsewhere or members)}


def test_the_best_member_is_not_chosen_on_test():
    lucky, good = right_in(0.97, MANY), right_in(0.9, MANY)
    elsewhere = {"lucky": right_in(0.5, MANY), "good": right_in(0.92, MANY)}
    rule = Rule("accuracy", not_worse_than="best_member")
    blessing = judged(
        labels=MANY, ensemble=right_in(0.91, MANY), rules=[rule], **best_of({"lucky": lucky, "good": good}, elsewhere)
    )
    assert blessing.blessed
    assert "against good's 0.9:" in verdict(blessing, "accuracy not worse than best_member").reason


@pytest.mark.parametrize(("warns", "blessed"), [(True, True), (False, False)])
def test_an_ensemble_worse_than_its_best_member_is_refused_or_a_warning(warns, blessed):
    rule = Rule("accuracy", not_worse_than="best_member", warns=warns)
    blessing = judged(
        labels=MANY, ensemble=right_in(0.8, MANY), rules=[rule], **best_of({"good": right_in(0.95, MANY)})
    )
    result = verdict(blessing, "accuracy not worse than best_member")
    assert blessing.blessed is blessed
    assert not result.passed
    assert result.warning is warns
    line = verdict_line(blessing.to_json()["verdicts"][-1])
    assert line.startswith("WARNING " if warns else "REFUSED ")
    assert BlessingReport.from_json(blessing.to_json()) == blessing


@pytest.mark.parametrize(
    ("rule", "name", "passes", "reason"),
    [
        (
            Rule("accuracy", better_than="best_member"),
            "accuracy better than best_member",
            True,
            "accuracy 0.95 against good's 0.9: the gain is 0.05 (95 % interval ",
        ),
        (
            Rule("accuracy", better_than="best_member", by=0.1),
            "accuracy better than best_member by 0.1",
            False,
            "accuracy 0.95 against good's 0.9: ",
        ),
        (Rule("log_loss", not_worse_than="best_member"), "log_loss not worse than best_member", True, "log_loss "),
        (Rule("accuracy", better_than="served"), "accuracy better than served", True, "nothing was served before it"),
    ],
)
def test_the_ensemble_is_compared_with_its_best_member(rule, name, passes, reason):
    members = {"poor": right_in(0.5, MANY), "good": right_in(0.9, MANY)}
    blessing = judged(labels=MANY, ensemble=right_in(0.95, MANY), rules=[rule], **best_of(members))
    result = verdict(blessing, name)
    assert result.passed is passes
    assert result.reason.startswith(reason)


def test_a_margin_allows_a_small_loss_but_not_a_large_one():
    members = {"good": right_in(0.95, MANY)}
    for share, passes in ((0.92, True), (0.80, False)):
        rule = Rule("accuracy", not_worse_than="best_member", by=0.04)
        blessing = judged(labels=MANY, ensemble=right_in(share, MANY), rules=[rule], **best_of(members))
        assert verdict(blessing, "accuracy not worse than best_member by 0.04").passed is passes


def in_slices(*shares: float) -> dict:
    """Return a candidate with one accuracy per thousand rows, and the slice column `where` for them."""
    labels = np.tile(MANY[:1000], len(shares))
    return {
        "labels": labels,
        "ensemble": np.concatenate([right_in(share, MANY[:1000]) for share in shares]),
        "slices": {"where": np.repeat([f"s{i}" for i in range(len(shares))], 1000)},
    }


def test_no_slice_may_be_worse_than_the_bound():
    rule = Rule("accuracy", min=0.8, slices=("where",))
    assert judged(**in_slices(0.9, 0.85), rules=[rule]).blessed
    result = verdict(judged(**in_slices(0.9, 0.7, 0.75), rules=[rule]), "accuracy >= 0.8 by where")
    assert not result.passed
    assert result.value == pytest.approx(0.7)
    assert result.reason.startswith(
        "2 of 3 slices fail; the worst is where=s1 (1000 rows): accuracy 0.7 is below the minimum 0.8"
    )


def test_no_slice_may_be_worse_than_the_served_version():
    served = np.concatenate([right_in(0.8, MANY[:1000]), right_in(0.95, MANY[:1000])])
    rule = Rule("accuracy", not_worse_than="served", slices=("where",))
    result = verdict(
        judged(**in_slices(0.95, 0.85), served=served, rules=[rule]), "accuracy not worse than served by where"
    )
    assert not result.passed
    assert "the worst is where=s1" in result.reason
    assert "97.5 % interval" in result.reason  # 95 % for both slices together


def test_small_slices_and_those_with_one_class_are_skipped_and_counted():
    candidate = in_slices(0.9, 0.1)
    candidate["slices"] = {"where": np.array(["a"] * 1960 + ["b"] * 40)}
    result = verdict(
        judged(**candidate, rules=[Rule("accuracy", min=0.4, slices=("where",))]), "accuracy >= 0.4 by where"
    )
    assert result.passed
    assert result.reason.endswith("; not judged: 1 with fewer than 50 rows, only one class or too few rows to tell")
