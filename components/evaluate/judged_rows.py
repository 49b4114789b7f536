"""The rows of `test` that a rule is about, with the models' predictions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benison.components.evaluate import power
from benison.components.evaluate.comparison import Comparison
from benison.components.evaluate.metrics import Metric
from benison.components.sample_weights import effective_rows


@dataclass(frozen=True)
class MemberChoice:
    """The members' predictions for rows that no member learnt from, and not of `test`: to choose the best member.

    The best of several on `test` itself would be partly the luckiest there, and too strong an opponent.
    """

    labels: NDArray
    members: Mapping[str, NDArray]
    weights: NDArray | None = None

    def best(self, metric: Metric) -> str | None:
        """Return the member with the best metric; None if the metric is undefined for all members."""
        sign = 1 if metric.greater_is_better else -1
        scores = {
            name: sign * metric.compute(self.labels, values, self.weights) for name, values in self.members.items()
        }
        defined = {name: score for name, score in scores.items() if math.isfinite(score)}
        return max(defined, key=lambda name: defined[name]) if defined else None


@dataclass(frozen=True)
class JudgedRows:
    """Labels and sample weights of the split `test`, all models' predictions for its rows, and the guess for all."""

    problem: str
    labels: NDArray
    ensemble: NDArray
    reference: NDArray
    members: Mapping[str, NDArray]
    served: NDArray | None
    no_baseline: str
    slices: Mapping[str, NDArray]
    choice: MemberChoice
    weights: NDArray | None = None

    @property
    def effective(self) -> float:
        """The number of rows, or of rows of equal weight that tell as much."""
        return len(self.labels) if self.weights is None else effective_rows(self.weights)

    def select(self, mask: NDArray) -> JudgedRows:
        """Select the rows of a mask [rows]."""
        return replace(
            self,
            labels=self.labels[mask],
            ensemble=self.ensemble[mask],
            members={name: values[mask] for name, values in self.members.items()},
            served=None if self.served is None else self.served[mask],
            weights=None if self.weights is None else self.weights[mask],
        )

    def compute(self, metric: Metric, predictions: NDArray) -> float:
        """Return a metric of predictions for these rows."""
        return metric.compute(self.labels, predictions, self.weights)

    def guess(self, metric: Metric) -> NDArray:
        """Return the best answer to each row that is the same for all rows, [rows, n]."""
        same = self.reference if self.problem == "regression" else power.best_guess(metric, self.reference)
        return np.broadcast_to(same, self.ensemble.shape)

    def best_member(self, metric: Metric) -> tuple[str, NDArray] | None:
        """Return the best member, see `MemberChoice`, and its predictions; None if there is none."""
        best = self.choice.best(metric)
        return None if best is None else (best, self.members[best])

    def guess_shortage(self, comparison: Comparison) -> power.Shortage | None:
        """Return how many rows are missing for "better than a guess"; None if they are enough."""
        return self._shortage(power.blesses_half, comparison)

    def loss_shortage(self, comparison: Comparison) -> power.Shortage | None:
        """Return how many rows are missing for "not worse than"; None if they are enough."""
        return self._shortage(power.refuses_loss, comparison)

    def _shortage(self, enough: Callable[..., bool], comparison: Comparison) -> power.Shortage | None:
        case = power.Case(self.problem, comparison.metric, self.reference, comparison.seed)
        return power.shortage(case, self.labels, self.weights, partial(enough, case, confidence=comparison.confidence))
