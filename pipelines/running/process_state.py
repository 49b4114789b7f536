"""Keep what a node finds in its process the same, whichever nodes ran there before, and as TFX's LocalDagRunner has it.

It covers the environment variables, the import path, the current folder, the locale, the seeds of random numbers, and
which Keras `tf.keras` is.
"""

from __future__ import annotations

import locale
import os
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

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


@contextmanager
def restored() -> Iterator[None]:
    """Run the block with random seeds, and undo afterwards what it changes in the process (see the module)."""
    variables, folders, folder, culture = dict(os.environ), list(sys.path), os.getcwd(), locale.setlocale(locale.LC_ALL)
    _seed_randomly()
    try:
        yield
    finally:
        for name in os.environ.keys() - variables.keys():
            del os.environ[name]
        os.environ.update(variables)
        sys.path[:] = folders
        os.chdir(folder)
        locale.setlocale(locale.LC_ALL, culture)


def _seed_randomly() -> None:
    """Replace the seeds that an earlier node has set; a new process has random ones, too."""
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(None)
