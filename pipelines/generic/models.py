"""Generic members: each builds the layers between the features and the output layer, which Benison adds.

Features are float32 [batch, n]. The functions hold the defaults of hyperparameters that the YAML does not give.
"""

from __future__ import annotations

from typing import Any

from keras import layers


def linear(inputs: dict[str, Any], hp: Any) -> Any:
    """Build a linear or logistic regression: only the output layer."""
    return joined(inputs)


def deep(inputs: dict[str, Any], hp: Any) -> Any:
    """Build hidden layers in sequence. Hyperparameters: layers, units, dropout."""
    return hidden(joined(inputs), hp)


def wide_deep(inputs: dict[str, Any], hp: Any) -> Any:
    """Build hidden layers beside the features themselves, so that linear effects need no hidden units.

    H.-T. Cheng et al., Wide & Deep Learning for Recommender Systems, 2016. Hyperparameters: layers, units, dropout.
    """
    features = joined(inputs)
    return layers.Concatenate()([features, hidden(features, hp)])


def joined(inputs: dict[str, Any]) -> Any:
    """Concatenate all features: [batch, n]."""
    return layers.Concatenate()(list(inputs.values()))


def hidden(features: Any, hp: Any) -> Any:
    """Build dense layers, each followed by dropout: [batch, units]."""
    for _ in range(hp.values.get("layers", 2)):
        features = layers.Dense(hp.values.get("units", 64), activation="relu")(features)
        features = layers.Dropout(hp.values.get("dropout", 0.1))(features)
    return features
