"""The members: each builds the layers between the features and the output layer, which Benison adds."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from benison.pipelines.flights.features import CATEGORIES, CROSS_BUCKETS, CROSSES


def linear(inputs: dict[str, Any], hp: Any) -> Any:
    """Build a logistic regression on numbers, categories and crosses."""
    return layers.Concatenate()([inputs["numbers"], _one_hot(inputs), _weights_of_crosses(inputs, hp)])


def deep(inputs: dict[str, Any], hp: Any) -> Any:
    """Build two hidden layers on numbers and embedded categories."""
    return _hidden(inputs, hp)


def wide_and_deep(inputs: dict[str, Any], hp: Any) -> Any:
    """Build both, so that crosses keep exceptions that the hidden layers smooth over (Cheng et al. 2016)."""
    return layers.Concatenate()([_one_hot(inputs), _weights_of_crosses(inputs, hp), _hidden(inputs, hp)])


def forest(inputs: dict[str, Any], hp: Any) -> Any:
    """Build soft oblivious trees: all nodes of a depth share one test (Popov et al. 2019, section 3.1).

    The layer's output [batch, trees x leaves] is the share of a row that reaches each leaf. The value of a leaf is a
    weight of the output layer.
    """
    trees, depth = hp.get("trees"), hp.get("depth")
    rows = layers.Concatenate()([inputs["numbers"], _one_hot(inputs)])
    yes = layers.Dense(trees * depth, activation="sigmoid", kernel_regularizer=_l2(hp))(rows)
    yes = layers.Reshape((trees, depth, 1))(yes)
    leaves = layers.Concatenate()([yes[:, :, 0], 1 - yes[:, :, 0]])
    for level in range(1, depth):
        answers = layers.Concatenate()([yes[:, :, level], 1 - yes[:, :, level]])
        pairs = layers.Reshape((trees, -1, 1))(leaves) * layers.Reshape((trees, 1, 2))(answers)
        leaves = layers.Reshape((trees, -1))(pairs)
    return layers.Dropout(hp.get("dropout"))(layers.Flatten()(leaves))


def _one_hot(inputs: dict[str, Any]) -> Any:
    """Encode the categories multi-hot: float32 [batch, values of all categories]."""
    return layers.CategoryEncoding(_category_ids(), output_mode="multi_hot")(_distinct_ids(inputs))


def _hidden(inputs: dict[str, Any], hp: Any) -> Any:
    embedded = layers.Embedding(_category_ids(), hp.get("embedding"))(_distinct_ids(inputs))
    hidden = layers.Concatenate()([inputs["numbers"], layers.Flatten()(embedded)])
    for _ in range(2):
        hidden = layers.Dense(hp.get("units"), activation="relu", kernel_regularizer=_l2(hp))(hidden)
        hidden = layers.Dropout(hp.get("dropout"))(hidden)
    return hidden


def _weights_of_crosses(inputs: dict[str, Any], hp: Any) -> Any:
    """Return one weight for each id of a cross: float32 [batch, crosses]."""
    weights = layers.Embedding(
        len(CROSSES) * CROSS_BUCKETS, 1, embeddings_initializer="zeros", embeddings_regularizer=_l2(hp)
    )
    return layers.Flatten()(weights(inputs["crosses"]))


def _category_ids() -> int:
    """Return the number of ids of all categories together."""
    return sum(values + 1 for values in CATEGORIES.values())


def _distinct_ids(inputs: dict[str, Any]) -> Any:
    """Return the categories' ids, shifted so that no two categories share one."""
    sizes = [values + 1 for values in CATEGORIES.values()]
    return inputs["categories"] + np.cumsum([0, *sizes[:-1]])


def _l2(hp: Any) -> Any:
    return keras.regularizers.L2(hp.get("l2"))
