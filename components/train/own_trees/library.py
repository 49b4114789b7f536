"""The module that reads a fitted model."""

from __future__ import annotations

from typing import Any

from benison.components.train.member import kind_of
from benison.components.train.own_trees import catboost, lightgbm, scikit_learn, xgboost
from benison.components.train.own_trees.reading import ReadModel
from benison.components.train.own_trees.rows import OwnRows
from benison.serving.errors import UsageError

_READERS = (catboost, lightgbm, xgboost, scikit_learn)


def read(model: Any, rows: OwnRows) -> ReadModel:
    """Read the model that a user's function returned.

    Raises:
        UsageError: it is no model of trees, or one that cannot be served as it is.
    """
    for reader in _READERS:
        if reader.reads(model):
            return reader.read(model, rows)
    steps = "; return the model itself, and prepare its features in preprocessing_fn" if hasattr(model, "steps") else ""
    raise UsageError(
        f"returned {kind_of(model)}, expected a fitted model of CatBoost, LightGBM, XGBoost or scikit-learn's trees "
        f"(decision trees, forests, GradientBoosting, HistGradientBoosting){steps}"
    )
