"""The members: logistic regression on pixels, a dense network, and a convolutional one."""

from __future__ import annotations

from typing import Any

from keras import layers

from benison.pipelines.digits.features import SIDE


def linear(inputs: dict[str, Any], hp: Any) -> Any:
    """Build a logistic regression: the output layer on the pixels."""
    return inputs["image"]


def dense(inputs: dict[str, Any], hp: Any) -> Any:
    """Build two hidden layers, which ignore the positions of the pixels."""
    hidden = inputs["image"]
    for _ in range(2):
        hidden = layers.Dropout(hp.get("dropout"))(layers.Dense(hp.get("units"), activation="relu")(hidden))
    return hidden


def cnn(inputs: dict[str, Any], hp: Any) -> Any:
    """Build two convolutions of 3x3 pixels."""
    picture = layers.Reshape((SIDE, SIDE, 1))(inputs["image"])
    for filters in (hp.get("filters"), 2 * hp.get("filters")):
        picture = layers.MaxPooling2D()(layers.Conv2D(filters, 3, padding="same", activation="relu")(picture))
    return layers.Dropout(hp.get("dropout"))(layers.Flatten()(picture))
