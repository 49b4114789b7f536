"""The engine for SavedModels: a TensorFlow session, and the fastest way to call it from Python."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.serving import missing_values
from benison.serving.server.engine import LoadOptions, Signature, Tensors, TensorSpec, check_shapes
from benison.serving.server.engines import low_priority, private_tensorflow
from benison.serving.server.graphs import alignment, types, writes
from benison.serving.server.graphs.indexed import IndexedGraph
from benison.serving.server.graphs.kernels import Kernels
from benison.serving.server.status import Code, RequestError, invalid

if TYPE_CHECKING:
    import numpy as np

    from benison.serving.server.codec.packing import Group
    from benison.serving.server.engines.raw_inputs import RawInputs

_STOPPABLE_POOL, _STOPPABLE_THREADS = 1, 32  # of all versions: threads of runs with a time limit
_MAX_CALLABLES = 256  # of one version; clients choose the outputs, but must not control the memory


def prepare(options: LoadOptions) -> None:
    """Import TensorFlow and start its threads, which all sessions share and which keep the priority of this thread."""
    import tensorflow as tf

    tf.compat.v1.Session(graph=tf.Graph(), config=_config(options)).close()


class SessionEngine:
    """A graph with its variables and tables in its own session."""

    kind = "session"
    parallel = True

    def __init__(self, path: str, options: LoadOptions) -> None:
        """Load a SavedModel from a version's folder.

        Raises:
            RequestError: The folder has no SavedModel, or it uses operations that the options refuse.
            tf.errors.OpError, RuntimeError, OSError: The SavedModel is broken or has no graph with these tags.
        """
        from benison.serving.server.engines import graph_import, graph_operations, raw_inputs, refused_operations

        if not any((Path(path) / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
            raise RequestError(
                Code.NOT_FOUND, f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {path}"
            )
        self._callables: dict[tuple[str, tuple[str, ...], int], Any] = {}
        self._lock = threading.Lock()
        self._in_callers_thread = _runs_in_callers_thread(options)
        self.single_threaded = self._in_callers_thread and options.intra_op_threads == 1
        self._refused: dict[str, str] = {}  # by signature that must not run, the message for requests
        check = None
        if refused_operations.are_checked(path, options):

            def check(path: str, meta_graph: Any) -> None:
                self._refused = refused_operations.check(path, meta_graph)

        self._session, meta_graph = graph_import.load(path, options.tags, _config(options), check)
        try:
            raw = raw_inputs.read(path)
            self._packed_order = missing_values.read_packed(Path(path))
            graph = IndexedGraph.of(meta_graph.graph_def, cache(private_tensorflow.operation_definition))
            declared = [
                _signature(name, proto, raw if _takes_raw(name, proto, raw) else raw_inputs.RawInputs(), graph)
                for name, proto in sorted(meta_graph.signature_def.items())
            ]
            self.signatures: Mapping[str, Signature] = {
                signature.name: signature for signature in _inspected(declared, graph, self._kernels(graph))
            }
            unbounded = graph_operations.unbounded_operations(graph)
            self._unbounded = {
                name: unbounded.first(spec.tensor for spec in signature.outputs.values())
                for name, signature in self.signatures.items()
            }
        except BaseException:
            self._session.close()
            raise

    def run(
        self, signature: Signature, inputs: Tensors, outputs: Sequence[str], seconds: int = 0
    ) -> dict[str, np.ndarray[Any, Any]]:
        """See `Engine`."""
        import numpy as np

        check_shapes(signature, inputs)
        call = self._callable(signature, tuple(outputs), seconds if self._unbounded[signature.name] else 0)
        try:
            values = low_priority.call(call, *[inputs[name] for name in signature.inputs])
        except UnicodeDecodeError as error:  # TensorFlow's message quotes bytes from the client
            raise invalid(error.object.decode("utf-8", "replace")) from None
        # TensorFlow returns a scalar as a Python or numpy scalar, not as an array.
        arrays = [value if isinstance(value, np.ndarray) else _scalar(value) for value in values]
        return dict(zip(outputs, arrays, strict=True))

    def prepare(self, signature: Signature) -> None:
        """See `GraphEngine`."""
        self._callable(signature, tuple(signature.outputs))

    def unbounded(self, signature: Signature) -> str:
        """See `GraphEngine`."""
        return self._unbounded[signature.name]

    def pack(
        self, signature: Signature, groups: Sequence[Group]
    ) -> Callable[[Sequence[np.ndarray[Any, Any]]], dict[str, np.ndarray[Any, Any]]]:
        """See `GraphEngine`: the signature `packed` of the version, or else new tensors in front of the same graph."""
        import tensorflow as tf

        outputs = tuple(signature.outputs)
        if exported := self._exported_packed(signature, groups):
            run = self._callable(exported, outputs)
            order = [group.dtype for group in groups]
            places = [order.index(name) for name in exported.inputs]
            return lambda arrays: dict(zip(outputs, run(*[arrays[place] for place in places]), strict=True))
        options = self._callable_options(signature, outputs)
        del options.feed[:]
        # The scope avoids name clashes: Python does not know the names in the graph.
        with self._session.graph.as_default(), tf.name_scope("benison_packed_inputs"):
            for group in groups:
                packed = tf.compat.v1.placeholder(group.dtype, [None, len(group.names)])
                options.feed.append(packed.name)
                for name, column in zip(group.names, tf.unstack(packed, axis=1), strict=True):
                    options.tensor_connection.add(from_tensor=column.name, to_tensor=signature.inputs[name].tensor)
        call = low_priority.call(private_tensorflow.make_callable, self._session, options)
        return lambda arrays: dict(zip(outputs, call(*arrays), strict=True))

    def _exported_packed(self, signature: Signature, groups: Sequence[Group]) -> Signature | None:
        """Return the version's own signature `packed`, if it has the same inputs in the same order, and outputs."""
        exported = self.signatures.get("packed")
        if exported is None or signature.name != "raw" or {g.dtype: g.names for g in groups} != self._packed_order:
            return None
        return exported if exported.outputs.keys() == signature.outputs.keys() else None

    def close(self) -> None:
        """See `Engine`."""
        import gc

        self._callables.clear()
        self._session.close()
        del self._session
        gc.collect()  # graph and session reference each other

    def _kernels(self, graph: IndexedGraph) -> Kernels:
        devices = {device.device_type for device in self._session.list_devices()}
        return Kernels(graph, private_tensorflow.registered_kernels, devices)

    def _callable(self, signature: Signature, outputs: tuple[str, ...], seconds: int = 0) -> Any:
        key = (signature.name, outputs, seconds)
        call = self._callables.get(key)
        if call is None:
            call = self._make_callable(signature, outputs, seconds)
            with self._lock:
                while len(self._callables) >= _MAX_CALLABLES:
                    self._callables.pop(next(iter(self._callables)))
                self._callables[key] = call
        return call

    def _make_callable(self, signature: Signature, outputs: tuple[str, ...], seconds: int) -> Any:
        options = self._callable_options(signature, outputs)
        if seconds:
            options.run_options.timeout_in_ms = seconds * 1000
            # In the caller's thread a time-out is not noticed.
            options.run_options.inter_op_thread_pool = _STOPPABLE_POOL if self._in_callers_thread else 0
        return low_priority.call(private_tensorflow.make_callable, self._session, options)

    def _callable_options(self, signature: Signature, outputs: tuple[str, ...]) -> Any:
        from tensorflow.core.protobuf import config_pb2

        if signature.name in self._refused:
            raise RequestError(Code.PERMISSION_DENIED, self._refused[signature.name])
        specs = [*signature.inputs.items(), *((name, signature.outputs[name]) for name in outputs)]
        composite = [name for name, spec in specs if not spec.tensor]
        if composite:
            raise RequestError(
                Code.UNIMPLEMENTED, f"Signature {signature.name}: {composite[0]} is a sparse or composite tensor"
            )
        options = config_pb2.CallableOptions(
            feed=[spec.tensor for spec in signature.inputs.values()],
            fetch=[signature.outputs[name].tensor for name in outputs],
        )
        if self._in_callers_thread:
            options.run_options.inter_op_thread_pool = -1
        return options


