"""Random ensembles, and a reference implementation of their combiners in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from benison.serving.ensemble import (
    Custom,
    Ensemble,
    MajorityVote,
    Mean,
    Median,
    SoftVote,
    Stack,
    Stacking,
    TemperatureScaling,
    WeightedMean,
)
from benison.serving.ensemble.combiners import Output

CLASSIFIERS = ["mean", "weighted_mean", "median", "majority_vote", "soft_vote", "stacking", "custom"]
REGRESSORS = ["mean", "weighted_mean", "median", "stacking"]

GEOMETRIC = """
import tensorflow as tf

def geometric(outputs):
    logs = tf.add_n([tf.math.log(values) for values in outputs.values()]) / len(outputs)
    return tf.nn.softmax(logs, axis=1)
"""


def softmax(score: np.ndarray) -> np.ndarray:
    exponentials = np.exp(score - score.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def reference(spec: Ensemble, outputs: dict[str, np.ndarray]) -> np.ndarray:
    """Combine the outputs in float64 NumPy, independently of Benison's implementation."""
    combiner: Any = spec.combiner
    names = [name for name in spec.members if name in outputs]
    stacked = np.stack([outputs[name].astype(np.float64) for name in names])
    weights = np.array([getattr(combiner, "weights", {}).get(name, 0.0) for name in names])
    weights = weights / weights.sum() if weights.sum() else np.full(len(names), 1 / len(names))
    clipped = np.log(np.clip(stacked, 1e-7, 1)) if spec.output == "probabilities" else stacked
    if combiner.kind == "mean":
        combined = stacked.mean(axis=0)
    elif combiner.kind in ("weighted_mean", "soft_vote"):
        combined = np.einsum("m,mbn->bn", weights, stacked)
    elif combiner.kind == "median":
        combined = np.median(stacked, axis=0)
        if spec.output == "probabilities":
            total = combined.sum(axis=1, keepdims=True)
            combined = np.where(total > 0, combined / np.where(total > 0, total, 1), stacked.mean(axis=0))
    elif combiner.kind == "majority_vote":
        combined = np.einsum("m,mbn->bn", weights, np.eye(stacked.shape[2])[stacked.argmax(axis=2)])
    elif combiner.kind == "stacking":
        missing = [name for name in combiner.coefficients if name not in outputs]
        stack = combiner.fallbacks[missing[0]] if missing else combiner
        combined = np.asarray(stack.intercept, np.float64) + sum(
            np.asarray(stack.coefficients[name]) * clipped[names.index(name)] for name in stack.coefficients
        )
        combined = softmax(combined) if spec.output == "probabilities" else combined
    else:
        combined = softmax(np.log(stacked).mean(axis=0))
    if spec.calibration:
        bias = np.asarray(spec.calibration.bias) if spec.calibration.bias else 0
        combined = softmax(np.log(np.clip(combined, 1e-7, 1)) / spec.calibration.temperature + bias)
    return combined


def random_spec(kind: str, output: Output, rng: np.random.Generator, n: int) -> Ensemble:
    names = [f"m{i}" for i in range(rng.integers(2, 9))]
    weights = {name: float(w) for name, w in zip(names, rng.dirichlet(np.ones(len(names))), strict=True)}

    def stack(members: list[str]) -> dict[str, Any]:
        width = int(rng.choice([1, n]))
        coefficients = {name: tuple(map(float, rng.uniform(0, 1, width))) for name in members}
        return {"coefficients": coefficients, "intercept": tuple(map(float, rng.normal(size=n)))}

    combiners: dict[str, Any] = {
        "mean": Mean,
        "weighted_mean": lambda: WeightedMean(weights=weights),
        "median": Median,
        "majority_vote": lambda: MajorityVote(weights=weights if rng.random() < 0.5 else {}),
        "soft_vote": lambda: SoftVote(weights=weights if rng.random() < 0.5 else {}),
        "stacking": lambda: Stacking(
            **stack(names), fallbacks={m: Stack(**stack([x for x in names if x != m])) for m in names}
        ),
        "custom": lambda: Custom(function="geometric", source=GEOMETRIC),
    }
    calibration = None
    if output == "probabilities" and rng.random() < 0.5:
        bias = tuple(map(float, rng.normal(0, 0.3, n))) if rng.random() < 0.5 else ()
        calibration = TemperatureScaling(temperature=float(rng.uniform(0.5, 3)), bias=bias)
    return Ensemble(members=tuple(names), combiner=combiners[kind](), output=output, calibration=calibration)


def random_outputs(spec: Ensemble, rng: np.random.Generator, batch: int, n: int) -> dict[str, np.ndarray]:
    if spec.output == "probabilities":
        return {name: rng.dirichlet(np.ones(n), batch).astype(np.float32) for name in spec.members}
    dtypes = ["float16", "float32", "float64", "int32"]
    return {name: rng.normal(0, 100, (batch, n)).astype(str(rng.choice(dtypes))) for name in spec.members}
