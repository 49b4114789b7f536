"""A member that does not answer as it promises is refused before it is trained; the message names its line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from benison.components import user_code
from benison.components.train import answers, divergence, member
from benison.components.train.divergence import stop_if_not_finite
from benison.serving.errors import UsageError

MODELS = """
import keras
from keras import layers

def both(inputs):
    return layers.Concatenate()(list(inputs.values()))

def model(inputs, outputs):
    return keras.Model(inputs, outputs)

def hidden(inputs, hp):
    return layers.Dense(4, activation="relu")(both(inputs))

def softmax(inputs, hp):
    return model(inputs, layers.Dense(2, activation="softmax")(both(inputs)))

def sigmoid(inputs, hp):
    return model(inputs, layers.Dense(1, activation="sigmoid")(both(inputs)))

def subclassed_sigmoid(inputs, hp):
    class Network(keras.Model):
        def __init__(self):
            super().__init__()
            self.join, self.last = layers.Concatenate(), layers.Dense(1, activation="sigmoid")
        def call(self, features):
            return self.last(self.join([features["x"], features["y"]]))
    return Network()

def bounded(inputs, hp):
    rest = layers.Dense(3, kernel_constraint="non_neg", bias_constraint="non_neg", bias_initializer="ones")
    parts = layers.Dense(2, kernel_constraint="non_neg", bias_constraint="non_neg", bias_initializer="ones")
    shares = parts(rest(layers.Activation("sigmoid")(both(inputs))))
    return model(inputs, shares / keras.ops.sum(shares, axis=1, keepdims=True))

def exponential(inputs, hp):
    return model(inputs, layers.Dense(1, activation="exponential")(both(inputs)))

def logits(inputs, hp):
    return model(inputs, layers.Dense(2, kernel_initializer="zeros")(both(inputs)))

def logit(inputs, hp):
    return model(inputs, layers.Dense(1)(both(inputs)))

def two_sigmoids(inputs, hp):
    return model(inputs, layers.Dense(2, activation="sigmoid", kernel_initializer="zeros")(both(inputs)))

def three(inputs, hp):
    return model(inputs, layers.Dense(3, activation="softmax")(both(inputs)))

def two_outputs(inputs, hp):
    return model(inputs, [layers.Dense(2, activation="softmax")(both(inputs)) for _ in range(2)])

def by_name(inputs, hp):
    return model(inputs, {"a": layers.Dense(2, activation="softmax")(both(inputs))})

def rank_three(inputs, hp):
    return model(inputs, layers.Reshape((1, 2))(layers.Dense(2, activation="softmax")(both(inputs))))

def rank_one(inputs, hp):
    return model(inputs, layers.Reshape(())(layers.Dense(1)(both(inputs))))

def one_row(inputs, hp):
    return model(inputs, keras.ops.mean(layers.Dense(2, activation="softmax")(both(inputs)), axis=0, keepdims=True))

def ragged(inputs, hp):
    import tensorflow as tf
    class Network(keras.Model):
        def call(self, features):
            return tf.RaggedTensor.from_tensor(features["x"])
    return Network()

def integers(inputs, hp):
    return model(inputs, keras.ops.cast(layers.Dense(2, activation="softmax")(both(inputs)) > 0.5, "int32"))

def logarithm(inputs, hp):
    return layers.Dense(2)(keras.ops.log(both(inputs) * 0))

def centred(inputs, hp):
    x = both(inputs)
    return layers.Dense(4)(x - keras.ops.mean(x, axis=0, keepdims=True))

def noisy(inputs, hp):
    return layers.Lambda(lambda x: x + keras.random.normal(keras.ops.shape(x)))(both(inputs))

def normalised(inputs, hp):
    return layers.BatchNormalization()(layers.Dropout(0.5)(both(inputs)))

def hidden_cube(inputs, hp):
    return layers.Reshape((2, 1))(both(inputs))

def nothing(inputs, hp):
    layers.Dense(4)(both(inputs))

def pair(inputs, hp):
    return both(inputs), both(inputs)

def misspelt(inputs, hp):
    return layers.Dense(hp.get("unitz"))(both(inputs))
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("members") / "models.py"
    file.write_text(MODELS)
    return file


def recipe(models: Path, function: str, problem: str) -> member.Recipe:
    return member.Recipe(f"{models}:{function}", problem, epochs=1, batch_size=8, patience=1, seed=7, name=function)


