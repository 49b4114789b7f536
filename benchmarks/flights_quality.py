"""How good the flights ensemble is on its `test` rows, beside scikit-learn's models fitted to the same rows.

    make demo && python -m benchmarks.flights_quality [--root DIR] [--run RUN]

Reads the latest run's scores and the rows that it learnt from, fits the baselines to the raw columns of `train` and
`valid`, and prints the README's two tables: every metric of every model with the mean of its probabilities, and by how
much the ensemble is better than each other model, with paired 95 % bootstrap intervals.

Flights of one day share their weather and their queues, so intervals that take rows for independent are too narrow. The
last column draws whole days instead.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benison.components.evaluate.bootstrap import Interval, bootstrap, percentile_interval
from benison.components.evaluate.metrics import Costs, Metric, metrics_for

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
_DAYS_AT_ONCE = 50  # resamples of days whose weights are held at a time
# What only says when a row was: on a later month, the baselines do better without it.
NOT_FEATURES = ("time_hour", "month", "day")
MOST_CATEGORIES = 250  # HistGradientBoosting takes 255


class Judged(NamedTuple):
    """What the models said of the `test` rows.

    Attributes:
        labels: int64 [rows], 1 where late.
        days: int64 [rows], equal for flights of one day.
        models: float [rows, 2] probabilities, by model.
        late_before: the share of late ones among the rows learnt from.
    """

    labels: np.ndarray
    days: np.ndarray
    models: Mapping[str, np.ndarray]
    late_before: float


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--root", type=Path, default=Path(".benison"), help="ROOT of the run")
    parser.add_argument("--run", help="id of the run; default: the latest one that got as far as a blessing")
    given = parser.parse_args()
    outputs = _outputs(given.root, given.run)

    from benison.pipelines.config_file import load

    config = load("flights")
    defined = metrics_for(config.problem, Costs(**config.cost.model_dump()) if config.cost else None)
    metrics = {title: defined[name] for name, title in METRICS.items() if name in defined}
    judged = _judged(outputs, config.label)
    print(f"{len(judged.labels)} test rows, {judged.labels.mean():.1%} of them late; ", end="")
    print(f"{judged.late_before:.1%} of the rows learnt from\n")
    print(_values(judged, metrics))
    print(_gains(judged, metrics))


def _outputs(root: Path, run_id: str | None) -> dict[str, list[dict[str, Any]]]:
    """The outputs of a run's nodes, by node and key."""
    from benison.pipelines.records.runs import history

    runs = [run for run in history(root) if run.pipeline == "flights" and run_id in (None, run.id)]
    done = [run for run in runs if any(node.id == "EnsembleScores" and node.outputs for node in run.nodes)]
    if not done:
        raise SystemExit(
            f"{root}: no run {run_id or 'of flights'} with scores; first: benison run flights --root {root}"
        )
    print(f"run {done[-1].id}")
    return {f"{node.id}.{key}": list(values) for node in done[-1].nodes for key, values in node.outputs.items()}


def _judged(outputs: Mapping[str, Any], label: str) -> Judged:
    """The run's scores and the baselines' on the same rows."""
    from benison.components.evaluate.scorer import Scores

    models: dict[str, np.ndarray] = {}
    labels = np.zeros(0)
    for node in ("MemberScores", "EnsembleScores"):
        scores = Scores.load(Path(outputs[f"{node}.scores"][0]["uri"]))
        test = (scores.rows["split"] == "test").to_numpy()
        labels = scores.rows["label"].to_numpy()[test]
        models |= {name: values[test] for name, values in scores.outputs.items() if name != "served"}
    folder = next(
        Path(outputs[key][0]["uri"])
        for key in ("SpanWindow.window", "CsvExampleGen.examples")
        if key in outputs and Path(outputs[key][0]["uri"], "Split-test").is_dir()
    )
    columns = _columns(outputs)
    learnt = _rows(folder, ("train", "valid"), columns)
    rows = _rows(folder, ("test",), columns)
    classes = {name.encode(): index for index, name in enumerate(scores.classes)}
    if list(rows[label].map(classes)) != list(labels):
        raise SystemExit(f"{folder}: its test rows are not those of the scores; run the pipeline again")
    learnt_labels = learnt[label].map(classes).to_numpy()
    return Judged(
        labels=labels,
        days=rows.groupby(["month", "day"]).ngroup().to_numpy(),
        models=models | _baselines(learnt, learnt_labels, rows, label),
        late_before=float(learnt_labels.mean()),
    )


