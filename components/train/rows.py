"""The labelled rows that a member learns from: read from files batch by batch, or in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benison.components.feature_groups import DENSE
from benison.components.train import member
from benison.components.transform import GROUP

if TYPE_CHECKING:
    import tensorflow as tf
    import tensorflow_transform as tft


class Rows(Protocol):
    """Labelled rows; a kind of member that cannot learn from a stream takes `arrays()`."""

    def labels(self) -> Iterator[NDArray]:
        """Yield the labels in batches [rows]: int64 class ids, or float32 numbers."""

    def first(self) -> dict[str, Any] | None:
        """Return the features of some rows, Tensors [rows, n] by name; None if there are no rows."""

    def arrays(self) -> ArrayRows:
        """Return all rows in memory."""


@dataclass(frozen=True)
class ArrayRows:
    """Labelled rows in memory.

    Attributes:
        features: arrays [rows, n] by name of the transformed feature: float32, int64, or objects for text.
        targets: int64 class ids [rows], or float32 numbers [rows].
        groups: the group of each row [rows], see `benison.components.groups`; None if there are no groups.
    """

    features: Mapping[str, NDArray]
    targets: NDArray
    groups: NDArray | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def labels(self) -> Iterator[NDArray]:
        """See `Rows`."""
        yield self.targets

    def first(self) -> dict[str, Any] | None:
        """See `Rows`."""
        import tensorflow as tf

        few = self.select(np.arange(min(len(self), member.ROWS_TO_CHECK)))
        return {name: tf.constant(values) for name, values in few.features.items()} if len(self) else None

    def arrays(self) -> ArrayRows:
        """See `Rows`."""
        return self

    def dataset(self) -> tf.data.Dataset:
        """Return single rows (features, label)."""
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices((dict(self.features), self.targets))

    def select(self, rows: NDArray) -> ArrayRows:
        """Select rows by a mask [rows] or by indices."""
        groups = None if self.groups is None else self.groups[rows]
        return ArrayRows({name: values[rows] for name, values in self.features.items()}, self.targets[rows], groups)


@dataclass(frozen=True)
class FileRows:
    """Labelled rows in the files that Transform wrote.

    Attributes:
        files: glob patterns of gzipped TFRecord files.
        transform: defines the features.
        group: the group of features, see `benison.components.feature_groups`.
    """

    files: Sequence[str]
    transform: tft.TFTransformOutput
    group: str = DENSE

    def labels(self) -> Iterator[NDArray]:
        """See `Rows`; memory does not grow with the rows."""
        return member.labels(self.files, self.transform)

    def first(self) -> dict[str, Any] | None:
        """See `Rows`."""
        return member.first_rows(self.files, self.transform, self.group)

    def arrays(self) -> ArrayRows:
        """Read all rows, in the order of their paths."""
        batches = [
            ({name: values.numpy() for name, values in features.items()}, label.numpy())
            for features, label in member.labelled_batches(self.files, self.transform, self.group, with_group=True)
        ]
        names = member.feature_spec(self.transform, self.group)
        return ArrayRows(
            {name: np.concatenate([features[name] for features, _ in batches]) for name in names},
            np.concatenate([label for _, label in batches]),
            np.concatenate([features[GROUP][:, 0] for features, _ in batches]) if GROUP in batches[0][0] else None,
        )
