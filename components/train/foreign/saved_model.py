"""A SavedModel that another program wrote, as a function in TensorFlow operations.

A model of TensorFlow 2 is loaded with its variables and tables. A model of TensorFlow 1 has neither as objects, and
TensorFlow cannot write it again; `session_graph` makes them.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benison.components.train.foreign import session_graph
from benison.components.train.foreign.columns import ModelInput
from benison.components.train.foreign.imported import Imported
from benison.components.train.foreign.settings import ForeignModel
from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError

FILE = "saved_model.pb"
_TAG = "serve"
_CHECK = "benison.serving.server.import_check"


def load(model: ForeignModel) -> Imported:
    """Load a signature of a SavedModel.

    Raises:
        UsageError: it cannot be loaded, may run code that reaches outside, or lacks the signature or the output.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    with _reading(model):
        graphs = saved_model_pb2.SavedModel.FromString(Path(model.path, FILE).read_bytes()).meta_graphs
        meta_graph = next((graph for graph in graphs if _TAG in graph.meta_info_def.tags), None)
    if meta_graph is None:
        tags = "; ".join(", ".join(graph.meta_info_def.tags) for graph in graphs)
        raise UsageError(
            f"{model.where('path')}: {model.path} has no graph with the tag {_TAG!r} (it has {tags or 'no graph'})"
        )
    signature = _signature(model, meta_graph)
    inputs = {name: _input(model, name, info) for name, info in sorted(signature.inputs.items())}
    output = _output(model, signature)
    info = signature.outputs[output]
    _refuse_reach(model)
    with _reading(model):
        if meta_graph.HasField("object_graph_def"):
            loaded = tf.saved_model.load(model.path)
            # Only the tables: the model's other functions need not become part of the member.
            tracked = _tables(loaded)
            call = lambda tensors: loaded.signatures[model.signature](**tensors)[output]  # noqa: E731
        else:
            call, tracked = session_graph.function(model.path, signature, output)
    return Imported(inputs, output, _dtype(info), _shape(info), call, tracked)


def _refuse_reach(model: ForeignModel) -> None:
    """Refuse a model that reaches files, the network or Python, in a process of its own: the check is the server's.

    Raises:
        UsageError: it does; the message names the operation.
    """
    command = [sys.executable, "-m", _CHECK, model.path, model.signature]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    if checked.returncode:
        last = checked.stderr.strip().splitlines()[-1:] or ["it printed nothing"]
        raise UsageError(f"{model.where('path')}: {model.path} could not be checked: {last[0]}")
    if fault := checked.stdout.strip():
        raise UsageError(f"{model.where('path')}: {fault}")


def _signature(model: ForeignModel, meta_graph: Any) -> Any:
    known = {name for name in meta_graph.signature_def if name != "__saved_model_init_op"}
    if model.signature not in known:
        raise UsageError(
            f"{model.where('signature')}: {model.path} has no signature {model.signature!r}"
            f"{did_you_mean(model.signature, known)} (it has {', '.join(sorted(known)) or 'none'})"
        )
    return meta_graph.signature_def[model.signature]


def _input(model: ForeignModel, name: str, info: Any) -> ModelInput:
    if info.WhichOneof("encoding") not in ("name", None):
        raise UsageError(f"{model.where(f'inputs.{name}')}: the input is sparse or ragged, expected a dense tensor")
    return ModelInput(_dtype(info), _shape(info))


def _output(model: ForeignModel, signature: Any) -> str:
    """Return the name of the output that the settings name, or of the only one."""
    known = sorted(signature.outputs)
    if model.output and model.output not in known:
        raise UsageError(
            f"{model.where('output')}: the model has no output {model.output!r}{did_you_mean(model.output, known)} (it "
            f"has {', '.join(known)})"
        )
    if not model.output and len(known) != 1:
        raise UsageError(
            f"{model.where('output')}: missing; the model has the outputs {', '.join(known)}, name the one with the "
            f"{'number' if model.problem == 'regression' else 'probabilities'}"
        )
    return model.output or known[0]


def _dtype(info: Any) -> str:
    import tensorflow as tf

    return str(tf.as_dtype(info.dtype).name)


def _shape(info: Any) -> list[int | None] | None:
    if info.tensor_shape.unknown_rank:
        return None
    return [None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim]


def _tables(loaded: Any) -> list[Any]:
    import tensorflow as tf

    resource = tf.saved_model.experimental.TrackableResource
    return [part for part in tf.train.TrackableView(loaded).descendants() if isinstance(part, resource)]


@contextlib.contextmanager
def _reading(model: ForeignModel) -> Iterator[None]:
    """Turn an error of TensorFlow into one that names the model."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, DecodeError, tf.errors.OpError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        hint = "" if Path(model.path, FILE).is_file() else f"; expected a folder with {FILE}"
        raise UsageError(f"{model.where('path')}: {model.path} cannot be loaded: {reason[0]}{hint}") from error