def features(**values: Any) -> dict[str, tf.Tensor]:
    generator = np.random.default_rng(1)
    return {name: tf.constant(values.get(name, generator.normal(size=(32, 1))), tf.float32) for name in ("x", "y")}


def build(models: Path, function: str, problem: str, classes: int) -> Any:
    """Build and check a member on two features, with the same first weights each time."""
    import keras
    import keras_tuner

    keras.utils.set_random_seed(7)
    spec = {name: tf.io.FixedLenFeature([1], tf.float32) for name in ("x", "y")}
    model = member.build_model(
        recipe(models, function, problem),
        keras_tuner.HyperParameters(),
        spec,
        0 if problem == "regression" else classes,
    )
    answers.check_model(model, features(), answers.Promise(problem, classes), f"{models}:{function}")
    return model


@pytest.mark.parametrize(
    ("function", "problem", "classes"),
    [
        ("hidden", "binary", 2),
        ("hidden", "multiclass", 5),
        ("hidden", "regression", 0),
        ("normalised", "binary", 2),
        ("softmax", "binary", 2),
        ("softmax", "multiclass", 2),
        ("sigmoid", "binary", 2),
        ("subclassed_sigmoid", "binary", 2),
        ("bounded", "binary", 2),
        ("logit", "regression", 0),
        ("exponential", "regression", 0),
    ],
)
def test_a_member_that_keeps_its_promise_is_accepted_and_keeps_its_weights(
    models: Path, function: str, problem: str, classes: int
) -> None:
    model = build(models, function, problem, classes)
    before = [np.asarray(weight) for weight in model.weights]
    answers.check_model(model, features(), answers.Promise(problem, classes), f"{models}:{function}")
    assert all(np.array_equal(weight, value) for weight, value in zip(model.weights, before, strict=True))


@pytest.mark.parametrize(
    ("function", "problem", "classes", "message"),
    [
        ("logits", "binary", 2, "values from .*, as logits have; .* end the model with activation='softmax'"),
        ("logit", "binary", 2, "values from .*, as logits have; .* end the model with activation='sigmoid'"),
        ("two_sigmoids", "binary", 2, "a row sum to between .* expected 1"),
        ("two_sigmoids", "multiclass", 2, "a row sum to between .* expected 1"),
        ("three", "binary", 2, r"output is float32 \[batch, 3\]; expected .* \[batch, 2\]"),
        ("sigmoid", "multiclass", 3, r"output is float32 \[batch, 1\]; expected .* \[batch, 3\]"),
        ("sigmoid", "multiclass", None, r"output is float32 \[batch, 1\]; expected .* \[batch, classes\]"),
        ("softmax", "regression", 0, r"output is float32 \[batch, 2\]; expected .* \[batch, 1\]"),
        ("two_outputs", "binary", 2, "has 2 outputs; expected"),
        ("by_name", "binary", 2, r"has 1 outputs by name \(a\)"),
        ("rank_three", "binary", 2, r"float32 \[batch, 1, 2\]"),
        ("rank_one", "regression", 0, r"float32 \[batch\]; expected one prediction per row"),
        ("one_row", "binary", 2, r"of shape \[1, 2\] for 32 rows"),
        ("ragged", "binary", 2, "output is a RaggedTensor"),
        ("integers", "binary", 2, r"output is int32 \[batch, 2\]"),
        ("logarithm", "binary", 2, "not finite in 32 of 32 rows, although all features are"),
        ("centred", "binary", 2, "among 32 rows, and with .* among 16 of them; look for a mean, a rank or an order"),
        ("noisy", "binary", 2, "and for random numbers"),
        ("hidden_cube", "binary", 2, r"returned a tensor \[batch, 2, 1\], expected \[batch, n\]"),
        ("nothing", "binary", 2, r"returned nothing \(is a `return` missing\?\)"),
        ("pair", "binary", 2, "returned 2 values, expected one Keras tensor or one keras.Model"),
    ],
)
def test_a_member_that_breaks_its_promise_is_refused(
    models: Path, function: str, problem: str, classes: int, message: str
) -> None:
    line = MODELS[: MODELS.index(f"def {function}(")].count("\n") + 1
    with pytest.raises(UsageError, match=rf"models\.py, line {line} \({function}\): (the model's )?.*{message}"):
        build(models, function, problem, classes)


