"""Models that reach outside are refused, and usual ones are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from benison.serving.server.engine import LoadOptions
from benison.serving.server.engines import loading, private_tensorflow
from benison.serving.server.graphs.outside import kind_of
from benison.serving.server.status import Code, RequestError

v1 = tf.compat.v1


def save(folder: Path, function: Callable[[Any], Any], module: tf.Module | None = None) -> Path:
    """A SavedModel of TensorFlow 2 with one signature on text."""
    module = module or tf.Module()
    signature = tf.function(function, input_signature=[tf.TensorSpec([None], tf.string, name="s")])
    tf.saved_model.save(module, str(folder), signatures=signature)
    return folder


def refusal(folder: Path, **options: Any) -> str:
    """Return why a version is refused; empty if it is loaded."""
    try:
        loading.load(str(folder), LoadOptions(**options)).close()
    except RequestError as error:
        return f"{error.code.name}: {error.message}"
    return ""


def answer(folder: Path, inputs: Mapping[str, Any], name: str = "serving_default") -> dict[str, Any]:
    """Load a version and run a signature of it."""
    engine = loading.load(str(folder), LoadOptions())
    try:
        signature = engine.signatures[name]
        return engine.run(signature, {key: np.array(value) for key, value in inputs.items()}, tuple(signature.outputs))
    finally:
        engine.close()


def edit(folder: Path, change: Callable[[Any], None]) -> Path:
    """Change the MetaGraphDef of a SavedModel, as its author could."""
    file = folder / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    change(model.meta_graphs[0])
    file.write_bytes(model.SerializeToString())
    return folder


def in_a_branch(s: Any) -> Any:
    return tf.cond(tf.size(s) > 100, lambda: tf.io.read_file("/etc/passwd"), lambda: tf.constant(""))


def in_a_dataset(s: Any) -> Any:
    return tf.data.Dataset.from_tensor_slices(s).map(tf.io.read_file).reduce("", lambda _, text: text)


def by_a_print(s: Any) -> Any:
    tf.print(s, output_stream="file:///tmp/anywhere")
    return s


@pytest.mark.parametrize(
    ("function", "operation"),
    [
        (lambda s: tf.io.read_file(s[0]), "ReadFile"),
        (lambda s: tf.io.matching_files(s[0]), "MatchingFiles"),
        (in_a_branch, "ReadFile"),
        (in_a_dataset, "ReadFile"),
        (by_a_print, "PrintV2"),
        (lambda s: tf.numpy_function(lambda text: text, [s], tf.string), "PyFunc"),
        (lambda s: tf.py_function(lambda text: text, [s], tf.string), "EagerPyFunc"),
        (lambda s: tf.raw_ops.RestoreV2(prefix=s[0], tensor_names=["v"], shape_and_slices=[""], dtypes=[tf.float32])[0], "RestoreV2"),
    ],
)  # fmt: skip
def test_a_signature_must_not_reach_outside(tmp_path: Path, function: Callable[[Any], Any], operation: str) -> None:
    folder = save(tmp_path / "1", lambda s: {"y": function(s)})
    message = refusal(folder)
    assert message.startswith("PERMISSION_DENIED")
    assert f"its signature serving_default uses {operation}" in message
    assert "BENISON_REFUSE_OPS=0" in message


class Table(tf.Module):
    """A module with variables, and a table that is filled from a file of its own."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = tf.saved_model.Asset(str(file))
        initializer = tf.lookup.TextFileInitializer(self.file, tf.string, 0, tf.int64, 1, delimiter=" ")
        self.table = tf.lookup.StaticHashTable(initializer, -1)
        self.offset = tf.Variable(1, dtype=tf.int64)


