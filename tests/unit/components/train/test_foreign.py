"""Members that were trained elsewhere: real SavedModels of Keras 3 and TensorFlow 1 become part of another one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benison.components.train.foreign import columns, importer, saved_model
from benison.components.train.foreign.answer import Answer
from benison.components.train.foreign.columns import ModelInput
from benison.components.train.foreign.settings import ForeignModel
from benison.serving.errors import UsageError
from benison.serving.missing_values import MISSING_INTEGER

pytestmark = pytest.mark.filterwarnings("ignore")

COLOURS = {"first": ["red", "blue", "green"], "second": ["blue", "green", "red"]}
ROWS: dict[str, list[Any]] = {
    "size": [1.5, math.nan, -2.0],
    "legs": [2, 4, MISSING_INTEGER],
    "colour": [b"red", b"", b"mauve"],
}


def of_session(folder: Path, colours: list[str]) -> None:
    """Write a model of TensorFlow 1: references to variables, and a table that is named by its file."""
    import tensorflow as tf

    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.compat.v1.disable_resource_variables()
        size = tf.compat.v1.placeholder(tf.float32, [None], "size")
        legs = tf.compat.v1.placeholder(tf.int32, [None, 1], "legs")
        colour = tf.compat.v1.placeholder(tf.string, [None], "colour")
        keys = tf.constant(colours)
        table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, tf.range(3, dtype=tf.int64)), -1)
        weights = tf.compat.v1.get_variable("w", [3], initializer=tf.constant_initializer([-0.8, 0.1, 0.3]))
        numbers = [size, tf.cast(table.lookup(colour), tf.float32), tf.cast(legs[:, 0], tf.float32)]
        logit = tf.reduce_sum(tf.stack(numbers, 1) * weights, 1)
        outputs = {"p": tf.sigmoid(logit), "logit": logit, "label": tf.cast(logit > 0, tf.int64)}
        tables = tf.compat.v1.tables_initializer()
        session.run([tf.compat.v1.global_variables_initializer(), tables])
        signature = tf.compat.v1.saved_model.predict_signature_def(
            {"size": size, "legs": legs, "colour": colour}, outputs
        )
        builder = tf.compat.v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, main_op=tables)
        builder.save()
    tf.compat.v1.enable_resource_variables()


def of_keras(folder: Path) -> None:
    import keras

    numbers, colour = keras.Input((2,), name="numbers"), keras.Input((1,), name="colour", dtype="string")
    one_hot = keras.layers.StringLookup(vocabulary=COLOURS["first"], output_mode="one_hot")(colour)
    hidden = keras.layers.Concatenate()([numbers, one_hot])
    keras.Model({"numbers": numbers, "colour": colour}, keras.layers.Dense(3, "softmax", name="p")(hidden)).export(
        folder
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the SavedModels `first` and `second` of TensorFlow 1, `keras`, and `reader`, which reads a file."""
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("models")
    for name, colours in COLOURS.items():
        of_session(folder / name, colours)
    of_keras(folder / "keras")
    reader = tf.Module()
    reader.read = tf.function(
        lambda colour: {"p": tf.strings.to_number(tf.map_fn(tf.io.read_file, colour))},
        input_signature=[tf.TensorSpec([None], tf.string, name="colour")],
    )
    tf.saved_model.save(reader, str(folder / "reader"), signatures=reader.read)
    return folder


def settings(models: Path, name: str, **keys: Any) -> ForeignModel:
    inputs = {"size": ["size"], "legs": ["legs"], "colour": ["colour"]}
    if name == "keras":
        inputs = {"numbers": ["size", "legs"], "colour": ["colour"]}
    return ForeignModel(
        **{"name": name, "kind": "saved_model", "problem": "binary", "path": str(models / name), "inputs": inputs}
        | keys
    )


def raw(types: dict[str, str] | None = None) -> dict[str, Any]:
    import tensorflow as tf

    kinds = {"size": "float32", "legs": "int64", "colour": "string"} | (types or {})
    return {name: tf.constant([[value] for value in ROWS[name]], kinds[name]) for name in ROWS}


def specs(**shapes: Any) -> dict[str, Any]:
    import tensorflow as tf

    return {name: tf.io.FixedLenFeature(shapes.get(name, [1]), values.dtype) for name, values in raw().items()}


def member(model: ForeignModel, classes: list[str], optional: tuple[str, ...] = ()) -> tuple[Any, Any]:
    """Return the function from raw columns to the member's answer, and the imported model."""
    imported, answer = saved_model.load(model), Answer(model, classes)
    inputs = columns.inputs_of(model, imported.inputs, specs(), set(optional))
    return lambda features: answer.of(imported.call(inputs(features))), imported


