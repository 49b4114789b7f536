"""The datasets of a member of the ensemble, and its Keras model, built by the user's function."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benison.components import feature_groups, sample_weights, user_code
from benison.components.feature_groups import DENSE
from benison.components.train import answers
from benison.components.train.imbalance import ClassBalance, Method
from benison.components.transform import CLASSES, GROUP, LABEL, RESERVED, WEIGHT
from benison.serving.errors import UsageError
from benison.serving.vocabulary_lines import from_line

if TYPE_CHECKING:
    import keras
    import numpy as np
    import tensorflow as tf
    import tensorflow_transform as tft

_SHUFFLE_ROWS = 50_000
# Parsed rows stay in memory after the first epoch if their files are not larger (compressed; parsed, some ten times as
# much): for small tables, parsing takes most of an epoch.
CACHED_BYTES = 16 << 20
ROWS_TO_CHECK = 256
PROBABILITIES, PREDICTION = "probabilities", "prediction"  # names of the output layers


@dataclass(frozen=True)
class Recipe:
    """Settings of one member; Trainer and Tuner receive them in their `custom_config`.

    Attributes:
        function: reference to the user's function, `function(inputs, hp)`.
        problem: binary, multiclass or regression.
        batch_size: rows per batch.
        patience: training stops after this many epochs without a lower loss on `valid`.
        seed: seed of the weights, dropout and the order of rows.
        epochs: maximum number of epochs of the Trainer; the Tuner's is in `tuner`.
        imbalance: none, class_weight or undersample, see `benison.components.train.imbalance`.
        hyperparameters: fixed values by name.
        tuner: search space and search settings of the Tuner; None if nothing is tuned, and for the Trainer.
        name: the member's name, for messages.
        kind: the kind of the member, see `benison.components.train.kinds`.
        distribute: number of processes in which the Trainer trains it, each with a part of each batch.
    """

    function: str
    problem: str
    batch_size: int
    patience: int
    seed: int
    epochs: int = 0
    imbalance: Method = "none"
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    tuner: Mapping[str, Any] | None = None
    name: str = ""
    kind: str = "keras"
    distribute: int = 1


class TargetScale:
    """Mean and deviation of a regression's label, as variables: a model learns again without being built again.

    Attributes:
        mean: keras.Variable.
        deviation: keras.Variable.
    """

    def __init__(self, mean: float, deviation: float) -> None:
        import keras

        self.mean = keras.Variable(mean, trainable=False, dtype="float32", name="label_mean")
        self.deviation = keras.Variable(deviation, trainable=False, dtype="float32", name="label_deviation")

    def layer(self) -> keras.layers.Layer:
        """Return a layer from units of the deviation to the unit of the label."""
        import keras

        scale = self

        class LabelUnit(keras.layers.Layer):
            def __init__(self) -> None:
                super().__init__()
                self.mean, self.deviation = scale.mean, scale.deviation

            def call(self, values: Any) -> Any:
                return values * self.deviation + self.mean

        return LabelUnit()


def build_model(
    recipe: Recipe,
    hp: Any,
    spec: Mapping[str, Any],
    classes: int,
    target: TargetScale | None = None,
) -> keras.Model:
    """Build the model of a member, see `assemble`, and compile it if the user's function did not."""
    model = assemble(recipe, hp, spec, classes, target)
    if not model.compiled:
        compile_model(model, recipe, hp, target)
    return model


def assemble(
    recipe: Recipe,
    hp: Any,
    spec: Mapping[str, Any],
    classes: int,
    target: TargetScale | None = None,
) -> keras.Model:
    """Build the model of a member.

    The user's function receives `inputs` (symbolic tensors by name of the transformed feature) and `hp`. It returns
    either the last hidden tensor [batch, n], to which this function adds the output layer, or a complete keras.Model
    whose output is probabilities [batch, classes], the positive class's probability [batch, 1] or a prediction
    [batch, 1]. A compiled model keeps its own optimizer and loss.

    Args:
        recipe: settings of the member.
        hp: KerasTuner's hyperparameters.
        spec: the transformed features, see `feature_spec`.
        classes: number of classes; 0 for regression.
        target: for regression, mean and standard deviation of the label over the rows to learn from. The output layer
            then learns in units of the deviation; otherwise a label in the thousands would need thousands of epochs.

    Raises:
        UsageError: the function fails, or returned neither a tensor nor a model; the message names its line.
    """
    import keras

    layer_names, inputs = _layer_names(spec), {}
    for name, feature in spec.items():
        shape, dtype = feature.shape or (1,), feature.dtype.name
        inputs[name] = keras.layers.InputLayer(shape=shape, dtype=dtype, name=layer_names[name]).output
        inputs[name].name = name  # the name by which a model finds the feature in its data
    with answers.at(recipe.function):
        result = user_code.load(recipe.function)(dict(inputs), hp)
        if isinstance(result, keras.Model):
            model = result
            if any(name != layer for name, layer in layer_names.items()):
                model.input_spec = None  # of a model of a list of inputs, it has the names of the layers
        elif isinstance(result, keras.KerasTensor):
            if len(result.shape) != 2:
                shape = ", ".join(["batch", *map(str, result.shape[1:])])
                raise UsageError(f"returned a tensor [{shape}], expected [batch, n]: add layers.Flatten()")
            output = _output_layer(recipe.problem, classes)(result)
            if recipe.problem == "regression" and target is not None:
                output = target.layer()(output)
            model = keras.Model(inputs, output)
        else:
            raise UsageError(f"returned {kind_of(result)}, expected one Keras tensor or one keras.Model")
    return model