def _columns(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The raw columns' parsing specs."""
    import tensorflow_transform as tft

    return dict(tft.TFTransformOutput(outputs["Transform.transform_graph"][0]["uri"]).raw_feature_spec())


def _rows(folder: Path, splits: Iterable[str], columns: Mapping[str, Any]) -> pd.DataFrame:
    """The splits' rows in the order of the files: numbers as float64, text as bytes or NaN."""
    import pandas as pd
    import tensorflow as tf

    files = [str(file) for split in splits for file in sorted((folder / f"Split-{split}").glob("*"))]
    spec = {name: tf.io.VarLenFeature(feature.dtype) for name, feature in columns.items()}
    parts = []
    for records in tf.data.TFRecordDataset(files, compression_type="GZIP").batch(8192):
        part: dict[str, np.ndarray] = {}
        for name, sparse in tf.io.parse_example(records, spec).items():
            part[name] = np.full(len(records), np.nan, object if sparse.dtype == tf.string else np.float64)
            part[name][sparse.indices.numpy()[:, 0]] = sparse.values.numpy()
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def _baselines(learnt: pd.DataFrame, y: np.ndarray, judged: pd.DataFrame, label: str) -> dict[str, np.ndarray]:
    """Probabilities [rows, 2] of the judged rows, by baseline."""
    from benison.pipelines.flights.features import CATEGORIES, NUMBERS

    everything = [str(name) for name in learnt if name not in (label, *NOT_FEATURES)]
    ours = sorted({*NUMBERS, *CATEGORIES})
    answers = {}
    for name, make, columns in (
        ("scikit-learn's logistic regression", _logistic_regression, everything),
        ("scikit-learn's HistGradientBoosting", _gradient_boosting, everything),
        ("the latter on our members' columns", _gradient_boosting, ours),
    ):
        text = [column for column in columns if learnt[column].dtype == object]
        model = make([column for column in columns if column not in text], text)
        model.fit(learnt[columns], y)
        answers[name] = model.predict_proba(judged[columns])
    return answers


def _logistic_regression(numbers: list[str], text: list[str]) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
        (OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20), text),
    )
    return make_pipeline(columns, LogisticRegression(max_iter=1000))


def _gradient_boosting(numbers: list[str], text: list[str]) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    categories = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, max_categories=MOST_CATEGORIES
    )
    columns = make_column_transformer((categories, text), ("passthrough", numbers))
    categorical = [True] * len(text) + [False] * len(numbers)
    return make_pipeline(columns, HistGradientBoostingClassifier(categorical_features=categorical, random_state=0))


def _values(judged: Judged, metrics: Mapping[str, Metric]) -> str:
    rows = [
        [
            name,
            *(f"{metric.compute(judged.labels, values):.4f}" for metric in metrics.values()),
            f"{values[:, 1].mean():.4f}",
        ]
        for name, values in judged.models.items()
    ]
    return _markdown(["", *metrics, "mean probability"], rows)


def _gains(judged: Judged, metrics: Mapping[str, Metric]) -> str:
    others = [name for name in judged.models if name != ENSEMBLE]
    columns = [gains_in(metric, judged, others) for metric in metrics.values()]
    ours = judged.models[ENSEMBLE]
    columns.append(
        [_span(by_days(metrics["AUC"], judged.labels, judged.days, ours, judged.models[name])) for name in others]
    )
    rows = [[name, *cells] for name, cells in zip(others, zip(*columns, strict=True), strict=True)]
    return _markdown(["the ensemble is better (+) than", *metrics, "AUC, whole days drawn"], rows)


def gains_in(metric: Metric, judged: Judged, others: list[str]) -> list[str]:
    """By how much the ensemble is better than each of the others in one metric; all on the same resamples."""
    sign = 1 if metric.greater_is_better else -1
    models = [judged.models[name] for name in (ENSEMBLE, *others)]
    ours, *theirs = (metric.compute(judged.labels, values) for values in models)
    drawn, *drawn_others = bootstrap(metric, judged.labels, models, RESAMPLES)
    return [
        f"{sign * (ours - value):+.4f} ({_span(percentile_interval(sign * (drawn - other), CONFIDENCE))})"
        for value, other in zip(theirs, drawn_others, strict=True)
    ]


def by_days(
    metric: Metric, labels: np.ndarray, days: np.ndarray, ours: np.ndarray, theirs: np.ndarray, seed: int = 0
) -> Interval:
    """The paired 95 % interval of `ours` minus `theirs`, positive where ours is better, with whole days drawn.

    Source: A. C. Davison and D. V. Hinkley, Bootstrap Methods and their Application, Cambridge 1997, section 3.8.

    Args:
        metric: what is compared.
        labels: int64 [rows].
        days: int64 [rows], from 0 on without a gap.
        ours: float [rows, 2].
        theirs: float [rows, 2].
        seed: of the draws.
    """
    rng, count = np.random.default_rng(seed), int(days.max()) + 1
    first, second = metric.weighted(labels, ours), metric.weighted(labels, theirs)
    gains = []
    for start in range(0, RESAMPLES, _DAYS_AT_ONCE):
        block = min(_DAYS_AT_ONCE, RESAMPLES - start)
        weights = rng.multinomial(count, np.full(count, 1 / count), size=block)[:, days].astype(np.float64)
        gains.append(first(weights) - second(weights))
    return percentile_interval((1 if metric.greater_is_better else -1) * np.concatenate(gains), CONFIDENCE)


def _span(interval: Interval) -> str:
    return f"{interval.low:+.4f} to {interval.high:+.4f}"


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
