"""Intervals of a regression's answers by split conformal prediction.

The half width is a quantile of the absolute errors on rows that no member learnt from: the ceil((n + 1) level)-th
smallest of n. If these rows and a new one are exchangeable, the interval holds the new label with at least this
probability, whatever the model is (V. Vovk, A. Gammerman and G. Shafer, Algorithmic Learning in a Random World,
Springer 2005; J. Lei et al., Distribution-Free Predictive Inference for Regression, Journal of the American Statistical
Association 113, 2018, algorithm 2). Rows count by their sample weights, and the new row by their mean (R. J. Tibshirani
et al., Conformal Prediction Under Covariate Shift, NeurIPS 2019, equation 7).

The rows are those of `blend`. A fitted combiner has learnt from them too, so each row's answer is that of a combiner
fitted to the other folds. Where the members learnt from `blend`, because the table is small, the rows are all that they
learnt from, each with the answers of members that were trained without its fold: then the coverage is approximate
(R. F. Barber et al., Predictive Inference with the Jackknife+, Annals of Statistics 49, 2021).

A skewed label under `target: auto` has large errors where its values are large. Then the errors are those of
asinh(y / w), which is a logarithm for |y| much above w, and the interval grows with the answer.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benison.components import sample_weights
from benison.components.train.label_scale import Scale
from benison.serving.versions.answer_interval import AnswerInterval

FILE = "interval.json"
_ROUNDING = 1e-9
_BELOW_POSITIVE = 1000  # of all labels above 0, the smallest is still so far above w that asinh is a logarithm
_TWO_SIDED_95 = 1.96


def fit(
    labels: NDArray, answers: NDArray, level: float, weights: NDArray | None = None, *, scaled: bool = False
) -> AnswerInterval | None:
    """Return the interval of an answer; None if the rows are too few for its level.

    Args:
        labels: numbers [rows].
        answers: of a model that did not learn from the row [rows].
        level: the share of the labels that the intervals hold, between 0 and 1.
        weights: sample weights [rows], above 0; None if all are equal.
        scaled: let the interval grow with the answer if the label is skewed.
    """
    labels, answers = labels.astype(np.float64), answers.astype(np.float64)
    counts = sample_weights.equal(len(labels)) if weights is None else weights.astype(np.float64)
    width = _scale_width(labels, counts) if scaled and len(labels) else None
    plain = AnswerInterval(level=level, half_width=0.0, rows=len(labels), scale_width=width)
    errors = np.abs(plain.scaled(labels) - plain.scaled(answers))
    order = np.argsort(errors, kind="stable")
    shares = np.cumsum(counts[order]) / (counts.sum() + counts.mean()) if len(labels) else np.zeros(0)
    position = int(np.searchsorted(shares, level - _ROUNDING))
    if position == len(labels):
        return None
    margin = float(errors[order[position]])
    fitted = plain.model_copy(update={"half_width": margin, "scaled_half_width": None if width is None else margin})
    if width is None:
        return fitted
    low, high = fitted.bounds(answers)
    return fitted.model_copy(update={"half_width": float(np.median(high - low) / 2)})


def coverage(
    interval: AnswerInterval, labels: NDArray, answers: NDArray, weights: NDArray | None = None
) -> dict[str, float]:
    """Measure the share of the labels of other rows that the intervals hold.

    Args:
        interval: the interval.
        labels: numbers [rows].
        answers: of the model [rows].
        weights: sample weights [rows], above 0; None if all are equal.

    Returns:
        `coverage`, and `low` and `high` of its 95 % interval (E. B. Wilson, Probable Inference, Journal of the American
        Statistical Association 22, 1927).
    """
    low, high = interval.bounds(answers.astype(np.float64))
    counts = sample_weights.equal(len(labels)) if weights is None else weights
    share = float(np.average((low <= labels) & (labels <= high), weights=counts))
    rows, z = sample_weights.effective_rows(counts), _TWO_SIDED_95
    middle = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    margin = z * float(np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))) / (1 + z**2 / rows)
    return {"coverage": share, "low": max(middle - margin, 0.0), "high": min(middle + margin, 1.0)}


def save(interval: AnswerInterval, folder: Path) -> None:
    """Write the interval beside a model."""
    (folder / FILE).write_text(json.dumps(interval.to_dict(), indent=2) + "\n", encoding="utf-8")


def load(folder: Path) -> AnswerInterval | None:
    """Read the interval beside a model; None if there is none."""
    file = folder / FILE
    return AnswerInterval.model_validate_json(file.read_text(encoding="utf-8")) if file.is_file() else None


def _scale_width(labels: NDArray, weights: NDArray) -> float | None:
    """Return the w of asinh(y / w) for skewed labels; None for others."""
    scale = Scale.of(labels, weights)
    if scale is None:
        return None
    return float(labels.min()) / _BELOW_POSITIVE if scale.width is None else float(scale.width)
