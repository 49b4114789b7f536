"""The members: logistic regression on the pixels, and a small convolutional network."""

from keras import layers


def linear(inputs, hp):
    """Return the pixels."""
    return layers.Flatten()(inputs["image"])


def cnn(inputs, hp):
    """Return the features of one convolution of 3x3 pixels."""
    picture = layers.Conv2D(hp.get("filters"), 3, padding="same", activation="relu")(inputs["image"])
    return layers.Flatten()(layers.MaxPooling2D()(picture))
