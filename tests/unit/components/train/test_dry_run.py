"""The user's code is tried without data: all mistakes are found at once, each with its key and its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benison.components.train import dry_run

SCHEMA = """
feature { name: "age" type: FLOAT presence { min_fraction: 0.5 } }
feature { name: "kind" type: BYTES presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
feature { name: "label" type: BYTES string_domain { name: "label" value: "no" value: "yes" } }
"""
FEATURES = """
import tensorflow as tf
import tensorflow_transform as tft
from benison import dense

def age(inputs):
    return dense(tft.scale_to_z_score(tf.cast(inputs["age"], tf.float32)), default=0.0)

def good(inputs):
    return {"age": age(inputs), "kind": dense(tft.compute_and_apply_vocabulary(inputs["kind"]), default=-1)}

def sparse(inputs):
    return {"age": inputs["age"]}

def double(inputs):
    return {"age": tf.cast(age(inputs), tf.float64)}

def size_of_a_vocabulary(inputs):
    ids = dense(tft.compute_and_apply_vocabulary(inputs["kind"], vocab_filename="kind"), default=-1)[:, 0]
    size = tft.experimental.get_vocabulary_size_by_name("kind")
    return {"age": tf.one_hot(ids, tf.cast(size, tf.int32))}

def scalar(inputs):
    return {"age": tf.reduce_mean(age(inputs))}

def nothing(inputs):
    age(inputs)

def reserved(inputs):
    return {"label_xf": age(inputs)}

def only_present(inputs):
    return {"age": tf.reshape(inputs["age"].values, [-1, 1])}

def needs_all(inputs):
    age = tf.reshape(tf.cast(inputs["age"].values, tf.float32), [-1, 1])
    return {"age": age + tf.cast(tf.strings.length(inputs["kind"]), tf.float32)}

def numbers_as_text(inputs):
    return {"age": tf.strings.to_number(tf.reshape(inputs["kind"], [-1, 1]))}

def no_column(inputs):
    return {"age": inputs["agee"]}
"""
MODELS = """
import keras
from keras import layers

def plain(inputs, hp):
    return inputs["age"]

def embedded(inputs, hp):
    ids = layers.Flatten()(layers.Embedding(5, hp.get("width"))(inputs["kind"]))
    return layers.Dense(hp.get("units"))(layers.Concatenate()([ids, inputs["age"]]))

def branch(inputs, hp):
    return layers.Dense(hp.get("units2"))(inputs["age"]) if hp.get("layers") > 5 else inputs["age"]

def logarithm(inputs, hp):
    return keras.ops.log(inputs["age"])

def logits(inputs, hp):
    return keras.Model(inputs, layers.Dense(2)(inputs["age"]))

def three(inputs, hp):
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(inputs["age"]))

def too_much_dropout(inputs, hp):
    return layers.Dropout(hp.get("dropout"))(inputs["age"])

def compiled(inputs, hp):
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(inputs["age"]))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model

def leaves(inputs, hp):
    raise SystemExit(3)
"""
COMBINERS = """
import tensorflow as tf

def middle(outputs):
    return tf.add_n(list(outputs.values())) / len(outputs)

def votes(outputs):
    return tf.add_n([tf.round(values) for values in outputs.values()])

def first_class(outputs):
    return middle(outputs)[:, 0]

def one_row(outputs):
    return tf.reduce_mean(middle(outputs), axis=0, keepdims=True)

def logarithm(outputs):
    return tf.math.log(middle(outputs) - 1)

def ranks(outputs):
    rank = tf.cast(tf.argsort(tf.argsort(middle(outputs)[:, :1], axis=0), axis=0), tf.float32)
    share = (rank + 0.5) / tf.cast(tf.shape(rank)[0], tf.float32)
    return tf.concat([share, 1 - share], axis=1)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("user")
    for name, text in (
        ("features.py", FEATURES),
        ("models.py", MODELS),
        ("schema.pbtxt", SCHEMA),
        ("combiners.py", COMBINERS),
    ):
        (folder / name).write_text(text)
    (folder / "beside.py").write_text(
        "import combiners\n\ndef middle(outputs):\n    return combiners.middle(outputs)\n"
    )
    (folder / "imports.py").write_text("import keras\nimport numppy\n\ndef plain(inputs, hp):\n    pass\n")
    return folder


def tried(
    folder: Path,
    features: str = "good",
    problem: str = "binary",
    schema: bool = True,
    combiner: str = "",
    **members: Any,
) -> list[str]:
    """Try features and members, which are named by function or file.py:function, with their hyperparameters."""
    recipes = []
    for name, settings in members.items():
        function = settings.pop("function", name)
        reference = function if ":" in function else f"models.py:{function}"
        common = {"problem": problem, "epochs": 1, "batch_size": 8, "patience": 1, "seed": 7}
        recipes.append({"name": name, "function": f"{folder}/{reference}", **common, **settings})
    return dry_run.mistakes(
        dry_run.Project(
            features=f"{folder}/features.py:{features}",
            columns={},
            label="label",
            problem=problem,
            recipes=recipes,
            schema=str(folder / "schema.pbtxt") if schema else None,
            combiner=combiner and f"{folder}/{combiner}",
        )
    )


