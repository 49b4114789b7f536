"""Measure 1,000 trees of depth 6 as TensorFlow operations, on one thread: `python trees_call.py` prints JSON.

The rows have 20 numbers with missing cells and 5 categories of 22 values, as those of the other benchmarks.
"""

from __future__ import annotations

import json
import time
from typing import Any

import catboost
import numpy as np
import pandas as pd
import tensorflow as tf

from benison.components.train.trees import in_graph, symmetric

ROWS = (1, 64, 1000)
BARS = {1: 0.15, 64: 2.0, 1000: 30.0}  # milliseconds


def main() -> None:
    """Fit the trees, and print the median and the smallest time (milliseconds) by the number of rows."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    generator = np.random.default_rng(0)
    numbers = generator.normal(size=(20_000, 20)).astype(np.float32)
    numbers[generator.random(numbers.shape) < 0.05] = np.nan
    ids = generator.integers(0, 22, (20_000, 5))
    label = np.nan_to_num(numbers[:, :10]).sum(axis=1) * np.sign(ids[:, 0] - 10.5) + generator.normal(size=20_000)
    frame = pd.DataFrame(numbers)
    frame[[20, 21, 22, 23, 24]] = ids
    pool = catboost.Pool(frame, label, cat_features=[20, 21, 22, 23, 24])
    model = catboost.CatBoost(
        {"iterations": 1000, "depth": 6, "one_hot_max_size": 255, "random_seed": 0, "allow_writing_files": False}
    )
    model.fit(pool, verbose=False)
    trees = symmetric.from_catboost(model, pool)
    answers = tf.function(in_graph.function(trees)).get_concrete_function(
        tf.TensorSpec([None, 20], tf.float32), tf.TensorSpec([None, 5], tf.int64)
    )
    facts: dict[str, Any] = {"trees": len(trees.picks), "conditions": trees.conditions}
    for rows in ROWS:
        inputs = tf.constant(numbers[:rows]), tf.constant(ids[:rows])
        times = []
        for _ in range(300):
            start = time.perf_counter()
            answers(*inputs)
            times.append(1e3 * (time.perf_counter() - start))
        facts[str(rows)] = {"p50": round(float(np.median(times)), 3), "least": round(min(times), 3), "bar": BARS[rows]}
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
