"""A canary: each private call of TensorFlow still does what its public counterpart does.

A failure here means that this TensorFlow has changed a private call. Fix it in private_tensorflow.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2

from benison.serving.server.engines import private_tensorflow
from benison.serving.server.engines.private_tensorflow import CONTROL

v1 = tf.compat.v1


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel of version 1 with a variable and an asset: the content of a file, repeated."""
    folder = tmp_path_factory.mktemp("canary")
    asset = folder / "greeting.txt"
    asset.write_text("hello ")
    with tf.Graph().as_default(), v1.Session() as session:
        file = tf.constant(str(asset), name="file")
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, file)
        count = v1.get_variable("count", [], tf.int32, v1.constant_initializer(2), use_resource=True)
        text = tf.strings.reduce_join(tf.repeat(tf.io.read_file(file), count), name="text")
        info = v1.saved_model.build_tensor_info(text)
        signature = v1.saved_model.build_signature_def({}, {"text": info}, "tensorflow/serving/predict")
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder / "model"))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"serving_default": signature},
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
        )
        builder.save()
    return folder / "model"


def options(feed: list[str] = [], fetch: list[str] = [], target: list[str] = []) -> Any:  # noqa: B006
    return config_pb2.CallableOptions(feed=feed, fetch=fetch, target=target)


def test_saved_model_loader_reads_what_the_public_loader_reads(model: Path) -> None:
    loader = private_tensorflow.saved_model_loader(str(model))
    meta_graph, variables = loader.get_meta_graph_def_from_tags(["serve"]), loader.variables_path
    with tf.Graph().as_default(), v1.Session() as session:
        expected = v1.saved_model.loader.load(session, ["serve"], str(model))
    assert meta_graph.signature_def == expected.signature_def
    assert [node.name for node in meta_graph.graph_def.node] == [node.name for node in expected.graph_def.node]
    assert tf.train.load_checkpoint(variables).get_tensor("count") == 2


def test_saved_model_loader_refuses_unknown_tags(model: Path) -> None:
    with pytest.raises(RuntimeError, match="could not be found"):
        private_tensorflow.saved_model_loader(str(model)).get_meta_graph_def_from_tags(["no-such-tag"])


def test_asset_files_lists_the_assets_by_tensor(model: Path) -> None:
    meta_graph = private_tensorflow.saved_model_loader(str(model)).get_meta_graph_def_from_tags(["serve"])
    files = private_tensorflow.asset_files(str(model), meta_graph)
    assert {name: Path(tf.compat.as_str(file)).read_text() for name, file in files.items()} == {"file:0": "hello "}


def test_make_callable_runs_fetches_feeds_and_targets() -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], "x")
        total = v1.get_variable("total", [], initializer=v1.zeros_initializer(), use_resource=True)
        session.run(total.initializer)
        y = tf.identity(x * 2, "y")
        add = total.assign_add(tf.reduce_sum(x), name="add", read_value=False)
        values = np.array([1.0, 2.0], np.float32)
        (fetched,) = private_tensorflow.make_callable(session, options([x.name], [y.name]))(values)
        np.testing.assert_array_equal(fetched, session.run(y, {x: values}))
        private_tensorflow.make_callable(session, options([x.name], target=[add.name]))(values)
        assert session.run(total) == 3.0


def test_make_callable_connects_tensors_and_runs_in_the_callers_thread() -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        x, other = v1.placeholder(tf.float32, [], "x"), v1.placeholder(tf.float32, [], "other")
        y, half = tf.identity(x * 2, "y"), tf.identity(other / 2, "half")
        connected = options([other.name], [y.name])
        connected.tensor_connection.add(from_tensor=half.name, to_tensor=x.name)
        connected.run_options.inter_op_thread_pool = -1
        (fetched,) = private_tensorflow.make_callable(session, connected)(np.float32(4.0))
        assert fetched == 4.0


def test_make_callable_refuses_an_unknown_tensor() -> None:
    with v1.Session(graph=tf.Graph()) as session, pytest.raises(tf.errors.InvalidArgumentError):
        private_tensorflow.make_callable(session, options(fetch=["gone:0"]))