def test_code_without_mistakes_has_none(folder: Path) -> None:
    members: dict[str, Any] = {
        "plain": {"hyperparameters": {"learning_rate": 0.1}},
        "embedded": {
            "hyperparameters": {"width": 2},
            "tuner": {"space": {"units": [4, 8], "learning_rate": {"min": 0.01, "max": 0.1, "sampling": "log"}}},
        },
        "branch": {"hyperparameters": {"units2": 4, "layers": 1}},
        "logarithm": {},
    }
    assert tried(folder, **members) == []
    assert tried(folder, problem="regression", plain={}) == []
    assert tried(folder, problem="multiclass", three={}) == [
        f"ensemble.members.three: {folder}/models.py, line 21 (three): the model's output is float32 [batch, 3]; expected "
        "one probability per class, [batch, 2]: end the model with Dense(2, activation='softmax')"
    ]


def test_all_broken_members_are_listed_at_once(folder: Path) -> None:
    members: dict[str, Any] = {
        "missing": {"function": "imports.py:plain"},
        "logits": {},
        "three": {},
        "plain": {"hyperparameters": {"learning_rat": 5}},
        "compiled": {"hyperparameters": {"learning_rate": 0.1}},
        "too_much_dropout": {"tuner": {"space": {"dropout": {"min": 0.1, "max": 3.0}}}},
        "embedded": {"hyperparameters": {"width": 2}},
        "leaves": {},
        "branch": {"hyperparameters": {"layers": 1}},
        "boosted": {"kind": "trees", "function": "features.py:age"},
    }
    expected = {
        "missing": "imports.py, line 2 (plain): ModuleNotFoundError: No module named 'numppy'; did you mean 'numpy'?",
        "logits": "models.py, line 18 (logits): the model's output has values from",
        "three": "models.py, line 21 (three): the model's output is float32 [batch, 3]",
        "plain": "line 5 (plain): never reads the hyperparameter 'learning_rat'; did you mean 'learning_rate'?",
        "compiled": "(compiled): never reads the hyperparameter 'learning_rate'",
        "too_much_dropout": "models.py, line 25 (too_much_dropout): ValueError",
        "embedded": "models.py, line 10 (embedded): KeyError: ",
        "leaves": "models.py, line 32 (leaves): the code called sys.exit(3)",
        "boosted": "features.py, line 6 (age): expected a function of two arguments, (rows, hp)",
    }
    lines = tried(folder, **members)
    assert len(lines) == len(expected), lines
    for line, (name, text) in zip(lines, expected.items(), strict=True):
        assert line.startswith(f"ensemble.members.{name}: {folder}/")
        assert text in line


@pytest.mark.parametrize(
    ("combiner", "message"),
    [
        ("votes", "returned rows that are no probabilities"),
        ("first_class", "returned float32 [16] for 16 rows, expected [16, 2]"),
        ("one_row", "returned float32 [1, 2] for 16 rows, expected [16, 2]"),
        ("logarithm", "returned numbers that are not finite"),
        ("ranks", "its answer to a row depends on the other rows of the batch"),
    ],
)
def test_a_combiner_that_a_served_model_cannot_use_is_refused(folder: Path, combiner: str, message: str) -> None:
    (line,) = tried(folder, schema=False, combiner=f"combiners.py:{combiner}", plain={}, logarithm={})
    assert line.startswith(f"ensemble.combiner: {folder}/combiners.py, line ")
    assert message in line


@pytest.mark.parametrize("problem", ["binary", "regression"])
def test_a_combiner_that_answers_like_the_members_is_accepted(folder: Path, problem: str) -> None:
    assert tried(folder, schema=False, combiner="combiners.py:middle", problem=problem, plain={}) == []


def test_a_combiner_that_needs_a_file_beside_it_is_refused_before_the_training(folder: Path) -> None:
    (line,) = tried(folder, schema=False, combiner="beside.py:middle", plain={})
    assert "its source does not run: ModuleNotFoundError(\"No module named 'combiners'\")" in line


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("sparse", "feature 'age' is sparse, expected a dense tensor"),
        ("double", "feature 'age' is float64, expected one of float32, int64, string"),
        ("scalar", "feature 'age' is a scalar, expected [batch, n]"),
        ("nothing", "returned nothing (is a `return` missing?), expected a dict of features by name"),
        ("reserved", "the name 'label_xf' is not allowed"),
        ("no_column", "KeyError: 'agee'"),
        (
            "only_present",
            "feature 'age' has 8 of 16 rows where a cell of the column 'age' is missing: use benison.dense",
        ),
        ("needs_all", "fails where a cell of the column 'age' is missing: "),
    ],
)
def test_features_that_no_member_can_use_are_refused(folder: Path, features: str, message: str) -> None:
    (line,) = tried(folder, features=features, plain={})
    assert line.startswith(f"features: {folder}/features.py, line ")
    assert message in line


def test_features_that_refuse_the_values_that_are_made_up_are_accepted(folder: Path) -> None:
    assert tried(folder, features="numbers_as_text", plain={}) == []


def test_features_whose_size_only_the_data_can_tell_are_accepted(folder: Path) -> None:
    assert tried(folder, features="size_of_a_vocabulary", logits={}) == []


def test_without_a_schema_the_imports_are_tried(folder: Path) -> None:
    (line,) = tried(folder, features="sparse", schema=False, logits={}, missing={"function": "imports.py:plain"})
    assert "No module named 'numppy'" in line
