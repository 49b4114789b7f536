"""Models that know nothing are not better than a guess; models that know something are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from benison.components.evaluate.rules import judge

SEEDS = range(20)
TRAIN, TEST, COLUMNS = 600, 300, 8


def table(seed: int, signal: float) -> tuple[NDArray, NDArray]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(TRAIN + TEST, COLUMNS))
    chance = 1 / (1 + np.exp(-signal * features[:, :2].sum(axis=1)))
    return features, (rng.random(TRAIN + TEST) < chance).astype(np.int64)


def judged(features: NDArray, label: NDArray, metric: str) -> bool:
    """Fit a model to the first rows, and judge it on the others."""
    inputs = np.hstack([features, np.ones((len(features), 1))])
    weights = np.zeros(inputs.shape[1])
    for _ in range(200):
        error = 1 / (1 + np.exp(-inputs[:TRAIN] @ weights)) - label[:TRAIN]
        weights -= 0.5 * inputs[:TRAIN].T @ error / TRAIN
    positive = 1 / (1 + np.exp(-inputs[TRAIN:] @ weights))
    share = label[:TRAIN].mean()
    report = judge(
        problem="binary",
        metric=metric,
        labels=label[TRAIN:],
        ensemble=np.stack([1 - positive, positive], axis=1),
        reference=np.array([1 - share, share]),
    )
    return report.blessed


@pytest.mark.parametrize("metric", ["auc", "accuracy", "log_loss"])
@pytest.mark.parametrize("seed", SEEDS)
def test_noise_and_shuffled_labels_are_not_blessed(seed: int, metric: str) -> None:
    features, label = table(seed, signal=0)
    assert not judged(features, label, metric)
    features, label = table(seed, signal=2)
    assert not judged(features, np.random.default_rng(seed).permutation(label), metric)


@pytest.mark.parametrize("metric", ["auc", "accuracy", "log_loss"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_real_signal_is_blessed(seed: int, metric: str) -> None:
    assert judged(*table(seed, signal=2), metric)
