"""The server starts with a part of TensorFlow, and TensorFlow is whole for code that needs more of it."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from benison.serving.server.engines import lean_tensorflow
from tests.integration.model_server import write_model

_PROGRAM = """
import json, sys, warnings
warnings.simplefilter("ignore")
from benison.serving.server.engines import lean_tensorflow
lean_tensorflow.load()
from benison.serving.server.batching import limits, routes
from benison.serving.server.codec import tensors
from benison.serving.server.engine import LoadOptions
from benison.serving.server.engines import loading, saved_model
from benison.serving.server.pages import model_info
options = LoadOptions()
saved_model.prepare(options)
engine = loading.load(sys.argv[1], options)
paths = {name: route.describe()["inputs"] for name, route in routes.plan_routes(engine, sys.argv[1], limits.BatchLimits()).items()}
import numpy as np
half = engine.run(engine.signatures["half"], {"half": np.float16([1.5])}, ("half",))["half"]
proto = tensors.to_proto(half, "float16", False)
lean = [name for name in ("keras", "pandas", "tensorflow.python.distribute") if name in sys.modules]
import tensorflow as tf
whole = int(tf.reduce_sum(tf.constant([1, 2]))), tf.keras.layers.Dense(2)(tf.ones([1, 3])).shape[1], tf.__version__
print(json.dumps([paths["mixed"], tensors.from_proto("half", proto, "float16").tolist(), lean, whole]))
"""


@pytest.mark.parametrize("name", lean_tensorflow.NAMES)
def test_each_name_is_that_of_tensorflows_api(name: str) -> None:
    module, _, attribute = lean_tensorflow.NAMES[name].partition(":")
    assert getattr(sys.modules[module], attribute) is functools.reduce(getattr, name.split("."), tf)


def test_a_model_is_served_without_keras_and_tensorflow_is_whole_when_it_is_needed(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", 1)
    command = [sys.executable, "-c", _PROGRAM, str(model)]
    output = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
    assert json.loads(output) == ["packed", [1.5], [], [3, 2, tf.__version__]]
