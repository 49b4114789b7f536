"""Components that go wrong, each in its own way."""

import os
import signal
import sys
from pathlib import Path

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import Model, String

from benison.serving.errors import DataError

STATE: list[str] = []


@component
def Fine(message: OutputArtifact[String]):
    message.value = "fine"


@component
def After(before: InputArtifact[String], message: OutputArtifact[String]):
    message.value = "after"


@component
def Disturbs(message: OutputArtifact[String]):
    """Change everything that a later node in the same process could find."""
    import locale
    import random
    import tempfile

    import keras

    os.environ["LEFT"] = "behind"
    del os.environ["HOME"]
    sys.path.insert(0, tempfile.gettempdir())
    os.chdir("/")
    locale.setlocale(locale.LC_ALL, "C")
    keras.utils.set_random_seed(1)
    keras.mixed_precision.set_dtype_policy("float16")
    keras.layers.Dense(1)  # Keras counts the names of layers
    STATE.append("left")
    message.value = str(random.random())


@component
def Finds(before: InputArtifact[String], message: OutputArtifact[String]):
    """Report what a node finds in its process, and the random numbers that would follow a seed of 1."""
    import json
    import locale
    import random

    import keras
    import numpy as np
    import tensorflow as tf

    found = {
        "environment": dict(os.environ),
        "path": sys.path,
        "folder": os.getcwd(),
        "locale": locale.setlocale(locale.LC_ALL),
        "tf.keras": tf.keras.Model.__module__.partition(".")[0],
        "state": STATE,
        "layer": keras.layers.Dense(1).name,
        "policy": keras.mixed_precision.dtype_policy().name,
    }
    numbers = [random.random(), float(np.random.rand()), float(tf.random.uniform([]))]
    message.value = json.dumps({"found": found, "numbers": numbers})


@component
def NeedsModel(model: InputArtifact[Model], message: OutputArtifact[String]):
    message.value = model.uri


@component
def Deadly(before: InputArtifact[String], model: OutputArtifact[Model], cure: Parameter[str]):
    Path(model.uri, "half").write_text("")
    if not os.path.exists(cure):
        os.kill(os.getpid(), signal.SIGKILL)


@component
def UsesModel(model: InputArtifact[Model]):
    print(os.listdir(model.uri))


@component
def Raises(message: OutputArtifact[String]):
    print("about to fail", end="")
    raise ValueError("first line\nsecond line")


@component
def Invalid(message: OutputArtifact[String]):
    raise DataError("rows.csv, line 3: not a number")


@component
def Exits(model: OutputArtifact[Model]):
    Path(model.uri, "half").write_text("")
    sys.exit(0)


@component
def Waits(file: Parameter[str], message: OutputArtifact[String]):
    import time

    Path(f"{file}.begun").touch()
    while not os.path.exists(file):
        time.sleep(0.05)