def test_import_graph_def_joins_two_imports_without_an_object_for_an_operation() -> None:
    """The second import reads a tensor and a control edge of the first."""
    with tf.Graph().as_default() as whole:
        first, second = tf.split(v1.placeholder(tf.float32, [2], "x"), 2, name="split")
        with tf.control_dependencies([first.op]):
            tf.add(first, second, "sum")
    nodes = {node.name: node for node in whole.as_graph_def().node}
    later = v1.GraphDef(versions=whole.as_graph_def().versions, node=[nodes.pop("sum")])
    earlier = v1.GraphDef(versions=whole.as_graph_def().versions, node=nodes.values())
    edges = [("split", 0), ("split", 1), ("split", CONTROL)]

    graph = tf.Graph()
    handles = private_tensorflow.import_graph_def(graph, earlier, {}, edges)
    assert handles.keys() == set(edges)
    assert private_tensorflow.import_graph_def(graph, later, handles, []) == {}

    assert graph.as_graph_def().node == whole.as_graph_def().node
    assert graph.get_operations() == []
    with v1.Session(graph=graph) as session:
        run = private_tensorflow.make_callable(session, options(["x:0"], ["sum:0"]))
        assert run(np.array([1.0, 2.0], np.float32))[0] == [3.0]


def test_import_graph_def_refuses_an_unknown_input() -> None:
    node = v1.NodeDef(name="a", op="Identity", input=["gone"])
    node.attr["T"].type = tf.float32.as_datatype_enum
    with pytest.raises((ValueError, tf.errors.OpError), match="gone"):
        private_tensorflow.import_graph_def(tf.Graph(), v1.GraphDef(node=[node]), {}, [])


@pytest.mark.parametrize(("skip", "known"), [(False, True), (True, False)])
def test_skip_shape_inference_leaves_the_shape_of_a_function_call_unknown(skip: bool, known: bool) -> None:
    @tf.function
    def double(x: Any) -> Any:
        return x * 2.0

    with tf.Graph().as_default() as source:
        tf.identity(double(v1.placeholder(tf.float32, [3], "x")), "y")
    graph_def = source.as_graph_def()
    for node in graph_def.node:
        node.attr.pop("_output_shapes", None)
        if node.op in ("PartitionedCall", "StatefulPartitionedCall"):
            node.attr.pop("_disable_call_shape_inference", None)
            if skip:
                private_tensorflow.skip_shape_inference(node)
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    assert (graph.get_tensor_by_name("y:0").shape.rank is not None) is known


def test_only_modules_for_them_make_private_calls() -> None:
    root = Path(__file__).parents[5]
    private = re.compile(
        r"(?:from |import |[\"'])tensorflow\.python|\bpywrap_|\._make_callable_from_options|\._c_graph|_disable_call_shape"
    )
    offenders = [
        str(file.relative_to(root))
        for package in ("components", "pipelines", "serving")
        for file in (root / package).rglob("*.py")
        if file.name not in ("private_tensorflow.py", "lean_tensorflow.py")
        and private.search(file.read_text(encoding="utf-8"))
    ]
    assert offenders == []


def test_registered_kernels_tell_devices_and_types() -> None:
    kernels = private_tensorflow.registered_kernels("Softsign")
    types = {
        number
        for kernel in kernels
        if kernel.device_type == "CPU"
        for constraint in kernel.constraint
        if constraint.name == "T"
        for number in constraint.allowed_values.list.type
    }
    assert tf.float32.as_datatype_enum in types
    assert tf.string.as_datatype_enum not in types
    assert private_tensorflow.registered_kernels("Hardsign") == ()


class _Counter(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        self.count = tf.Variable(0.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def counted(self, x: Any) -> Any:
        return x + self.count.assign_add(1.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def doubled(self, x: Any) -> Any:
        return x * 2


@pytest.mark.parametrize(("name", "state"), [("counted", "ASSIGN_VARIABLE"), ("doubled", "")])
def test_lite_state_tells_which_model_of_tensorflow_lite_keeps_something(name: str, state: str) -> None:
    counter = _Counter()
    function = getattr(counter, name).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], counter)
    converter.experimental_enable_resource_variables = True
    assert private_tensorflow.lite_state(converter.convert()) == state
