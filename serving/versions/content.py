"""The content of a SavedModel as one hash: equal for two exports of the same computation with the same values.

The bytes of two such exports differ. TensorFlow numbers functions and nodes by what was traced before, writes them in
the order of its hash tables, and names tables by the folder that they were first written to. This hash evaluates each
signature symbolically instead: the hash of a node is that of its operation, its attributes and its inputs, a call is
replaced by what the function computes, and a captured variable, constant, table or file by its values. No name of a
node or a function, no order and no path is part of it.

The values of variables are compared bit by bit. Another release of TensorFlow may write another graph for the same
code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from benison.serving import missing_values
from benison.serving.files.checksum import of_file
from benison.serving.versions import local

TRANSFORM = "transform_features"  # the signature that is only Transform's graph
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
# Names of resources, and settings of the machine. Attributes that begin with _ are TensorFlow's notes about a node.
_NOT_CONTENT = frozenset({"shared_name", "container", "use_node_name_sharing", "config", "config_proto"})
_INIT = "__saved_model_init_op"
_SELF = "this resource"


class _UnknownForm(Exception):
    """A SavedModel has a part that this module does not know."""


def checksum(model_dir: Path, known: Mapping[str, str] | None = None) -> str:
    """Return the hash of a SavedModel's content: its signatures, and the schema and inputs of its raw features.

    A model of a form that is not known, such as one of TensorFlow 1, has the checksum of its bytes
    (`versions.local.checksum`).

    Args:
        model_dir: The SavedModel.
        known: What `signatures` returned, if the caller has it already.
    """
    hashes = known or signatures(model_dir)
    if hashes is None:
        return local.checksum(model_dir)
    files = [model_dir / name for name in (local.SCHEMA, missing_values.FILE)]
    beside = [of_file(file) if file.is_file() else "" for file in files]
    return _hash(*(part for item in sorted(hashes.items()) for part in item), *beside)


def checksums(model_dir: Path) -> frozenset[str]:
    """Return what a manifest may record as `candidate` of this model: former releases recorded that of its bytes."""
    return frozenset({checksum(model_dir), local.checksum(model_dir)})


def signatures(model_dir: Path) -> dict[str, str] | None:
    """Return the hash of each signature of a SavedModel by its name; None if it has a form that is not known."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    saved_model = saved_model_pb2.SavedModel()
    try:
        saved_model.ParseFromString((model_dir / local.SAVED_MODEL).read_bytes())
        (graph,) = saved_model.meta_graphs
        return _Evaluation(model_dir, graph).signatures()
    except (DecodeError, CycleError, LookupError, ValueError, _UnknownForm):
        return None


