"""How good the flights ensemble is on its `test` rows, beside scikit-learn's models fitted to the same rows.

    benison run flights --span 1-3 && python -m benchmarks.flights_quality [--root DIR] [--run RUN]

Reads the latest run's scores and the rows that it learnt from, fits the baselines to the raw columns of `train` and
`valid`, and prints two tables in Markdown: every metric of every model, and by how much the ensemble is better than
each other model, with the paired 95 % bootstrap interval.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from components.bootstrap import difference
from components.metrics import Costs, Metric, metrics_of

if TYPE_CHECKING:
    import pandas as pd

METRICS = ("auc", "pr_auc", "log_loss", "calibration_error", "cost")
RESAMPLES = 1000
# What only says when a row was: on a later month, the baselines do better without it.
NOT_FEATURES = ("time_hour", "month", "day")
MOST_CATEGORIES = 250  # HistGradientBoosting takes 255


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--root", type=Path, default=Path(".benison"), help="ROOT of the run")
    parser.add_argument("--run", help="id of the run; default: the latest one that got as far as a blessing")
    given = parser.parse_args()
    outputs = _outputs(given.root, given.run)

    from pipelines.config_file import load

    config = load("flights")
    metrics = metrics_of(config.problem, Costs(**config.cost.model_dump()) if config.cost else None)
    labels, models = _scores(outputs, config.label)
    print(f"{len(labels)} test rows, {labels.mean():.1%} of them of class 1\n")
    print(_values(labels, models, {name: metrics[name] for name in METRICS if name in metrics}))
    print(_gains(labels, models, {name: metrics[name] for name in METRICS if name in metrics}))


def _outputs(root: Path, run_id: str | None) -> dict[str, list[dict[str, Any]]]:
    """The outputs of a run's nodes, by node and key."""
    from pipelines.runs import history

    runs = [run for run in history(root) if run.pipeline == "flights" and run_id in (None, run.id)]
    done = [run for run in runs if any(node.id == "EnsembleScores" and node.outputs for node in run.nodes)]
    if not done:
        raise SystemExit(
            f"{root}: no run {run_id or 'of flights'} with scores; first: benison run flights --root {root}"
        )
    print(f"run {done[-1].id}")
    return {f"{node.id}.{key}": list(values) for node in done[-1].nodes for key, values in node.outputs.items()}


def _scores(outputs: Mapping[str, Any], label: str) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Labels int64 [rows] of `test`, and float [rows, 2] probabilities by model."""
    from components.scorer import Scores

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
    judged = _rows(folder, ("test",), columns)
    classes = {name.encode(): index for index, name in enumerate(scores.classes)}
    if list(judged[label].map(classes)) != list(labels):
        raise SystemExit(f"{folder}: its test rows are not those of the scores; run the pipeline again")
    return labels, models | _baselines(learnt, learnt[label].map(classes).to_numpy(), judged, label)


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
    from pipelines.flights.features import CATEGORIES, NUMBERS

    everything = [name for name in learnt if name not in (label, *NOT_FEATURES)]
    ours = sorted({*NUMBERS, *CATEGORIES})
    answers = {}
    for name, make, columns in (
        ("logistic regression", _logistic_regression, everything),
        ("HistGradientBoosting", _gradient_boosting, everything),
        ("HistGradientBoosting, our members' columns", _gradient_boosting, ours),
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


def _values(labels: np.ndarray, models: Mapping[str, np.ndarray], metrics: Mapping[str, Metric]) -> str:
    rows = [
        [name, *(f"{metric.compute(labels, values):.4f}" for metric in metrics.values())]
        for name, values in models.items()
    ]
    return _markdown(["on test", *metrics], rows)


def _gains(labels: np.ndarray, models: Mapping[str, np.ndarray], metrics: Mapping[str, Metric]) -> str:
    rows = []
    for name, values in models.items():
        if name == "ensemble":
            continue
        cells = []
        for metric in metrics.values():
            gain, interval = difference(metric, labels, models["ensemble"], values, resamples=RESAMPLES)
            cells.append(f"{gain:+.4f} ({interval.low:+.4f} to {interval.high:+.4f})")
        rows.append([name, *cells])
    return _markdown(["the ensemble is better (+) than", *metrics], rows)


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