def _scalar(value: Any) -> np.ndarray[Any, Any]:
    import numpy as np

    return np.array(value, object if isinstance(value, bytes) else None)


def _runs_in_callers_thread(options: LoadOptions) -> bool:
    """Return whether the calling thread runs the operations itself; this saves a switch to another thread."""
    return options.inter_op_threads == 1 and not options.session_config_file


def _config(options: LoadOptions) -> Any:
    import tensorflow as tf

    config = tf.compat.v1.ConfigProto()
    if options.session_config_file:
        from benison.serving.server import text_protos

        text_protos.read(options.session_config_file, config)
    config.intra_op_parallelism_threads = config.intra_op_parallelism_threads or options.intra_op_threads
    config.inter_op_parallelism_threads = config.inter_op_parallelism_threads or options.inter_op_threads
    if _runs_in_callers_thread(options):
        # All sessions share these pools by their names. Runs without a time limit are in the caller's thread.
        config.session_inter_op_thread_pool.add(num_threads=1, global_name="benison")
        config.session_inter_op_thread_pool.add(num_threads=_STOPPABLE_THREADS, global_name="benison-stoppable")
    if options.gpu_memory_fraction:
        config.gpu_options.per_process_gpu_memory_fraction = options.gpu_memory_fraction
    return config


