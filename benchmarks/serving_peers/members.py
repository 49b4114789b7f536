"""The model that every peer serves: written as its users would write it, or Benison's fused and packed engine.

It runs in the environments of the peers, with TensorFlow, numpy and the modules of `benison.serving.server` that need
nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Rows = Sequence[Mapping[str, Any]]
Predict = Callable[[Rows], list[list[float]]]


def load() -> Predict:
    """Return a function from rows to probabilities.

    The variable BENCHMARK_MODELS names the folder of the models, and BENCHMARK_VARIANT is A or C.
    """
    folder = Path(os.environ["BENCHMARK_MODELS"])
    return _fused(folder) if os.environ["BENCHMARK_VARIANT"] == "C" else _separate(folder)


def _separate(folder: Path) -> Predict:
    """Return a function that calls three signatures and takes the mean."""
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    models = [tf.saved_model.load(str(folder / name / "1")) for name in ("wide", "deep", "cross")]
    signatures = [model.signatures["serving_default"] for model in models]
    types = {name: spec.dtype for name, spec in signatures[0].structured_input_signature[1].items()}

    def predict(rows: Rows) -> list[list[float]]:
        inputs = {name: tf.constant([row[name] for row in rows], dtype) for name, dtype in types.items()}
        answers = [signature(**inputs)["probabilities"].numpy() for signature in signatures]
        return np.mean(answers, axis=0).tolist()

    # A loaded model is released with its object, so keep a reference.
    predict.models = models  # type: ignore[attr-defined]
    return predict


def _fused(folder: Path) -> Predict:
    from benison.serving.server.codec import packing
    from benison.serving.server.engine import LoadOptions
    from benison.serving.server.engines.saved_model import SessionEngine

    engine = SessionEngine(str(folder / "ensemble" / "1"), LoadOptions())
    signature = engine.signatures["serving_default"]
    groups = packing.groups(signature)
    read, run = packing.reader(groups), engine.pack(signature, groups)

    def predict(rows: Rows) -> list[list[float]]:
        parts = read(rows)
        if parts is None:
            raise ValueError("the rows do not match the inputs of the model")
        return run(packing.arrays(groups, [parts]))["probabilities"].tolist()

    return predict
