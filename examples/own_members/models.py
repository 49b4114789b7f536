"""The members: one function each, named in penguins.yaml.

A function returns the input of the output layer, which Benison adds, or a whole `keras.Model`.
"""

import keras
from keras import layers


def linear(inputs, hp):
    """Return all features: multinomial logistic regression."""
    return layers.Concatenate()(list(inputs.values()))


def ratios(inputs, hp):
    """Return the shape of the bill and the island."""
    return layers.Concatenate()([inputs["bill"], inputs["island"]])


def deep(inputs, hp):
    """Return a whole model: one hidden layer and the output layer, probabilities [batch, 3]."""
    hidden = layers.Dense(hp.get("units"), activation="relu")(layers.Concatenate()(list(inputs.values())))
    return keras.Model(inputs, layers.Dense(3, activation="softmax")(hidden))
