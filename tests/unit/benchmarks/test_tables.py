"""The comparison with scikit-learn on public tables measures what it says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.sklearn_baselines import BOOSTING, LINEAR, predict
from benchmarks.tables import relative_gain
from benison.components.evaluate.metrics import METRICS

ROWS = 400


@pytest.fixture
def rows() -> pd.DataFrame:
    """Rows with a number, a category with a value that is rare, and missing cells."""
    rng = np.random.default_rng(0)
    colours = rng.choice(np.array([b"red", b"green", b"blue"], object), ROWS)
    colours[::40] = np.nan
    sizes = rng.normal(size=ROWS)
    sizes[::50] = np.nan
    return pd.DataFrame({"size": sizes, "colour": colours})


def test_the_gain_is_relative_to_the_loss_of_the_other_model() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.permutation(2 * ROWS)[:ROWS] for _ in range(3)]
    labels = [rng.normal(size=(ROWS, 1)) for _ in range(3)]
    errors = [rng.normal(size=(ROWS, 1)) for _ in range(3)]
    models = [[y + factor * error for y, error in zip(labels, errors, strict=True)] for factor in (0.9, 1.0)]
    assert relative_gain(METRICS["rmse"], rows, labels, *models) == pytest.approx((0.1, 0.1))


def test_rows_that_several_seeds_judge_count_once_in_the_width_of_the_interval() -> None:
    rng = np.random.default_rng(0)
    labels, model, other = (rng.normal(size=(ROWS, 1)) for _ in range(3))

    def width(*rows: np.ndarray) -> float:
        low, high = relative_gain(METRICS["rmse"], rows, *([values] * len(rows) for values in (labels, model, other)))
        return high - low

    same, different = np.arange(ROWS), np.arange(ROWS) + ROWS
    assert width(same, same) == pytest.approx(width(same))
    assert width(same, different) < 0.85 * width(same)


@pytest.mark.filterwarnings("ignore:Could not find the number of physical cores")
@pytest.mark.parametrize("model", [LINEAR, BOOSTING])
@pytest.mark.parametrize(("problem", "classes"), [("binary", 2), ("multiclass", 4), ("regression", 0)])
def test_a_baseline_answers_every_row(rows: pd.DataFrame, model: str, problem: str, classes: int) -> None:
    target = rows["size"].fillna(0).to_numpy() + (rows["colour"] == b"red").to_numpy()
    # No training row has class 1.
    labels = target if problem == "regression" else np.where(target > 0.5, max(classes - 1, 1), 0)
    answers = predict(rows, labels, rows.head(50), model, problem)
    assert answers.shape == (50, classes or 1)
    if classes:
        np.testing.assert_allclose(answers.sum(axis=1), 1)
        assert (answers[:, 1 : classes - 1] == 0).all()