def compile_model(model: keras.Model, recipe: Recipe, hp: Any, target: TargetScale | None) -> None:
    """Compile a model with Adam, at the hyperparameter `learning_rate`, and the loss of the problem."""
    import keras

    rate = hp.get("learning_rate") if "learning_rate" in hp.values else 1e-3
    model.compile(keras.optimizers.Adam(rate), loss=_loss(recipe.problem, model, target))


def _layer_names(features: Iterable[str]) -> dict[str, str]:
    """Return the name of each feature's input layer: the feature's, or another one if Keras would refuse it.

    Keras refuses '/' in a name, and two layers of one name; it names a layer without one by its class. So the layer of
    a feature called `add` or `probabilities` gets a name that neither a layer nor a feature has.
    """
    import keras

    operations = {cls.__name__.lower() for cls in _subclasses(keras.Operation)}
    names = {}
    for position, name in enumerate(features):
        words = re.sub(r"_\d+$", "", name).replace("_", "").lower()
        is_taken = "/" in name or words in operations or name in (PROBABILITIES, PREDICTION)
        names[name] = f"input of feature {position}" if is_taken else name
    return names


def _subclasses(cls: type) -> set[type]:
    return {cls}.union(*map(_subclasses, cls.__subclasses__()))


def dataset(
    files: Sequence[str], transform: tft.TFTransformOutput, recipe: Recipe, balance: ClassBalance, *, learn: bool
) -> tf.data.Dataset:
    """Read batches of transformed examples: (features, label), with a weight if `balance` or the data defines one.

    Rows without a label, with a class that `train` does not have, or of weight 0 are skipped.

    Args:
        files: glob patterns of gzipped TFRecord files.
        transform: defines the feature spec.
        recipe: defines batch size and seed.
        balance: the method for rare classes.
        learn: the dataset is for training: shuffle, and undersample, in each epoch. The same seed gives the same order.
    """
    return balanced_batches(labelled_rows(files, transform, cached=True), recipe, balance, learn=learn)


def balanced_batches(rows: tf.data.Dataset, recipe: Recipe, balance: ClassBalance, *, learn: bool) -> tf.data.Dataset:
    """Return batches of single rows (features, label) or (features, label, sample weight), see `dataset`."""
    if not learn:
        return balance.balance_validation(rows).batch(recipe.batch_size).prefetch(2)
    rows = balance.balance_training(rows.shuffle(_SHUFFLE_ROWS, seed=recipe.seed), recipe.seed)
    return rows.batch(recipe.batch_size).prefetch(2)


def labelled_rows(files: Sequence[str], transform: tft.TFTransformOutput, *, cached: bool = False) -> tf.data.Dataset:
    """Read single rows, see `labelled_batches`; `cached` is for datasets that are read repeatedly."""
    return labelled_batches(files, transform, cached=cached).unbatch()


def labelled_batches(
    files: Sequence[str],
    transform: tft.TFTransformOutput,
    group: str = DENSE,
    *,
    cached: bool = False,
    with_group: bool = False,
) -> tf.data.Dataset:
    """Read batches of any size (features, label) of the rows whose label is known, in the order of the files.

    With sample weights, the batches are (features, label, weight), and rows of weight 0 are skipped. `with_group` adds
    `group_xf` to the features, if there is one.
    """
    import tensorflow as tf

    every = transform.transformed_feature_spec()
    names = feature_groups.select(group, {name: name for name in every if name not in RESERVED})
    weight = [WEIGHT] if is_weighted(transform) else []
    others = [LABEL, *weight, *([GROUP] if with_group and GROUP in every else [])]
    spec = {name: every[name] for name in (*names.values(), *others)}

    def parse(records: tf.Tensor) -> tuple[Any, ...]:
        features = tf.io.parse_example(records, spec)
        label = features.pop(LABEL)
        known = tf.math.is_finite(label) if label.dtype.is_floating else label >= 0
        weights = [features.pop(name) for name in weight]
        for values in weights:
            known &= values > 0
        own = feature_groups.select(group, features) | {name: features[name] for name in others if name in features}
        columns = {name: tf.boolean_mask(_as_column(value), known) for name, value in own.items()}
        return columns, *(tf.boolean_mask(values, known) for values in (label, *weights))

    paths = sorted(path for pattern in files for path in tf.io.gfile.glob(pattern))
    records = tf.data.TFRecordDataset(paths, compression_type="GZIP").batch(1024)
    batches = records.map(tf.autograph.experimental.do_not_convert(parse))  # it has no control flow to convert
    return batches.cache() if cached and are_few(files) else batches