def _takes_raw(name: str, proto: Any, raw: RawInputs) -> bool:
    """Return whether a signature takes the raw inputs; the usual `serving_default` takes tf.Examples."""
    inputs = set(raw.arguments.values())
    return name in missing_values.SIGNATURES and (name != "serving_default" or inputs <= proto.inputs.keys())


def _inspected(signatures: Sequence[Signature], graph: IndexedGraph, kernels: Kernels) -> list[Signature]:
    """Return the signatures with what the graph says about their rows, their effects and their operations."""
    alignments, effects = alignment.Alignment(graph), writes.Writes(graph)
    inspected = []
    for signature in signatures:
        outputs = {name: spec.tensor for name, spec in signature.outputs.items() if spec.tensor}
        mixes = "an input or output has no free first dimension"
        if signature.batched and len(outputs) == len(signature.outputs):
            # Every shape of a batched input is known.
            sizes = {spec.tensor: (spec.shape or ())[1:] for spec in signature.inputs.values()}
            mixes = alignments.blocker(sizes, outputs)
        tensors = tuple(outputs.values())
        inspected.append(
            replace(signature, mixes=mixes, writes=effects.operation(tensors), cannot_run=kernels.missing(tensors))
        )
    return inspected


def _signature(name: str, proto: Any, raw: RawInputs, graph: IndexedGraph) -> Signature:
    import tensorflow as tf

    return Signature(
        name=name,
        method=proto.method_name,
        inputs={alias: _spec(info, graph) for alias, info in sorted(proto.inputs.items())},
        outputs={alias: _spec(info, graph) for alias, info in sorted(proto.outputs.items())},
        proto=copy.deepcopy(proto),  # the original keeps the whole MetaGraphDef in memory
        defaults={alias: tf.make_ndarray(value) for alias, value in getattr(proto, "defaults", {}).items()},
        missing={alias: value for alias, value in raw.missing.items() if alias in proto.inputs},
        columns={column: alias for column, alias in raw.arguments.items() if alias != column and alias in proto.inputs},
        amounts={alias: form for alias, form in raw.amounts.items() if alias in proto.inputs},
        raw=bool(raw.arguments) and proto.inputs.keys() <= set(raw.arguments.values()),
    )


def _takes_any_shape(node: Any) -> bool:
    return node is not None and node.op == "Placeholder" and node.attr["shape"].shape.unknown_rank


def _spec(info: Any, graph: IndexedGraph) -> TensorSpec:
    import tensorflow as tf

    shape = info.tensor_shape
    dtype = types.type_of(info.name, graph) or info.dtype
    return TensorSpec(
        # The signature __saved_model_init_op names an operation, which has no dtype. The value of a reference is no
        # reference.
        dtype=tf.dtypes.as_dtype(dtype).base_dtype.name if dtype else "invalid",
        shape=None if shape.unknown_rank else tuple(dim.size for dim in shape.dim),
        tensor=info.name if info.WhichOneof("encoding") == "name" else "",
        takes_any_shape=_takes_any_shape(graph.nodes.get(info.name.partition(":")[0])),
    )
