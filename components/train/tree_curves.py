"""The losses by tree that a fitted model of CatBoost, LightGBM, XGBoost or scikit-learn has recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benison.components.train.history import VALID, History

_TRAIN = frozenset({"learn", "train", "training"})
_RECORDS = ("get_evals_result", "evals_result", "evals_result_")  # of CatBoost, XGBoost and LightGBM


def history(model: Any, rounds: int) -> History | None:
    """Return the losses by tree of a model; None if it has recorded none, as a forest or a Booster.

    Args:
        model: the fitted model.
        rounds: the number of its rounds that are kept.
    """
    metrics: dict[str, Sequence[float]] = {}
    results = _results(model)
    others = [name for name in results if name not in _TRAIN]
    for rows, losses in results.items():
        # A name such as `validation_0` says nothing, unless there are several.
        prefix = "" if rows in _TRAIN else VALID if len(others) == 1 else f"{VALID}{rows}_"
        names = list(losses)
        for name, values in losses.items():
            metrics[f"{prefix}{'loss' if len(names) == 1 else name}"] = [float(value) for value in values]
    return History("tree", rounds - 1, metrics) if metrics else None


def _results(model: Any) -> Mapping[str, Mapping[str, Sequence[float]]]:
    """Return the numbers by rows and metric, as CatBoost, XGBoost and LightGBM record them."""
    for name in _RECORDS:
        found = getattr(model, name, None)
        try:
            results = found() if callable(found) else found
        except Exception:  # XGBoost's error for a model that was fitted without other rows
            continue
        if isinstance(results, Mapping) and results:
            return results
    scores = {"train": getattr(model, "train_score_", None), "valid": getattr(model, "validation_score_", None)}
    # HistGradientBoosting records the negative loss, GradientBoosting the loss.
    sign = -1.0 if scores["valid"] is not None else 1.0
    return {
        rows: {"loss": [sign * float(v) for v in values]}
        for rows, values in scores.items()
        if values is not None and len(values)
    }
