"""The model that every peer serves: as its users would write it, or our fused and packed engine.

Runs in the peers' own environments: TensorFlow, numpy and the modules of `benison.serving.server` that need no more.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Rows = Sequence[Mapping[str, Any]]
Predict = Callable[[Rows], list[list[float]]]


def load() -> Predict:
    """From rows to probabilities, by the variables BENCHMARK_MODELS (a folder) and BENCHMARK_VARIANT (A or C)."""
    folder = Path(os.environ["BENCHMARK_MODELS"])
    return _fused(folder) if os.environ["BENCHMARK_VARIANT"] == "C" else _separate(folder)


def _separate(folder: Path) -> Predict:
    """Three signature calls and a mean."""
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

    # What is loaded goes with the object that loaded it.
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
            raise ValueError("rows of another form")
        return run(packing.arrays(groups, [parts]))["probabilities"].tolist()

    return predict