def are_few(files: Sequence[str]) -> bool:
    """Return True if all rows of files, as glob patterns, may be in memory."""
    import tensorflow as tf

    paths = [path for pattern in files for path in tf.io.gfile.glob(pattern)]
    return sum(tf.io.gfile.stat(path).length for path in paths) <= CACHED_BYTES


def is_weighted(transform: tft.TFTransformOutput) -> bool:
    """Return True if the rows have sample weights."""
    return WEIGHT in transform.transformed_feature_spec()


def labels(files: Sequence[str], transform: tft.TFTransformOutput) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the known labels and their sample weights in batches, so that memory does not grow with the rows."""
    for _, label, *weight in labelled_batches(files, transform):
        yield label.numpy(), weight[0].numpy().astype(float) if weight else sample_weights.equal(len(label))


def feature_spec(transform: tft.TFTransformOutput, group: str = DENSE) -> dict[str, tf.io.FixedLenFeature]:
    """Return the spec of the transformed features of a group, by their own names, see `whole_feature_spec`."""
    return feature_groups.select(group, whole_feature_spec(transform))


def whole_feature_spec(transform: tft.TFTransformOutput) -> dict[str, tf.io.FixedLenFeature]:
    """Return the spec of the transformed features of all groups, without the label.

    Raises:
        UsageError: a feature is sparse or ragged.
    """
    import tensorflow as tf

    every = transform.transformed_feature_spec()
    spec = {name: feature for name, feature in every.items() if name not in RESERVED}
    for name, feature in spec.items():
        if not isinstance(feature, tf.io.FixedLenFeature):
            kind = "ragged" if isinstance(feature, tf.io.RaggedFeature) else "sparse"
            raise UsageError(f"transformed feature {name!r} is {kind}; make it dense in preprocessing_fn")
    return spec


def first_rows(
    files: Sequence[str], transform: tft.TFTransformOutput, group: str = DENSE
) -> dict[str, tf.Tensor] | None:
    """Return the features of the first labelled rows, [rows, n] by name; None if there are no rows."""
    for features, *_ in labelled_batches(files, transform, group).unbatch().batch(ROWS_TO_CHECK).take(1):
        return dict(features)
    return None


def class_names(transform: tft.TFTransformOutput) -> list[str]:
    """Return the class names by id, from Transform's vocabulary of the label; empty for regression."""
    path = transform.vocabulary_file_by_name(CLASSES)
    return [from_line(token.decode()) for token in transform.vocabulary_by_name(CLASSES)] if path else []


def _output_layer(problem: str, classes: int) -> keras.layers.Layer:
    import keras

    if problem == "regression":
        return keras.layers.Dense(1, name=PREDICTION)
    return keras.layers.Dense(classes, activation="softmax", name=PROBABILITIES)


def _loss(problem: str, model: keras.Model, target: TargetScale | None) -> str | Callable[..., Any]:
    if problem == "regression":
        return "mean_squared_error" if target is None else _squared_error(target)
    shape = getattr(model, "output_shape", None) if model.built else None  # a subclassed model has none before a call
    if problem == "binary" and isinstance(shape, tuple) and len(shape) == 2 and shape[1] == 1:
        return "binary_crossentropy"
    return "sparse_categorical_crossentropy"


def _squared_error(target: TargetScale) -> Callable[[Any, Any], Any]:
    """Return the loss of squared errors in units of the label's deviation.

    In the label's own unit, the gradients of small labels (such as 1e-5) vanish beside Adam's epsilon, and nothing is
    learnt; the squares of large ones are infinite.
    """
    import keras

    def squared_error(label: Any, prediction: Any) -> Any:
        return keras.ops.mean(keras.ops.square((label - prediction) / target.deviation), axis=-1)

    return squared_error


def kind_of(result: Any) -> str:
    """Describe what a user's function returned."""
    if result is None:
        return "nothing (is a `return` missing?)"
    if isinstance(result, Mapping):
        return f"a dict of {', '.join(map(str, result))}"
    if isinstance(result, (list, tuple)):
        return f"{len(result)} values"
    return type(result).__name__


def _as_column(value: tf.Tensor) -> tf.Tensor:
    """Reshape scalars [batch] to [batch, 1], the shape of Keras inputs."""
    import tensorflow as tf

    return tf.expand_dims(value, -1) if value.shape.rank == 1 else value
