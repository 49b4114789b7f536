"""Models that reach outside are refused, and usual ones are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from benison.serving.server.engine import LoadOptions
from benison.serving.server.engines import loading, private_tensorflow
from benison.serving.server.graphs.outside import kind_of
from benison.serving.server.status import RequestError

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
    from tensorflow.core.protobuf import saved_model_pb2

    (tmp_path / "words").write_text("a 1\nb 2\n")
    module = Table(tmp_path / "words")
    folder = save(tmp_path / "1", lambda s: {"y": module.table.lookup(s)}, module)
    assert refusal(folder) == ""
    model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    for name in ("../../words", str(tmp_path / "words")):
        model.meta_graphs[0].asset_file_def[0].filename = name
        (folder / "saved_model.pb").write_bytes(model.SerializeToString())
        assert "is not in its folder assets" in refusal(folder)


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
