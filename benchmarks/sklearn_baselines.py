"""Fit what scikit-learn gives in a minute: a linear model and gradient boosting with their default settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

LINEAR, BOOSTING = "linear", "boosting"
MOST_CATEGORIES = 250  # HistGradientBoosting allows 255


def predict(
    training: pd.DataFrame, labels: np.ndarray, test: pd.DataFrame, model: str, problem: str, seed: int = 0
) -> np.ndarray:
    """Fit a baseline to the training rows and return its answers to the test rows.

    Args:
        training: numbers as float, all other columns as text or NaN.
        labels: class ids, or numbers for regression.
        test: the same columns.
        model: `linear` (logistic regression, or ridge) or `boosting` (HistGradientBoosting).
        problem: binary, multiclass or regression.
        seed: seed of the gradient boosting.

    Returns:
        Probabilities [rows, classes], or predictions [rows, 1].
    """
    text = [column for column in training if training[column].dtype == object]
    numbers = [column for column in training if column not in text]
    makers: dict[str, Callable[..., Any]] = {LINEAR: _linear, BOOSTING: _boosting}
    fitted = makers[model](numbers, text, problem, seed).fit(training, labels)
    if problem == "regression":
        return np.asarray(fitted.predict(test), np.float64)[:, None]
    probabilities = np.zeros((len(test), int(labels.max()) + 1))
    probabilities[:, fitted.classes_.astype(int)] = fitted.predict_proba(test)
    return probabilities


def _linear(numbers: Sequence[str], text: Sequence[str], problem: str, seed: int) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), list(numbers)),
        (OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20), list(text)),
    )
    return make_pipeline(columns, Ridge() if problem == "regression" else LogisticRegression(max_iter=1000))


def _boosting(numbers: Sequence[str], text: Sequence[str], problem: str, seed: int) -> Any:
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    categories = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, max_categories=MOST_CATEGORIES
    )
    columns = make_column_transformer((categories, list(text)), ("passthrough", list(numbers)))
    categorical = [True] * len(text) + [False] * len(numbers)
    kind = HistGradientBoostingRegressor if problem == "regression" else HistGradientBoostingClassifier
    return make_pipeline(columns, kind(categorical_features=categorical, random_state=seed))