class _Evaluation:
    """A SavedModel that is evaluated with hashes in place of tensors."""

    def __init__(self, model_dir: Path, graph: Any) -> None:
        self._folder = model_dir
        self._graph = graph
        self._objects = graph.object_graph_def
        self._functions = {function.signature.name: function for function in graph.graph_def.library.function}
        self._constants = {node.name: node for node in graph.graph_def.node if node.op == "Const"}
        self._results: dict[tuple[str, tuple[str, ...]], _Result] = {}
        self._known: dict[int, str] = {}
        self._variables = _Variables(model_dir, self._objects)

    def signatures(self) -> dict[str, str]:
        children = self._children(0)
        if "signatures" not in children:
            raise _UnknownForm
        hashes = {}
        for name, node in self._children(children["signatures"]).items():
            signature = self._graph.signature_def[name]
            specs = [
                _hash(key, str(info.dtype), info.tensor_shape.SerializeToString(deterministic=True))
                for side in (signature.inputs, signature.outputs)
                for key, info in sorted(side.items())
            ]
            hashes[name] = _hash(signature.method_name, *specs, *self._concrete(node).parts())
        if not hashes or set(hashes) != set(self._graph.signature_def) - {_INIT}:
            raise _UnknownForm
        return hashes

    def _children(self, node: int) -> dict[str, int]:
        return {child.local_name: child.node_id for child in self._objects.nodes[node].children}

    def _concrete(self, node: int, own: int | None = None) -> _Result:
        """Evaluate the function of an object, with its captured objects; `own` is the resource that it belongs to."""
        held = self._objects.nodes[node]
        kind = held.WhichOneof("kind")
        if kind == "bare_concrete_function":
            name = held.bare_concrete_function.concrete_function_name
        elif kind == "function" and len(held.function.concrete_functions) == 1:
            (name,) = held.function.concrete_functions
        else:
            raise _UnknownForm
        captured = self._objects.concrete_functions[name].bound_inputs
        arguments = self._functions[name].signature.input_arg
        given = [_hash("argument", arg.name, str(arg.type)) for arg in arguments[: len(arguments) - len(captured)]]
        return self._call(name, [*given, *(_SELF if each == own else self._object(each) for each in captured)])

    def _object(self, node: int) -> str:
        """Return the hash of a captured object's values."""
        if node not in self._known:
            held = self._objects.nodes[node]
            kind = held.WhichOneof("kind")
            if kind == "variable":
                values = self._variables.hash(node)
            elif kind == "constant":
                values = self._attribute(self._constants[held.constant.operation].attr["value"])
            elif kind == "asset":
                asset = self._graph.asset_file_def[held.asset.asset_file_def_index]
                values = of_file(self._folder / "assets" / asset.filename)
            elif kind == "resource":
                children = self._children(node)
                made, filled = (self._concrete(children[name], node) for name in ("_create_resource", "_initialize"))
                values = _hash(*made.parts(), *filled.parts())
            else:
                raise _UnknownForm
            self._known[node] = _hash(kind, values)
        return self._known[node]

    def _call(self, name: str, inputs: Sequence[str]) -> _Result:
        key = (name, tuple(inputs))
        if key not in self._results:
            self._results[key] = self._evaluate(self._functions[name], inputs)
        return self._results[key]

    def _evaluate(self, function: Any, inputs: Sequence[str]) -> _Result:
        """Return what a function computes from the hashes of its inputs."""
        tensors = {arg.name: value for arg, value in zip(function.signature.input_arg, inputs, strict=True)}
        nodes = {node.name: node for node in function.node_def}
        done: dict[str, str] = {}
        calls: dict[str, _Result] = {}

        def tensor(reference: str) -> str:
            name, _, output = reference.partition(":")
            if name in calls:
                position = output.rpartition(":")[2] if output.startswith("output:") else None
                return calls[name].outputs[int(position)] if position is not None else calls[name].named[output]
            return _hash(done[name], output) if name in done else tensors[name]

        before = {name: {_node(reference) for reference in node.input} & nodes.keys() for name, node in nodes.items()}
        for name in TopologicalSorter(before).static_order():
            node = nodes[name]
            data = [tensor(reference) for reference in node.input if not reference.startswith("^")]
            after = sorted({done[_node(r)] for r in node.input if r.startswith("^") and _node(r) in done})
            called = node.attr["f"].func.name if node.op in _CALLS else node.op
            if called in self._functions:
                calls[name] = self._call(called, data)
                done[name] = _hash("call", *calls[name].parts(), *after)
            else:
                attributes = [
                    part
                    for key, value in sorted(node.attr.items())
                    if key not in _NOT_CONTENT and not key.startswith("_")
                    for part in (key, self._attribute(value))
                ]
                done[name] = _hash(node.op, *attributes, "inputs", *data, "after", *after)
        outputs = tuple(tensor(function.ret[arg.name]) for arg in function.signature.output_arg)
        names = (f"{arg.name}:0" for arg in function.signature.output_arg)
        effects = tuple(sorted({done[node] for node in function.control_ret.values()}))
        return _Result(outputs, effects, dict(zip(names, outputs, strict=True)))

    def _attribute(self, value: Any) -> str:
        functions = [value.func] if value.WhichOneof("value") == "func" else list(value.list.func)
        if not functions:
            return _hash(value.SerializeToString(deterministic=True))
        results = []
        for function in functions:
            arguments = self._functions[function.name].signature.input_arg
            body = self._call(function.name, [_hash("argument", str(number)) for number in range(len(arguments))])
            results.append(_hash(*body.parts()))
        return _hash("functions", *results)


class _Result:
    """The outputs and effects of a function, as hashes.

    Attributes:
        outputs: the hashes of its outputs.
        effects: the hashes of what it also does, such as refusing a value; sorted.
        named: the outputs as nodes refer to them.
    """

    def __init__(self, outputs: tuple[str, ...], effects: tuple[str, ...], named: dict[str, str]) -> None:
        self.outputs, self.effects, self.named = outputs, effects, named

    def parts(self) -> list[str]:
        return ["outputs", *self.outputs, "effects", *self.effects]


class _Variables:
    """The values of a SavedModel's variables, found in its checkpoint by their place in the object graph."""

    def __init__(self, model_dir: Path, objects: Any) -> None:
        self._prefix = model_dir / "variables" / "variables"
        self._objects = objects
        self._reader: Any = None
        self._keys: dict[int, str] = {}

    def hash(self, node: int) -> str:
        if self._reader is None:
            self._read()
        import tensorflow as tf

        try:
            values = self._reader.get_tensor(self._keys[node])
        except tf.errors.OpError as error:  # the file is damaged
            raise _UnknownForm from error
        numbers = () if values.dtype == object else (values.tobytes(),)  # the bytes of texts would be addresses
        texts = values.ravel().tolist() if values.dtype == object else ()
        return _hash(str(values.dtype), str(values.shape), *numbers, *texts)

    def _read(self) -> None:
        import tensorflow as tf
        from tensorflow.core.protobuf import trackable_object_graph_pb2

        try:
            self._reader = tf.train.load_checkpoint(str(self._prefix))
        except tf.errors.OpError as error:
            raise _UnknownForm from error
        stored = trackable_object_graph_pb2.TrackableObjectGraph()
        stored.ParseFromString(self._reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
        places, seen = [(0, 0)], {0}
        while places:
            ours, theirs = places.pop()
            for attribute in stored.nodes[theirs].attributes:
                self._keys[ours] = attribute.checkpoint_key
            by_name = {child.local_name: child.node_id for child in stored.nodes[theirs].children}
            for child in self._objects.nodes[ours].children:
                if child.local_name in by_name and child.node_id not in seen:
                    seen.add(child.node_id)
                    places.append((child.node_id, by_name[child.local_name]))


def _node(reference: str) -> str:
    """Return the name of the node that an input refers to."""
    return reference.lstrip("^").partition(":")[0]


def _hash(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(f"{len(content)}:".encode() + content)  # with lengths, so that no two lists are one text
    return digest.hexdigest()
