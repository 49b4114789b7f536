"""The members: each turns the features into what the output layer reads, which Benison adds, trains and exports."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers

from benison.pipelines.flights.features import CATEGORIES, CROSS_BUCKETS, CROSSES


def linear(inputs: dict[str, Any], hp: Any) -> Any:
    """Logistic regression on numbers, categories and crosses."""
    return layers.Concatenate()([inputs["numbers"], _one_hot(inputs), _weights_of_crosses(inputs, hp)])


def deep(inputs: dict[str, Any], hp: Any) -> Any:
    """Numbers and embedded categories through two hidden layers."""
    return _hidden(inputs, hp)


def wide_and_deep(inputs: dict[str, Any], hp: Any) -> Any:
    """Both at once, so that crosses remember what the hidden layers smooth over (Cheng et al. 2016)."""
    return layers.Concatenate()([_one_hot(inputs), _weights_of_crosses(inputs, hp), _hidden(inputs, hp)])


def forest(inputs: dict[str, Any], hp: Any) -> Any:
    """Soft oblivious trees: in one, all nodes of a depth ask the same question (Popov et al. 2019, section 3.1).

    A leaf's place [batch, trees x leaves] is the share of a row that gets there; its value is a weight of the output
    layer.
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
    """Float32 [batch, values of all categories], several of them 1."""
    return layers.CategoryEncoding(_places(), output_mode="multi_hot")(_with_places_of_their_own(inputs))


def _hidden(inputs: dict[str, Any], hp: Any) -> Any:
    embedded = layers.Embedding(_places(), hp.get("embedding"))(_with_places_of_their_own(inputs))
    hidden = layers.Concatenate()([inputs["numbers"], layers.Flatten()(embedded)])
    for _ in range(2):
        hidden = layers.Dense(hp.get("units"), activation="relu", kernel_regularizer=_l2(hp))(hidden)
        hidden = layers.Dropout(hp.get("dropout"))(hidden)
    return hidden


def _weights_of_crosses(inputs: dict[str, Any], hp: Any) -> Any:
    """Float32 [batch, crosses]: one weight for each id of a cross."""
    weights = layers.Embedding(
        len(CROSSES) * CROSS_BUCKETS, 1, embeddings_initializer="zeros", embeddings_regularizer=_l2(hp)
    )
    return layers.Flatten()(weights(inputs["crosses"]))


def _places() -> int:
    return sum(values + 1 for values in CATEGORIES.values())


def _with_places_of_their_own(inputs: dict[str, Any]) -> Any:
    """The categories' ids, shifted so that no two categories share one."""
    sizes = [values + 1 for values in CATEGORIES.values()]
    return inputs["categories"] + np.cumsum([0, *sizes[:-1]])


def _l2(hp: Any) -> Any:
    return keras.regularizers.L2(hp.get("l2"))
