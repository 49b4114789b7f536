"""Starts TensorFlow with the few names of its API that the server uses, in a fourth of the time and half of the memory.

`import tensorflow` imports Keras, the distribution strategies and whatever they find: scikit-learn, pandas, Matplotlib
and Google's API client. A server needs TensorFlow's library, sessions and protos. `load` puts a package `tensorflow`
into place that finds its submodules and the names below. At the first other name it runs TensorFlow's own
`__init__`, so that code that needs more of TensorFlow works as ever.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
import threading
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

# Public names, and where TensorFlow defines them.
NAMES = {
    "Graph": "tensorflow.python.framework.ops:Graph",
    "TensorShape": "tensorflow.python.framework.tensor_shape:TensorShape",
    "compat.v1.ConfigProto": "tensorflow.core.protobuf.config_pb2:ConfigProto",
    "compat.v1.Session": "tensorflow.python.client.session:Session",
    "compat.v1.io.tf_record_iterator": "tensorflow.python.lib.io.tf_record:tf_record_iterator",
    "compat.v1.placeholder": "tensorflow.python.ops.array_ops:placeholder",
    "compat.v1.saved_model.constants.LEGACY_INIT_OP_KEY": "tensorflow.python.saved_model.constants:LEGACY_INIT_OP_KEY",
    "compat.v1.saved_model.constants.MAIN_OP_KEY": "tensorflow.python.saved_model.constants:MAIN_OP_KEY",
    "dtypes.as_dtype": "tensorflow.python.framework.dtypes:as_dtype",
    "errors.OpError": "tensorflow.python.framework.errors_impl:OpError",
    "load_op_library": "tensorflow.python.framework.load_library:load_op_library",
    "make_ndarray": "tensorflow.python.framework.tensor_util:MakeNdarray",
    "name_scope": "tensorflow.python.framework.ops:name_scope_v2",
    "unstack": "tensorflow.python.ops.array_ops_stack:unstack",
}
_IN_PROGRESS = "_benison_in_progress"
_loading = threading.RLock()


def load() -> None:
    """Import the part of TensorFlow that the server uses, or all of it if the names are elsewhere in this TensorFlow.

    It does nothing if TensorFlow is imported already.
    """
    if "tensorflow" in sys.modules:
        return
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or _has_plugins():  # then the first import is TensorFlow's own, or its error
        return
    package = importlib.util.module_from_spec(spec)
    package.__class__ = _LeanPackage
    sys.modules["tensorflow"] = package
    try:
        os.environ["TF2_BEHAVIOR"] = "1"  # as TensorFlow's own `__init__` does it
        importlib.import_module("tensorflow.python.tf2").enable()
        for name in NAMES:
            _find(name)
    except Exception:
        _complete()


def _has_plugins() -> bool:
    """Return True if TensorFlow's `__init__` would load plugins, such as a driver of a device."""
    return any(Path(folder, "tensorflow-plugins").exists() for folder in sys.path)


class _LeanPackage(ModuleType):
    """The package `tensorflow` before its `__init__` was run."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"module 'tensorflow' has no attribute {name!r}")
        return _public(name)


class _Names:
    """A part of TensorFlow's API, such as `tf.compat.v1`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return _public(f"{self._name}.{name}")


def _public(name: str) -> Any:
    """Return what `tf.NAME` is."""
    if name in NAMES:
        return _find(name)
    if any(known.startswith(f"{name}.") for known in NAMES):
        return _Names(name)
    _complete()
    value: Any = sys.modules["tensorflow"]
    for part in name.split("."):
        value = getattr(value, part)
    return value


@cache
def _find(name: str) -> Any:
    module, _, attribute = NAMES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def _complete() -> None:
    """Run TensorFlow's own `__init__`, unless this was done; other threads that need it wait."""
    with _loading:
        package = sys.modules["tensorflow"]
        if not isinstance(package, _LeanPackage):
            return
        if package.__dict__.get(_IN_PROGRESS):  # the `__init__` itself looks for a name
            raise AttributeError("TensorFlow is being imported, and has no such attribute yet")
        setattr(package, _IN_PROGRESS, True)
        try:
            importlib.machinery.SourceFileLoader("tensorflow", str(package.__file__)).exec_module(package)
            object.__setattr__(package, "__class__", ModuleType)
        finally:
            delattr(package, _IN_PROGRESS)
