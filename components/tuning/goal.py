"""The goal of a search: the number on `valid` that trials are judged by, the loss or a metric as in the Blessing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benison.components.evaluate import own_metrics
from benison.components.evaluate.metrics import Metric
from benison.components.evaluate.own_metrics import OwnMetric

LOSS = "val_loss"


@dataclass(frozen=True)
class Goal:
    """The number that trials are judged by.

    Attributes:
        name: name of the number that a trial reports, such as `val_loss` or `val_auc`.
        direction: min or max.
        metric: the metric of the pipeline; None for the loss, and for a number of the user's own tuner.
    """

    name: str = LOSS
    direction: Literal["min", "max"] = "min"
    metric: Metric | None = None

    def value(self, answers: NDArray, labels: NDArray, weights: NDArray | None) -> float:
        """Compute the metric.

        Args:
            answers: probabilities [rows, classes] or predictions [rows, 1].
            labels: class ids [rows], or numbers [rows].
            weights: sample weights [rows]; None: all rows count the same.
        """
        assert self.metric is not None
        is_number = labels.dtype.kind == "f"
        return self.metric.compute(labels[:, None] if is_number else labels, answers, weights)

    def value_of_batches(self, predict: Callable[[Any], Any], batches: Iterable[Any]) -> float:
        """Compute the metric of batches (features, label) or (features, label, weight)."""
        answers, labels, weights = [], [], []
        for features, label, *weight in batches:
            answers.append(np.asarray(predict(features)))
            labels.append(np.asarray(label))
            weights += [np.asarray(values) for values in weight]
        return self.value(np.concatenate(answers), np.concatenate(labels), np.concatenate(weights) if weights else None)


def of_metric(
    name: str, threshold: float | None, costs: Mapping[str, float] | None, own: Sequence[OwnMetric]
) -> dict[str, Any]:
    """Return the goal of a metric of the pipeline as plain data for `parse`.

    Args:
        name: the metric.
        threshold: the lowest probability that decides for class 1; None: the most likely class is the decision.
        costs: fields of `Costs`; None if they are unknown.
        own: the user's own metrics.
    """
    return {"metric": name, "threshold": threshold, "costs": costs, "own": [asdict(metric) for metric in own]}


def parse(data: Mapping[str, Any] | None, problem: str, classes: Sequence[str]) -> Goal:
    """Return the goal that plain data describes.

    Args:
        data: from `of_metric`; {name, direction} of what the user's own tuner reports; or None for the loss.
        problem: binary, multiclass or regression.
        classes: names of the classes by id; empty for regression.
    """
    if not data:
        return Goal()
    if "metric" not in data:
        return Goal(data["name"], data["direction"])
    own = [OwnMetric(**fields) for fields in data["own"]]
    metric = own_metrics.metric_of(data["metric"], problem, classes, data["threshold"], data["costs"], own)
    return Goal(f"val_{metric.name}", "max" if metric.greater_is_better else "min", metric)
