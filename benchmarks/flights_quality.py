"""Compare the flights ensemble on its `test` rows with scikit-learn's models, fitted to the same training rows.

    make demo && python -m benchmarks.flights_quality [--root DIR] [--run RUN]

It reads the scores and the training rows of the latest run, fits the baselines to the raw columns of `train` and
`valid`, and prints the two tables of docs/quality.md. The first has every metric and the mean probability of every
model. The second has the gain of the ensemble over each other model, with paired 95 % bootstrap intervals.

Flights of the same day share weather and queues, so intervals that treat rows as independent are too narrow. The last
column resamples whole days instead.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from benchmarks.scored_run import ScoredRun, find, markdown
from benchmarks.sklearn_baselines import BOOSTING, LINEAR, predict
from benison.components.evaluate.bootstrap import Interval, bootstrap, percentile_interval
from benison.components.evaluate.metrics import MOST_LIKELY, Costs, Decision, Metric, metrics_for

if TYPE_CHECKING:
    import pandas as pd

METRICS = {
    "auc": "AUC",
    "pr_auc": "PR-AUC",
    "log_loss": "log loss",
    "calibration_error": "calibration error",
    "cost": "cost per flight",
}
ENSEMBLE = "ensemble"
RESAMPLES = 1000
CONFIDENCE = 0.95
_DAYS_AT_ONCE = 50  # resamples in memory at the same time
# Columns that only contain the date: on a later month, the baselines are better without them.
NOT_FEATURES = ("time_hour", "month", "day")


class Predictions(NamedTuple):
    """The predictions of all models for the `test` rows.

    Attributes:
        labels: int64 [rows], 1 if the flight was late.
        days: int64 [rows], one number per day.
        models: float [rows, 2] probabilities, by model.
        training_rate: share of late flights among the training rows.
    """

    labels: np.ndarray
    days: np.ndarray
    models: Mapping[str, np.ndarray]
    training_rate: float


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--root", type=Path, default=Path(".benison"), help="ROOT of the run")
    parser.add_argument("--run", help="id of the run (default: the latest run with scores)")
    arguments = parser.parse_args()
    run = find(arguments.root, "flights", arguments.run)
    print(f"run {run.id}")

    from benison.pipelines.config_file import load

    config = load("flights")
    decision = Decision.cheapest(Costs(**config.cost.model_dump())) if config.cost else MOST_LIKELY
    defined = metrics_for(config.problem, decision)
    metrics = {title: defined[name] for name, title in METRICS.items() if name in defined}
    predictions = _predictions(run, config.label)
    print(f"{len(predictions.labels)} test rows, of which {predictions.labels.mean():.1%} are late; ", end="")
    print(f"{predictions.training_rate:.1%} of the training rows are late\n")
    print(_values(predictions, metrics))
    print(_gain_table(predictions, metrics))


def _predictions(run: ScoredRun, label: str) -> Predictions:
    """Return the run's scores and the predictions of the baselines for the same rows."""
    labels, models, names = run.test_scores()
    training_rows, rows = run.rows(("train", "valid")), run.rows(("test",))
    classes = {name.encode(): index for index, name in enumerate(names)}
    if list(rows[label].map(classes)) != list(labels):
        raise SystemExit(f"run {run.id}: the test rows differ from the rows of the scores; run the pipeline again")
    training_labels = training_rows[label].map(classes).to_numpy()
    return Predictions(
        labels=labels,
        days=rows.groupby(["month", "day"]).ngroup().to_numpy(),
        models=models | _baselines(training_rows, training_labels, rows, label),
        training_rate=float(training_labels.mean()),
    )


def _baselines(training: pd.DataFrame, y: np.ndarray, test: pd.DataFrame, label: str) -> dict[str, np.ndarray]:
    """Return probabilities [rows, 2] of the test rows, by baseline."""
    from benison.pipelines.flights.features import CATEGORIES, NUMBERS

    all_columns = [str(name) for name in training if name not in (label, *NOT_FEATURES)]
    member_columns = sorted({*NUMBERS, *CATEGORIES})
    return {
        name: predict(training[columns], y, test[columns], model, "binary")
        for name, model, columns in (
            ("scikit-learn's logistic regression", LINEAR, all_columns),
            ("scikit-learn's HistGradientBoosting", BOOSTING, all_columns),
            ("HistGradientBoosting on the members' columns", BOOSTING, member_columns),
        )
    }


def _values(predictions: Predictions, metrics: Mapping[str, Metric]) -> str:
    rows = [
        [
            name,
            *(f"{metric.compute(predictions.labels, values):.4f}" for metric in metrics.values()),
            f"{values[:, 1].mean():.4f}",
        ]
        for name, values in predictions.models.items()
    ]
    return markdown(["", *metrics, "mean probability"], rows)


def _gain_table(predictions: Predictions, metrics: Mapping[str, Metric]) -> str:
    others = [name for name in predictions.models if name != ENSEMBLE]
    columns = [gains(metric, predictions, others) for metric in metrics.values()]
    labels, days, ensemble = predictions.labels, predictions.days, predictions.models[ENSEMBLE]
    columns.append(
        [
            _interval_text(interval_by_day(metrics["AUC"], labels, days, ensemble, predictions.models[name]))
            for name in others
        ]
    )
    rows = [[name, *cells] for name, cells in zip(others, zip(*columns, strict=True), strict=True)]
    return markdown(["gain of the ensemble over", *metrics, "AUC, whole days resampled"], rows)


def gains(metric: Metric, predictions: Predictions, others: list[str]) -> list[str]:
    """Return the gain of the ensemble over each other model in one metric; all models use the same resamples."""
    sign = 1 if metric.greater_is_better else -1
    models = [predictions.models[name] for name in (ENSEMBLE, *others)]
    value, *other_values = (metric.compute(predictions.labels, scores) for scores in models)
    resampled, *other_resampled = bootstrap(metric, predictions.labels, models, RESAMPLES)
    intervals = [percentile_interval(sign * (resampled - other), CONFIDENCE) for other in other_resampled]
    return [
        f"{sign * (value - other):+.4f} ({_interval_text(interval)})"
        for other, interval in zip(other_values, intervals, strict=True)
    ]


def interval_by_day(
    metric: Metric, labels: np.ndarray, days: np.ndarray, model: np.ndarray, other: np.ndarray, seed: int = 0
) -> Interval:
    """Return the paired 95 % interval of a model's gain over another one, by resampling whole days.

    Source: A. C. Davison and D. V. Hinkley, Bootstrap Methods and their Application, Cambridge 1997, section 3.8.

    Args:
        metric: the metric to compare.
        labels: int64 [rows].
        days: int64 [rows], numbered from 0 without gaps.
        model: float [rows, 2], probabilities.
        other: float [rows, 2], probabilities.
        seed: seed of the resamples.
    """
    rng, count = np.random.default_rng(seed), int(days.max()) + 1
    first, second = metric.weighted(labels, model), metric.weighted(labels, other)
    differences = []
    for start in range(0, RESAMPLES, _DAYS_AT_ONCE):
        block = min(_DAYS_AT_ONCE, RESAMPLES - start)
        weights = rng.multinomial(count, np.full(count, 1 / count), size=block)[:, days].astype(np.float64)
        differences.append(first(weights) - second(weights))
    return percentile_interval((1 if metric.greater_is_better else -1) * np.concatenate(differences), CONFIDENCE)


def _interval_text(interval: Interval) -> str:
    return f"{interval.low:+.4f} to {interval.high:+.4f}"


if __name__ == "__main__":
    main()
