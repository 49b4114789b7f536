"""Trains a Keras model data-parallel in several processes, as one process would with the same batches.

Each process has the model, and computes the gradients of its part of each batch. The all-reduce of TensorFlow's
MultiWorkerMirroredStrategy adds them up, and each process takes the same step. Keras 3 cannot fit a model under this
strategy: its optimizers need the variables of a strategy for one process. So the variables are ordinary ones, and only
the sum is the strategy's.

The loss of a part counts by its share of the rows, so that the sum of the gradients is the gradient of the whole batch.
What a model computes from a whole batch in another way, such as batch normalization, it computes from each part.
"""

from __future__ import annotations

import json
import math
import os
import pickle
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benison.components import forks
from benison.components.train import member
from benison.components.train.divergence import stop_if_not_finite
from benison.components.train.history import History
from benison.components.train.imbalance import ClassBalance
from benison.components.train.rows import ArrayRows, FileRows, Rows
from benison.serving.errors import NodeFailed, UsageError

if TYPE_CHECKING:
    import keras

_JOB, _WEIGHTS, _HISTORY = "job.pickle", "weights.pickle", "history.json"  # files in the folder of a training
_POLL_S = 0.05
_ROWS_TO_EVALUATE = 4096

Batch = tuple[Mapping[str, NDArray], NDArray, NDArray]  # features by name, labels, weights
Part = tuple[Mapping[str, NDArray], NDArray, NDArray, NDArray]  # of a batch, and its share of the rows


@dataclass(frozen=True)
class _Files:
    """The fields of FileRows that another process can make it of."""

    files: tuple[str, ...]
    transform: str
    group: str

    def rows(self) -> FileRows:
        import tensorflow_transform as tft

        return FileRows(self.files, tft.TFTransformOutput(self.transform), self.group)


@dataclass(frozen=True)
class _Job:
    """A training, for its processes.

    Attributes:
        recipe: settings of the member.
        hyperparameters: config of KerasTuner's HyperParameters.
        spec: the transformed features.
        classes: number of classes; 0 for regression.
        scale: mean and deviation of a regression's label.
        first: the first values of the model's variables.
        learn: the rows to learn from.
        stop: the rows that tell when to stop, or the number of epochs.
        balance: the method for rare classes.
    """

    recipe: member.Recipe
    hyperparameters: Mapping[str, Any]
    spec: Mapping[str, Any]
    classes: int
    scale: tuple[float, float] | None
    first: list[NDArray]
    learn: ArrayRows | _Files
    stop: ArrayRows | _Files | int
    balance: ClassBalance


def fit(
    model: keras.Model,
    recipe: member.Recipe,
    hp: Any,
    spec: Mapping[str, Any],
    classes: int,
    scale: tuple[float, float] | None,
    learn: Rows,
    stop: Rows | int,
    balance: ClassBalance,
) -> History:
    """Train a model in `recipe.distribute` processes; it has the trained weights afterwards.

    Args:
        model: the model, compiled, with its first weights.
        recipe: settings of the member.
        hp: KerasTuner's HyperParameters.
        spec: the transformed features, see `member.feature_spec`.
        classes: number of classes; 0 for regression.
        scale: mean and deviation of a regression's label.
        learn: the rows to learn from.
        stop: the rows that tell when to stop, or the number of epochs.
        balance: the method for rare classes.

    Returns:
        The losses, and the best epoch.

    Raises:
        UsageError: the model has a train_step of its own, or diverges.
        NodeFailed: a process died.
    """
    import keras

    if type(model).train_step is not keras.Model.train_step:
        raise UsageError(f"{recipe.function}: a model with a train_step of its own cannot be distributed")
    with tempfile.TemporaryDirectory(prefix="distributed-") as temporary:
        folder = Path(temporary)
        first = [np.asarray(variable) for variable in model.variables]
        rows = _sendable(learn), stop if isinstance(stop, int) else _sendable(stop)
        job = _Job(recipe, hp.get_config(), spec, classes, scale, first, *rows, balance)
        (folder / _JOB).write_bytes(pickle.dumps(job))
        with forks.run(f"{__name__}:supervise", folder):
            pass
        trained = pickle.loads((folder / _WEIGHTS).read_bytes())
        for variable, value in zip(model.variables, trained, strict=True):
            variable.assign(value)
        return History(**json.loads((folder / _HISTORY).read_text(encoding="utf-8")))