def asked(path: Path, feeds: dict[str, Any], output: str) -> np.ndarray:
    """Ask a model of TensorFlow 1 in a session of its own."""
    import tensorflow as tf

    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        signature = tf.compat.v1.saved_model.load(session, ["serve"], str(path)).signature_def["serving_default"]
        values = {signature.inputs[name].name: value for name, value in feeds.items()}
        return session.run(signature.outputs[output].name, values)


def test_members_of_other_releases_answer_as_before_as_parts_of_one_model(models: Path, tmp_path: Path) -> None:
    import keras
    import tensorflow as tf

    missing = {"size": 10, "legs": 0}
    parts = {
        name: member(settings(models, name, missing=missing, output="p", classes=["no"]), ["no", "yes"])
        for name in COLOURS
    }
    parts["keras"] = member(settings(models, "keras", missing=missing, classes=["b", "c", "a"]), ["a", "b", "c"])
    archive = keras.export.ExportArchive()
    for _, imported in parts.values():
        for part in imported.tracked:
            archive.track(part)
    spec = [{name: tf.TensorSpec([None, 1], values.dtype, name=name) for name, values in raw().items()}]
    archive.add_endpoint("serve", lambda inputs: {name: part(inputs) for name, (part, _) in parts.items()}, spec)
    archive.write_out(str(tmp_path / "fused"), verbose=False)

    fused = tf.saved_model.load(str(tmp_path / "fused")).signatures["serve"](**raw())
    feeds = {"size": [1.5, 10, -2], "legs": [[2], [4], [0]], "colour": ROWS["colour"]}
    for name in COLOURS:
        alone = asked(models / name, feeds, "p")
        np.testing.assert_allclose(fused[name], np.stack([alone, 1 - alone], axis=1), rtol=1e-6)
    assert not np.allclose(fused["first"], fused["second"])  # their tables have the same name
    numbers = tf.constant([[1.5, 2], [10, 4], [-2, 0]], tf.float32)
    (alone,) = (
        tf.saved_model.load(str(models / "keras"))
        .signatures["serving_default"](numbers=numbers, colour=raw()["colour"])
        .values()
    )
    np.testing.assert_allclose(fused["keras"], alone.numpy()[:, [2, 0, 1]], rtol=1e-6)