def test_variables_and_tables_from_assets_are_no_reason(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("a 1\nb 2\n")
    module = Table(tmp_path / "words")
    folder = save(tmp_path / "1", lambda s: {"y": module.table.lookup(s) + module.offset}, module)
    assert refusal(folder, refuse_operations="all") == ""


def test_an_asset_is_a_file_of_the_model(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("a 1\nb 2\n")
    module = Table(tmp_path / "words")
    folder = save(tmp_path / "1", lambda s: {"y": module.table.lookup(s)}, module)
    assert refusal(folder) == ""
    for name in ("../../words", str(tmp_path / "words")):

        def change(graph: Any, name: str = name) -> None:
            graph.asset_file_def[0].filename = name

        edit(folder, change)
        assert "is not in its folder assets" in refusal(folder)


class Greeting(tf.Module):
    """A module that reads a file of its own in a request."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        (folder / "greeting").write_text("hello ")
        self.file = tf.saved_model.Asset(str(folder / "greeting"))

    def __call__(self, s: Any) -> Any:
        return {"y": tf.io.read_file(self.file.asset_path) + s}


def test_a_request_may_read_an_asset(tmp_path: Path) -> None:
    module = Greeting(tmp_path)
    folder = save(tmp_path / "1", module, module)
    assert answer(folder, {"s": [b"you"]})["y"].tolist() == [b"hello you"]


def feed_the_path(graph: Any) -> None:
    """Let requests send the text that a variable has kept."""
    reader = next(
        node.name for node in graph.graph_def.node if node.op == "ReadVariableOp" and "Read/" not in node.name
    )
    info = graph.signature_def["serving_default"].inputs["path"]
    info.CopyFrom(graph.signature_def["serving_default"].inputs["s"])
    info.name = f"{reader}:00"  # TensorFlow reads it as reader:0
    info.tensor_shape.Clear()


def write_the_path(graph: Any) -> None:
    """Let requests write the variable that keeps the name of an asset."""
    writer = next(node.name for node in graph.graph_def.node if node.op == "AssignVariableOp")
    output = graph.signature_def["serving_default"].outputs["y"].name.partition(":")[0]
    next(node for node in graph.graph_def.node if node.name == output).input.append(f"^{writer}")


@pytest.mark.parametrize("change", [feed_the_path, write_the_path])
def test_a_request_must_not_decide_which_file_is_an_asset(tmp_path: Path, change: Callable[[Any], None]) -> None:
    module = Greeting(tmp_path)
    assert "uses ReadFile" in refusal(edit(save(tmp_path / "1", module, module), change))


def test_a_dataset_may_be_cached_in_memory_but_not_in_a_file(tmp_path: Path) -> None:
    def write(folder: Path, file: str) -> Path:
        def count(s: Any) -> Any:
            return {"y": tf.data.Dataset.from_tensor_slices(s).cache(file).reduce(0, lambda n, _: n + 1)}

        return save(folder, count)

    assert answer(write(tmp_path / "1", ""), {"s": [b"a", b"b"]})["y"] == 2
    assert "CacheDatasetV2" in refusal(write(tmp_path / "2", str(tmp_path / "cache")))


@pytest.mark.parametrize(
    ("source", "operation"),
    [("", ""), ("local://", ""), ("file:///etc/passwd", "DecodeProtoV2"), ("/etc/passwd", "DecodeProtoV2")],
)
def test_a_description_of_a_proto_must_not_be_a_file(tmp_path: Path, source: str, operation: str) -> None:
    def parse(s: Any) -> Any:
        decoded = tf.raw_ops.DecodeProtoV2(
            bytes=s,
            message_type="tensorflow.TensorShapeProto",
            field_names=["unknown_rank"],
            output_types=[tf.bool],
            descriptor_source=source,
        )
        return {"y": decoded.sizes}

    folder = save(tmp_path / "1", parse)
    assert f"uses {operation}" in refusal(folder) if operation else refusal(folder) == ""


def test_a_signature_that_needs_files_does_not_keep_others_from_requests(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module, texts = tf.Module(), [tf.TensorSpec([None], tf.string, name="s")]
    module.plain = tf.function(lambda s: {"y": s + "!"}, input_signature=texts)
    module.dump = tf.function(lambda s: {"y": tf.io.read_file(s[0])}, input_signature=texts)
    folder = tmp_path / "1"
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.plain, "dump": module.dump})
    with caplog.at_level("WARNING"):
        assert answer(folder, {"s": [b"a"]})["y"].tolist() == [b"a!"]
    assert f"{folder}: loaded without its signature dump, which uses ReadFile" in caplog.text
    with pytest.raises(RequestError, match=r"^Signature dump is refused, because it uses ReadFile") as caught:
        answer(folder, {"s": [b"/etc/passwd"]}, "dump")
    assert caught.value.code is Code.PERMISSION_DENIED
    edit(folder, lambda graph: graph.signature_def["serving_default"].CopyFrom(graph.signature_def["dump"]))
    assert "its signature serving_default uses ReadFile" in refusal(folder)


def write_v1(folder: Path, initializer: Callable[[], Any], output: Callable[[], Any] | None = None) -> Path:
    """A SavedModel of TensorFlow 1 with an initialization, a variable and a saver."""
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], "x")
        y = x + v1.get_variable("offset", initializer=1.0)
        session.run(v1.global_variables_initializer())
        info = v1.saved_model.build_tensor_info
        outputs = {"y": info(output() if output else y)}
        signature = v1.saved_model.build_signature_def({"x": info(x)}, outputs, "tensorflow/serving/predict")
        builder = v1.saved_model.Builder(str(folder))
        with tf.control_dependencies([initializer()]):
            main_op = tf.no_op()
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, main_op=main_op)
        builder.save()
    return folder


def write_reader(folder: Path, path: Callable[[Any, Any], Any], asset: str = "asset:0") -> Path:
    """A SavedModel of TensorFlow 1 that reads a file in its initialization, and outputs the content.

    Args:
        folder: the version's folder.
        path: makes the path from the name of an asset and that of another file.
        asset: the tensor that gets the name of the asset.
    """
    secret = folder.parent / "secret"
    secret.write_text("another's")
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], "x")
        content = v1.get_variable("content", initializer="", use_resource=True)
        names = tf.constant("", name="asset"), tf.constant(str(secret))
        read = tf.raw_ops.AssignVariableOp(resource=content.handle, value=tf.io.read_file(path(*names)))
        with tf.control_dependencies([read]):
            main_op = tf.no_op(name="read")
        session.run(v1.global_variables_initializer())
        info = v1.saved_model.build_tensor_info
        signature = v1.saved_model.build_signature_def({"x": info(x)}, {"y": info(content.read_value())}, "predict")
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, main_op=main_op)
        builder.save()
    (folder / "assets").mkdir()
    (folder / "assets" / "mine").write_text("mine")

    def add(graph: Any) -> None:
        file = graph.asset_file_def.add(filename="mine")
        file.tensor_info.name = asset

    return edit(folder, add)


def variable(name: str) -> Any:
    return tf.raw_ops.VarHandleOp(dtype=tf.string, shape=[], shared_name=name, name=name)


def kept(value: Any, before_read: Callable[[], Any] = tf.no_op) -> Any:
    """The name of a file, from a variable that kept it."""
    handle = variable("path")
    with tf.control_dependencies([tf.raw_ops.AssignVariableOp(resource=handle, value=value)]):
        last = before_read()
    with tf.control_dependencies([last]):
        return tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.string)


def test_the_initialization_may_read_an_asset(tmp_path: Path) -> None:
    for number, path in enumerate([lambda own, _: tf.identity(own), lambda own, _: kept(own)]):
        (tmp_path / str(number)).mkdir()
        folder = write_reader(tmp_path / str(number) / "1", path)
        assert answer(folder, {"x": [0.0]})["y"] == b"mine"


def second_output(own: Any, other: Any) -> Any:
    return tf.identity_n([own, other], name="pair")[1]


def test_the_second_output_of_an_operation_is_not_the_asset_that_is_its_first(tmp_path: Path) -> None:
    folder = write_reader(tmp_path / "1", second_output, asset="pair:0")
    assert "its initialization uses ReadFile" in refusal(folder)

    def restore(graph: Any) -> None:
        del graph.asset_file_def[:]
        graph.saver_def.filename_tensor_name = "pair:0"
        graph.saver_def.restore_op_name = "read"

    assert "the restoration of its variables uses ReadFile" in refusal(edit(folder, restore))


def test_an_argument_that_is_a_list_hides_no_path(tmp_path: Path) -> None:
    @tf.function(input_signature=[tf.TensorSpec([], tf.string)] * 2)
    def read_second(own: Any, other: Any) -> Any:
        del own
        return tf.io.read_file(other)

    def make_a_list(graph: Any) -> None:
        """Give the function one argument, a list of two texts."""
        (function,) = (f for f in graph.graph_def.library.function if "read_second" in f.signature.name)
        arguments = function.signature.input_arg
        second = arguments[1].name
        del arguments[1]
        arguments[0].name, arguments[0].number_attr = "texts", "N"
        function.signature.attr.add(name="N", type="int")
        function.arg_attr.clear()
        for node in function.node_def:
            node.input[:] = ["texts:1" if name == second else name for name in node.input]
        for node in graph.graph_def.node:
            if node.attr["f"].func.name == function.signature.name:
                node.attr["f"].func.attr["N"].i = 2

    def own_after_another(own: Any, other: Any) -> Any:
        with tf.control_dependencies([read_second(own, other)]):
            return tf.identity(own)

    folder = write_reader(tmp_path / "1", own_after_another)
    assert "its initialization uses ReadFile" in refusal(edit(folder, make_a_list))


def test_an_attribute_that_a_caller_sets_hides_nothing(tmp_path: Path) -> None:
    def by_its_caller(graph: Any) -> None:
        for function in graph.graph_def.library.function:
            for node in function.node_def:
                if node.op == "PrintV2":
                    node.attr["output_stream"].placeholder = "stream"

    @tf.function
    def shout(s: Any) -> Any:
        tf.print(s)
        return s

    folder = save(tmp_path / "1", lambda s: {"y": shout(s)})
    assert refusal(folder) == ""
    assert "uses PrintV2" in refusal(edit(folder, by_its_caller))


def by_its_name(other: Any) -> tuple[Any, Callable[[Any], None]]:
    """Write the variable through an operation that makes handles of several variables."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def write(value: Any) -> Any:
        tf.raw_ops.AssignVariableOp(resource=variable("another"), value=value)
        return tf.constant(1)

    def change(graph: Any) -> None:
        for function in graph.graph_def.library.function:
            for node in function.node_def:
                if node.op == "VarHandleOp":
                    node.op = "_VarHandlesOp"
                    node.ClearField("attr")
                    node.attr["shared_names"].list.s.append(b"path")
                    node.attr["containers"].list.s.append(b"")
                    node.attr["dtypes"].list.type.append(tf.string.as_datatype_enum)
                    node.attr["shapes"].list.shape.add()
                    node.attr["N"].i = 1
                node.input[:] = [name.replace(":resource:", ":resources:") for name in node.input]

    return write(other), change


def by_a_constant(other: Any) -> tuple[Any, Callable[[Any], None]]:
    """Write the variable through a constant handle."""
    handle = v1.placeholder(tf.resource, [], name="handle")

    def change(graph: Any) -> None:
        (node,) = (node for node in graph.graph_def.node if node.name == "handle")
        node.op = "Const"
        node.ClearField("attr")
        node.attr["dtype"].type = node.attr["value"].tensor.dtype = tf.resource.as_datatype_enum
        node.attr["value"].tensor.resource_handle_val.add(name="path", container="localhost")

    return tf.raw_ops.AssignVariableOp(resource=handle, value=other), change


@pytest.mark.parametrize("write", [by_its_name, by_a_constant])
def test_a_path_in_a_variable_is_not_overwritten_by_a_detour(tmp_path: Path, write: Callable[[Any], Any]) -> None:
    changes: list[Callable[[Any], None]] = []

    def path(own: Any, other: Any) -> Any:
        def overwrite() -> Any:
            operation, change = write(other)
            changes.append(change)
            return operation

        return kept(own, overwrite)

    folder = write_reader(tmp_path / "1", path)
    assert "its initialization uses ReadFile" in refusal(edit(folder, changes[0]))


def test_the_initialization_must_not_reach_outside_and_does_not_run(tmp_path: Path) -> None:
    stolen = tmp_path / "stolen"
    folder = write_v1(tmp_path / "1", lambda: tf.io.write_file(str(stolen), "by the model"))
    assert f"{folder}: refused, because its initialization uses WriteFile" in refusal(folder)
    assert not stolen.exists()
    assert refusal(folder, refuse_operations="none") == ""
    assert stolen.read_text() == "by the model"


def test_a_table_must_not_be_filled_from_another_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("password 1\n")

    def fill() -> Any:
        table = tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)
        return tf.raw_ops.InitializeTableFromTextFileV2(
            table_handle=table, filename=str(tmp_path / "secret"), key_index=0, value_index=1, delimiter=" "
        )

    assert "InitializeTableFromTextFileV2" in refusal(write_v1(tmp_path / "1", fill))


def test_the_functions_that_save_variables_are_no_reason_unless_a_signature_calls_them(tmp_path: Path) -> None:
    assert refusal(write_v1(tmp_path / "1", tf.no_op)) == ""

    def save_variables() -> Any:
        with tf.control_dependencies([tf.raw_ops.SaveV2(
            prefix=str(tmp_path / "x"), tensor_names=["v"], shape_and_slices=[""], tensors=[tf.constant(1.0)]
        )]):  # fmt: skip
            return tf.constant(1.0)

    assert "SaveV2" in refusal(write_v1(tmp_path / "2", tf.no_op, save_variables))


def test_only_operations_of_tensorflow_are_listed() -> None:
    for name in ("ReadFile", "PyFunc", "RpcCall", "TFRecordDataset", "SaveV2"):
        assert kind_of(name)
        assert private_tensorflow.operation_definition(name) is not None
    assert kind_of("MatMul") == ""


def test_a_pushed_version_is_trusted_in_its_own_root_only(tmp_path: Path) -> None:
    from benison.serving.versions import local
    from benison.serving.versions.manifest import Manifest

    made = save(tmp_path / "made", lambda s: {"y": tf.io.read_file(s[0])})
    version = local.publish(made, tmp_path / "serving" / "m", Manifest(), lambda: 1)
    root = str(tmp_path / "serving")
    assert refusal(version.path, trusted_folder=root) == ""
    assert "ReadFile" in refusal(version.path, trusted_folder=str(tmp_path / "another"))
    assert "ReadFile" in refusal(version.path)
    assert "ReadFile" in refusal(version.path, trusted_folder=root, refuse_operations="all")
    foreign = save(tmp_path / "serving" / "m" / "2", lambda s: {"y": tf.io.read_file(s[0])})
    assert "ReadFile" in refusal(foreign, trusted_folder=root)


def write_lite(folder: Path, function: Callable[[Any], Any]) -> bytes:
    """A TensorFlow Lite model of one signature on a text, which uses TensorFlow's operations; its content."""
    module = tf.Module()
    concrete = tf.function(function, input_signature=[tf.TensorSpec([], tf.string, name="s")]).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.SELECT_TF_OPS]
    folder.mkdir()
    content: bytes = converter.convert()
    (folder / "model.tflite").write_bytes(content)
    return content


def test_a_lite_model_is_judged_by_what_it_runs_and_not_by_a_name(tmp_path: Path) -> None:
    write_lite(tmp_path / "1", lambda s: {"y": tf.strings.lower(s)})
    assert refusal(tmp_path / "1", prefer_tflite=True) == ""
    content = write_lite(tmp_path / "2", lambda s: {"y": tf.raw_ops.ReadFile(filename=s)})
    assert "it uses ReadFile" in refusal(tmp_path / "2", prefer_tflite=True)
    for old, new, reason in (
        (b"FlexReadFile", b"FlexRelu6XYZ", "it uses ReadFile"),
        (b"\x12\x08ReadFile", b"\x12\x08Identity", "the options of its operation FlexReadFile cannot be read"),
    ):
        assert old in content
        (tmp_path / "2" / "model.tflite").write_bytes(content.replace(old, new))
        assert reason in refusal(tmp_path / "2", prefer_tflite=True)