def supervise(folder: Path) -> None:
    """Start the processes of the training in a folder, and wait for their end.

    Raises:
        NodeFailed: a process died; the others would wait for it.
    """
    import keras
    import keras_tuner

    del keras, keras_tuner  # imported before the forks
    job: _Job = pickle.loads((folder / _JOB).read_bytes())
    count = job.recipe.distribute
    ports = _free_ports(count)

    def start(rank: int) -> forks.Fork:
        return forks.Fork(folder, f"train-{rank}", lambda: _train(job, rank, ports, folder))

    running = [start(rank) for rank in range(count)]
    try:
        while any(process.ended() is None for process in running):
            time.sleep(_POLL_S)
            if codes := [code for process in running if (code := process.ended())]:
                raise forks.error_of(folder) or NodeFailed(f"a process of the training {forks.how_it_ended(codes[0])}")
    finally:
        for process in running:
            process.kill()


def _sendable(rows: Rows) -> ArrayRows | _Files:
    if isinstance(rows, FileRows):
        transform = os.path.dirname(rows.transform.transform_savedmodel_dir)
        return _Files(tuple(rows.files), transform, rows.group)
    return rows.arrays()


def _train(job: _Job, rank: int, ports: list[int], folder: Path) -> None:
    """Be one of the processes; the first one writes the result."""
    count = len(ports)
    forks.take_cores(rank, count)
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": rank}})
    import keras
    import keras_tuner
    import tensorflow as tf

    options = tf.distribute.experimental.CommunicationOptions(
        implementation=tf.distribute.experimental.CommunicationImplementation.RING
    )
    strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)  # before all other operations
    recipe = job.recipe
    keras.utils.set_random_seed(recipe.seed)
    hp = keras_tuner.HyperParameters.from_config(job.hyperparameters)
    target = None if job.scale is None else member.TargetScale(*job.scale)
    model = member.build_model(recipe, hp, job.spec, job.classes, target)
    for variable, value in zip(model.variables, job.first, strict=True):
        # Each process draws its own dropout.
        variable.assign(value + rank if "seed_generator" in variable.path else value)
    model.optimizer.build(model.trainable_variables)
    learn = job.learn.rows() if isinstance(job.learn, _Files) else job.learn
    stop = job.stop.rows() if isinstance(job.stop, _Files) else job.stop
    losses, best = _epochs(model, job, strategy, learn, stop, rank)
    if rank == 0:
        history = History("epoch", best, {name: [epoch[name] for epoch in losses] for name in losses[0]})
        (folder / _HISTORY).write_text(json.dumps(asdict(history)), encoding="utf-8")
        (folder / _WEIGHTS).write_bytes(pickle.dumps([np.asarray(variable) for variable in model.variables]))


def _epochs(
    model: keras.Model, job: _Job, strategy: Any, learn: Rows, stop: Rows | int, rank: int
) -> tuple[list[dict[str, float]], int]:
    """Train as `keras_loop` does; return the losses by epoch, and the best epoch. All processes return the same."""
    recipe, count = job.recipe, job.recipe.distribute
    step, loss = _functions(model, job.spec, strategy)
    splits = {} if isinstance(stop, int) else {"valid": _batches(stop, job, learn=False)()}
    guard = stop_if_not_finite(recipe.name or recipe.function, splits)
    guard.set_model(model)
    learning = _batches(learn, job, learn=True)
    judging = None if isinstance(stop, int) else _batches(stop, job, learn=False)
    best, best_epoch, weights = math.inf, 0, []
    history: list[dict[str, float]] = []
    for epoch in range(stop if isinstance(stop, int) else recipe.epochs):
        guard.on_epoch_begin(epoch)
        losses = {"loss": _mean(step, learning(), rank, count)}
        if judging is not None:
            losses["val_loss"] = _mean(loss, judging(), rank, count)
        guard.on_epoch_end(epoch, losses)
        history.append(losses)
        if rank == 0:
            print(f"epoch {epoch + 1}: " + ", ".join(f"{name} {value:.4f}" for name, value in losses.items()))
        if judging is None:
            best_epoch = epoch + 1
        elif losses["val_loss"] < best:
            best, best_epoch = losses["val_loss"], epoch + 1
            weights = [np.asarray(weight) for weight in model.weights]
        elif epoch + 1 >= best_epoch + recipe.patience:
            break
    for weight, value in zip(model.weights, weights, strict=False):
        weight.assign(value)
    return history, best_epoch - 1