def test_logits_become_probabilities(models: Path) -> None:
    keys = {"missing": {"size": 1, "legs": 0}, "classes": ["yes"]}
    of_logits, _ = member(settings(models, "first", output="logit", logits=True, **keys), ["no", "yes"])
    plain, _ = member(settings(models, "first", output="p", **keys), ["no", "yes"])
    np.testing.assert_allclose(of_logits(raw()), plain(raw()), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "keys", "message"),
    [
        ("first", {"signature": "serve"}, r"members\.first\.signature: .* has no signature 'serve' \(it has serving_default\)"),
        ("first", {}, r"members\.first\.output: missing; the model has the outputs label, logit, p, name the one with the prob"),
        ("first", {"output": "P"}, r"members\.first\.output: the model has no output 'P'; did you mean 'p'\? \(it has label, logit, p\)"),
        ("reader", {"inputs": {"colour": ["colour"]}}, r"members\.reader\.path: .*refused, because .*ReadFile"),
        ("none", {}, r"members\.none\.path: .*none"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_a_member_is_refused(
    models: Path, name: str, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        saved_model.load(settings(models, name, **keys))


@pytest.mark.parametrize(
    ("target", "mapped", "keys", "message"),
    [
        (ModelInput("float32", [None, 3]), ["size", "legs"], {}, r"inputs\.x: the columns have 2 values per row \(size, legs\), and the input is float32 \[any, 3\]"),
        (ModelInput("float32", [1, 2]), ["size", "legs"], {}, r"inputs\.x: the model takes exactly 1 rows per call"),
        (ModelInput("float32", [None]), ["colour"], {}, r"inputs\.x: the column 'colour' is text, and the input is float32"),
        (ModelInput("string", [None]), ["legs"], {}, r"inputs\.x: the column 'legs' is a whole number, and the input is string"),
        (ModelInput("int32", [None]), ["size"], {}, r"inputs\.x: the column 'size' is a number with decimals, and the input is int32"),
        (ModelInput("bool", [None]), ["legs"], {}, r"inputs\.x: the input is bool, expected text, a float or a signed integer"),
        (ModelInput("int64", [None]), ["legs"], {}, r"missing: a cell of the column 'legs' may be missing, .* such as missing: \{legs: -1\}"),
        (ModelInput("int8", [None]), ["legs"], {"missing": {"legs": 200}}, r"missing\.legs: got 200, and the input 'x' is int8"),
        (ModelInput("float32", []), ["size"], {}, r"inputs\.x: the input is one value for all rows"),
    ],
)  # fmt: skip
def test_columns_that_do_not_fit_an_input_are_refused(
    target: ModelInput, mapped: list[str], keys: dict[str, Any], message: str, tmp_path: Path
) -> None:
    model = settings(tmp_path, "x", inputs={"x": mapped}, **keys)
    with pytest.raises(UsageError, match=message):
        columns.inputs_of(model, {"x": target}, specs(), {"legs"})


def test_a_mapping_that_names_other_inputs_is_refused(tmp_path: Path) -> None:
    model = settings(tmp_path, "x", inputs={"sise": ["size"]})
    size = ModelInput("float32", [None])
    with pytest.raises(UsageError, match=r"the model also needs the input 'size', float32 \[any\]; name its column"):
        columns.inputs_of(model, {"size": size}, specs(), set())
    model = settings(tmp_path, "x", inputs={"sise": ["size"], "size": ["size"]})
    with pytest.raises(UsageError, match=r"inputs\.sise: the model has no such input; did you mean 'size'\?"):
        columns.inputs_of(model, {"size": size}, specs(), set())


def test_cells_become_what_the_model_takes(tmp_path: Path) -> None:
    inputs = {
        "a": ModelInput("float64", [None, 2]),
        "b": ModelInput("float32", [None, 2]),
        "c": ModelInput("string", [None, 1]),
    }
    model = settings(
        tmp_path, "x", inputs={"a": ["legs", "legs"], "b": ["size", "legs"], "c": ["colour"]}, missing={"colour": "?"}
    )
    got = columns.inputs_of(model, inputs, specs(), set(ROWS))(raw())
    np.testing.assert_array_equal(got["a"], np.array([[2, 2], [4, 4], [math.nan, math.nan]]))
    np.testing.assert_array_equal(got["b"], np.array([[1.5, 2], [math.nan, 4], [-2, math.nan]], np.float32))
    assert got["c"].numpy().tolist() == [[b"red"], [b"?"], [b"mauve"]]
    assert (got["a"].dtype, got["c"].shape) == ("float64", (3, 1))


def test_a_number_that_a_small_integer_does_not_have_ends_the_run(tmp_path: Path) -> None:
    import tensorflow as tf

    model = settings(tmp_path, "x", inputs={"x": ["legs"]})
    function = columns.inputs_of(model, {"x": ModelInput("int8", [None])}, specs(), set())
    assert function({"legs": tf.constant([[127]], tf.int64)})["x"].numpy().tolist() == [127]
    with pytest.raises(tf.errors.InvalidArgumentError, match="the column 'legs' has a number that int8 does not have"):
        function({"legs": tf.constant([[128]], tf.int64)})


def test_a_model_whose_answer_changes_with_the_rows_beside_it_is_refused(tmp_path: Path) -> None:
    import tensorflow as tf

    model = settings(tmp_path, "x", problem="regression", classes=[])
    answer, rows = Answer(model, []), {"size": tf.constant([[1.0], [2.0], [4.0]])}
    importer.check_few(model, lambda features: features["size"], answer, rows, set())
    with pytest.raises(UsageError, match=r"members\.x\.path: the model answers a row otherwise beside other rows"):
        importer.check_few(model, lambda f: f["size"] - tf.reduce_mean(f["size"]), answer, rows, set())


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["no", "yse"], "classes: 'yse' is no class of the label; did you mean 'yes'"),
        (["no", "no"], r"classes: got no, no; expected each class of the label once \(no, yes\)"),
    ],
)
def test_classes_that_are_not_those_of_the_label_are_refused(classes: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        Answer(settings(tmp_path, "x", classes=classes), ["no", "yes"])


def test_an_output_of_another_form_is_refused(tmp_path: Path) -> None:
    answer = Answer(settings(tmp_path, "x", classes=["no", "yes"]), ["no", "yes"])
    assert answer.form_fault("float32", [None, 2], "p") is None
    assert "output 'p' is float32 [any, 3], expected one probability for each of no, yes" in answer.form_fault(
        "float32", [None, 3], "p"
    )
    assert "it looks like the class, not its probability" in answer.form_fault("int64", [None], "p")


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([[2.0, -1.0]], r"the output has values from -1 to 2, expected probabilities from 0 to 1; .* logits: true"),
        ([[0.9, 0.3]], "the probabilities of a row sum to between 1.2 and 1.2, expected 1"),
        ([[math.nan, 0.5]], r"NaN or infinite in 1 of 1 rows; a model that cannot take NaN needs the key missing"),
    ],
)
def test_answers_that_are_no_probabilities_are_refused(
    answers: list[list[float]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        Answer(settings(tmp_path, "x", classes=["no", "yes"]), ["no", "yes"]).check(np.array(answers), "rows of valid")
