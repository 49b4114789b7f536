"""The output of a model in the order of the candidate's classes, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


class NotComparable(Exception):
    """Error for a model whose answers cannot be compared with the candidate's; the message is the reason."""


def align(outputs: Mapping[str, NDArray], classes: Sequence[str]) -> NDArray:
    """Return a model's output float [batch, n], with one column per class in the order of `classes`.

    A served version may be older: with another order of classes, other classes, or another kind of answer.

    Args:
        outputs: `probabilities` [batch, n] and `classes` (bytes) [batch, n], or `prediction` [batch, n].
        classes: names of the candidate's classes; empty for regression.

    Raises:
        NotComparable: the model has other classes, or another kind of answer.
    """
    expected, other = ("probabilities", "prediction") if classes else ("prediction", "probabilities")
    if expected not in outputs:
        raise NotComparable(f"its answers are {other}, and the candidate's are {expected}")
    values = outputs[expected]
    if not classes:
        return values
    if not len(values):
        return np.zeros((0, len(classes)), np.float32)
    own = [name.decode("utf-8", "replace") for name in outputs["classes"][0]]
    if sorted(own) != sorted(classes):
        raise NotComparable(f"its classes differ from the candidate's: {_difference(own, classes)}")
    return values[:, [own.index(name) for name in classes]]


def _difference(own: Sequence[str], classes: Sequence[str]) -> str:
    only = [("only it has", [name for name in own if name not in classes])]
    only += [("only the candidate has", [name for name in classes if name not in own])]
    return ", ".join(f"{whose} {_listed(names)}" for whose, names in only if names)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:10])) + (", …" if len(names) > 10 else "")