def _mean(function: Callable[..., Any], batches: Iterator[Batch], rank: int, count: int) -> float:
    """Call a function for the own part of each batch; return the mean loss of all rows of all processes."""
    total, rows = 0.0, 0
    for batch in batches:
        size = len(batch[1])
        total += float(function(*_part(batch, rank, count))) * size
        rows += size
    return total / rows


def _part(batch: Batch, rank: int, count: int) -> Part:
    """Return the own part of a batch; without rows of its own it is the first row, with a share of 0."""
    features, labels, weights = batch
    own = np.arange(rank, len(labels), count)
    share = np.array(len(own) / len(labels), np.float32)
    chosen = own if len(own) else np.array([0])
    return {name: values[chosen] for name, values in features.items()}, labels[chosen], weights[chosen], share


def _batches(rows: Rows, job: _Job, *, learn: bool) -> Callable[[], Iterator[Batch]]:
    """Return a function that yields the batches of an epoch, in the same order in all processes."""
    recipe, balance = job.recipe, job.balance
    size = recipe.batch_size if learn else _ROWS_TO_EVALUATE
    if not isinstance(rows, ArrayRows):
        assert isinstance(rows, FileRows)
        labelled = member.labelled_rows(rows.files, rows.transform, cached=True)
        dataset = member.balanced_batches(labelled, recipe, balance, learn=learn)

        def of_files() -> Iterator[Batch]:
            for features, label, *weight in dataset.as_numpy_iterator():
                yield features, label, weight[0] if weight else np.ones(len(label), np.float32)

        return of_files
    weigh = balance.training_weights if learn else balance.validation_weights
    weights = np.asarray(weigh(rows.targets, rows.weights), np.float32)
    random = np.random.default_rng(recipe.seed)

    def of_arrays() -> Iterator[Batch]:
        order = np.arange(len(rows))
        if learn:
            order = balance.draw(rows.targets, random.permutation(len(rows)), random)
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            features = {name: values[chosen] for name, values in rows.features.items()}
            yield features, rows.targets[chosen], weights[chosen]

    return of_arrays


def _functions(model: keras.Model, spec: Mapping[str, Any], strategy: Any) -> tuple[Any, Any]:
    """Return two TensorFlow functions of a `Part`: take a step; compute the loss. Both return the sum of all parts."""
    import tensorflow as tf

    def total(values: Any) -> Any:
        def add(parts: Any) -> Any:
            # The all-reduce needs tensors with a device, and the strategy sets one for operations in here.
            own = [tf.identity(part) for part in parts]
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, own)

        return strategy.run(add, (values,))

    def loss_of(features: Any, labels: Any, weights: Any, share: Any, *, training: bool) -> Any:
        tensors = {name: tf.cast(features[name], feature.dtype) for name, feature in spec.items()}
        answer = model(tensors, training=training)
        # As Keras's Model.fit: a label has the rank of the answer.
        return model.compute_loss(tensors, labels[:, None], answer, weights, training=training) * share

    @tf.function(autograph=False, reduce_retracing=True)
    def step(features: Any, labels: Any, weights: Any, share: Any) -> Any:
        variables = model.trainable_variables
        with tf.GradientTape() as tape:
            loss = loss_of(features, labels, weights, share, training=True)
            scaled = model.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        loss, *gradients = total([loss, *gradients])
        model.optimizer.apply(gradients, variables)
        return loss

    @tf.function(autograph=False, reduce_retracing=True)
    def loss(features: Any, labels: Any, weights: Any, share: Any) -> Any:
        return total([loss_of(features, labels, weights, share, training=False)])[0]

    return step, loss


def _free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()
