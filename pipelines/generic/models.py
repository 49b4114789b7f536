"""The members: each turns the features into what the output layer reads, which Benison adds, trains and exports.

Features are float32 [batch, n]. A hyperparameter that the YAML does not give has the default that stands here.
"""

from __future__ import annotations

from typing import Any

from keras import layers


def linear(inputs: dict[str, Any], hp: Any) -> Any:
    """Linear or logistic regression: the output layer alone."""
    return joined(inputs)


def deep(inputs: dict[str, Any], hp: Any) -> Any:
    """Hidden layers one after the other. Hyperparameters: layers, units, dropout."""
    return hidden(joined(inputs), hp)


def wide_deep(inputs: dict[str, Any], hp: Any) -> Any:
    """The features themselves beside hidden layers, so that what is linear needs no hidden unit.

    H.-T. Cheng et al., Wide & Deep Learning for Recommender Systems, 2016. Hyperparameters: layers, units, dropout.
    """
    features = joined(inputs)
    return layers.Concatenate()([features, hidden(features, hp)])


def joined(inputs: dict[str, Any]) -> Any:
    """All features side by side: [batch, n]."""
    return layers.Concatenate()(list(inputs.values()))


def hidden(features: Any, hp: Any) -> Any:
    """Dense layers, each followed by dropout: [batch, units]."""
    for _ in range(hp.values.get("layers", 2)):
        features = layers.Dense(hp.values.get("units", 64), activation="relu")(features)
        features = layers.Dropout(hp.values.get("dropout", 0.1))(features)
    return features
