"""TensorFlow's noise, turned down before it is imported."""

from __future__ import annotations

import logging
import os
import warnings


def quieten() -> None:
    """Keeps what a node says legible: errors of TensorFlow and absl only, and no warnings of libraries' innards.

    To be called before TensorFlow's import, for what C++ says, and once more after it, which sets levels of its own.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # the same sums on every machine
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    warnings.filterwarnings("ignore")
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.ERROR)
    for name in ("tensorflow", "apache_beam"):
        logging.getLogger(name).setLevel(logging.ERROR)
