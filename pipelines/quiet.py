"""Reduce TensorFlow's log output."""

from __future__ import annotations

import logging
import os
import warnings


def quieten() -> None:
    """Keep a node's log readable: show only errors of TensorFlow and absl, and no warnings from inside libraries.

    Call it before TensorFlow's import, for the C++ log, and again after it, because the import sets its own levels.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # the same results on every machine
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    warnings.filterwarnings("ignore")
    from absl import logging as absl_logging

    absl_logging.set_verbosity(absl_logging.ERROR)
    for name in ("tensorflow", "apache_beam"):
        logging.getLogger(name).setLevel(logging.ERROR)
