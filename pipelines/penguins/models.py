"""The members: each builds the layers between the features and the output layer, which Benison adds."""

from __future__ import annotations

from typing import Any

from keras import layers


def linear(inputs: dict[str, Any], hp: Any) -> Any:
    """Build a logistic regression: only the output layer."""
    return layers.Concatenate()(list(inputs.values()))


def quadratic(inputs: dict[str, Any], hp: Any) -> Any:
    """Build a logistic regression on the features and on every product of two of them."""
    features = layers.Concatenate()(list(inputs.values()))
    products = layers.Flatten()(layers.Dot(axes=2)([layers.Reshape((-1, 1))(features)] * 2))
    return layers.Dropout(hp.get("dropout"))(layers.Concatenate()([features, products]))


def deep(inputs: dict[str, Any], hp: Any) -> Any:
    """Build two hidden layers; the Tuner chooses their width."""
    hidden = layers.Concatenate()(list(inputs.values()))
    for _ in range(2):
        hidden = layers.Dense(hp.get("units"), activation="relu")(hidden)
    return layers.Dropout(hp.get("dropout"))(hidden)
