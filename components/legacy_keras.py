"""Decide which Keras `tf.keras` is: in every process the one that TFX's LocalDagRunner has."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

LEGACY_KERAS = "TF_USE_LEGACY_KERAS"


def settle_keras() -> None:
    """Decide which Keras `tf.keras` is, before a library does.

    TensorFlow reads TF_USE_LEGACY_KERAS when `tf.keras` is first used, and TFT sets the variable when it is imported.
    So the order of imports would decide. Here the variable that the process was started with decides. Afterwards the
    variable has TFT's value, as in any process that has imported TFX.
    """
    import tensorflow as tf

    assert tf.keras.Model
    os.environ.setdefault(LEGACY_KERAS, "1")


def environment_for_child() -> Mapping[str, str]:
    """Return this process's environment for a new process; both have the same `tf.keras`."""
    environment = dict(os.environ)
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and not tensorflow.keras.Model.__module__.startswith("tf_keras"):
        environment.pop(LEGACY_KERAS, None)
    return environment