def test_an_error_of_the_users_function_names_the_line_that_failed(models: Path) -> None:
    line = MODELS[: MODELS.index('hp.get("unitz")')].count("\n") + 1
    with pytest.raises(UsageError, match=rf"models\.py, line {line} \(misspelt\): KeyError: .*unitz"):
        build(models, "misspelt", "binary", 2)


def test_the_probability_of_a_single_sigmoid_is_that_of_the_last_class() -> None:
    two = answers.as_promised(tf.constant([[0.75], [0.125]]), "binary")
    assert two.numpy().tolist() == [[0.25, 0.75], [0.875, 0.125]]


@pytest.mark.filterwarnings("ignore")  # Keras's own
def test_a_single_sigmoid_learns_the_positive_class(models: Path) -> None:
    model = build(models, "sigmoid", "binary", 2)
    assert model.loss == "binary_crossentropy"
    x = np.linspace(-1, 1, 64, dtype=np.float32).reshape(-1, 1)
    rows = {"x": x, "y": 0 * x}
    model.optimizer.learning_rate = 0.1
    model.fit(rows, (x[:, 0] > 0).astype(np.int64), epochs=30, verbose=0)
    positive = answers.as_promised(model(rows), "binary").numpy()[:, 1]
    assert positive[-1] > 0.8 > 0.2 > positive[0]


def test_a_trained_member_whose_answer_is_nan_is_refused_by_the_name_of_the_feature(models: Path) -> None:
    model, rows = build(models, "hidden", "binary", 2), features(y=np.full((32, 1), np.nan))
    promise = answers.Promise("binary", 2)
    with pytest.raises(UsageError, match="not finite in 32 of 32 rows: feature 'y' is NaN or infinite in 32 of them"):
        answers.check_trained(model, rows, promise, f"{models}:hidden")


@pytest.mark.filterwarnings("ignore")  # Keras's own
@pytest.mark.parametrize(
    ("bad", "rate", "reason"),
    [
        ("train", 0.001, "the loss is nan in epoch 1 (learning rate 0.001): feature 'y' is NaN or infinite in rows of train"),
        ("valid", 0.001, "the loss on valid is nan in epoch 1 (learning rate 0.001): feature 'y' is NaN or infinite in rows of valid"),
        ("", 1e30, "all features are finite; lower the learning rate"),
    ],
)  # fmt: skip
def test_a_loss_that_is_not_finite_stops_the_training_and_names_the_cause(
    models: Path, bad: str, rate: float, reason: str
) -> None:
    import keras

    model = build(models, "logit", "regression", 0)
    model.compile(keras.optimizers.SGD(rate), loss="mse")
    splits = {}
    for split in ("train", "valid"):
        rows = features(y=np.array([[0.5]] * 31 + [[np.nan if split == bad else 0.5]]))
        splits[split] = tf.data.Dataset.from_tensor_slices((rows, tf.ones([32]))).batch(8)
    stop = stop_if_not_finite("birds", splits)
    with pytest.raises(UsageError, match=rf"member birds: .*{re.escape(reason)}"):
        model.fit(splits["train"], validation_data=splits["valid"], epochs=5, callbacks=[stop], verbose=0)


def test_a_loss_that_is_not_finite_names_a_feature_that_is_enormous() -> None:
    huge = {"y": np.array([[0.5], [-3e30]], np.float32), "id": np.array([[10**12], [1]])}
    splits = {"train": [({"y": np.ones((2, 1), np.float32)}, None), (huge, None)]}
    text = divergence.first_not_finite(splits)
    assert text.startswith("feature 'y' is as large as 3e+30 in rows of train; scale or limit it in preprocessing_fn")


def test_an_error_in_a_helper_names_the_line_of_the_helper(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("def part():\n    import numppy\n")
    (tmp_path / "models.py").write_text("import helper\ndef deep(inputs, hp):\n    helper.part()\n")
    function = f"{tmp_path}/models.py:deep"
    message = r"helper\.py, line 2 \(deep\): ModuleNotFoundError: No module named 'numppy'; did you mean 'numpy'\?$"
    with pytest.raises(UsageError, match=message), answers.at(function):
        user_code.load(function)({}, None)
