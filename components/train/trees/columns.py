"""The features of trees as two tables: numbers, and categories as ids.

Features of floating numbers [rows, n] are numbers, and those of whole numbers are ids of categories: what is equal, and
not what is greater, counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.serving.errors import UsageError


@dataclass(frozen=True)
class Columns:
    """The order of the features in both tables.

    Attributes:
        numbers: names of the features of numbers.
        categories: names of the features of ids.
        number_names: name of each column of numbers.
        category_names: name of each column of ids.
    """

    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    number_names: tuple[str, ...]
    category_names: tuple[str, ...]

    @classmethod
    def of(cls, spec: Mapping[str, Any], names: Mapping[str, Sequence[str]]) -> Columns:
        """Return the columns of features.

        Args:
            spec: FixedLenFeature of each feature.
            names: names of a feature's columns, if they are known.

        Raises:
            UsageError: there is no feature, or one of text.
        """
        if not spec:
            raise UsageError(
                "there are no features for trees; return a dict of features with the key 'trees' in preprocessing_fn"
            )
        for name, feature in spec.items():
            if not (feature.dtype.is_floating or feature.dtype.is_integer):
                raise UsageError(
                    f"feature {name!r} of the trees is {feature.dtype.name}, expected numbers, or int64 ids of "
                    "categories; make ids by tft.compute_and_apply_vocabulary"
                )
        numbers = tuple(sorted(name for name, feature in spec.items() if feature.dtype.is_floating))
        categories = tuple(sorted(name for name in spec if name not in numbers))
        named = [
            tuple(column for name in group for column in _names(name, spec[name], names))
            for group in (numbers, categories)
        ]
        return cls(numbers, categories, *named)

    def arrays(self, features: Mapping[str, NDArray]) -> tuple[NDArray, NDArray]:
        """Return numbers float32 [rows, n] and ids int64 [rows, m]; infinite numbers become the largest one.

        In a graph an infinite number needs no change: it is on the same side of each border as the largest one.
        """
        rows = len(next(iter(features.values())))
        largest = np.finfo(np.float32).max
        numbers = [np.zeros((rows, 0), np.float32), *(features[name].reshape(rows, -1) for name in self.numbers)]
        ids = [np.zeros((rows, 0), np.int64), *(features[name].reshape(rows, -1) for name in self.categories)]
        together = np.concatenate(numbers, axis=1).astype(np.float32, copy=False)
        return np.clip(together, -largest, largest), np.concatenate(ids, axis=1)

    def tensors(self, features: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return numbers float32 [rows, n] and ids int64 [rows, m] as TensorFlow operations."""
        import tensorflow as tf

        rows = tf.shape(next(iter(features.values())))[0]
        tables = []
        for names, dtype in ((self.numbers, tf.float32), (self.categories, tf.int64)):
            parts = [tf.reshape(tf.cast(features[name], dtype), [rows, _width(features[name].shape)]) for name in names]
            tables.append(tf.concat(parts, axis=1) if parts else tf.zeros([rows, 0], dtype))
        return tables[0], tables[1]


def _width(shape: Any) -> int:
    return int(np.prod(shape[1:] or [1]))


def _names(name: str, feature: Any, names: Mapping[str, Sequence[str]]) -> Sequence[str]:
    width = int(np.prod(feature.shape or [1]))
    if len(names.get(name, ())) == width:
        return names[name]
    return [name] if width == 1 else [f"{name}[{number}]" for number in range(width)]
