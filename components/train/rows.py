"""The labelled rows that a member learns from: read from files batch by batch, or in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benison.components import sample_weights
from benison.components.feature_groups import DENSE
from benison.components.train import member
from benison.components.transform import GROUP

if TYPE_CHECKING:
    import tensorflow as tf
    import tensorflow_transform as tft


class Rows(Protocol):
    """Labelled rows; a kind of member that cannot learn from a stream takes `arrays()`."""

    @property
    def is_weighted(self) -> bool:
        """True if the rows have sample weights."""

    def labels(self) -> Iterator[tuple[NDArray, NDArray]]:
        """Yield labels [rows] in batches, int64 class ids or float32 numbers, with sample weights float64 [rows].

        Without sample weights, all are 1.
        """

    def first(self) -> dict[str, Any] | None:
        """Return the features of some rows, Tensors [rows, n] by name; None if there are no rows."""

    def arrays(self) -> ArrayRows:
        """Return all rows in memory."""

    def in_memory(self) -> Rows:
        """Return the rows in memory if they are few enough, else as they are."""


@dataclass(frozen=True)
class ArrayRows:
    """Labelled rows in memory.

    Attributes:
        features: arrays [rows, n] by name of the transformed feature: float32, int64, or objects for text.
        targets: int64 class ids [rows], or float32 numbers [rows].
        groups: the group of each row [rows], see `benison.components.groups`; None if there are no groups.
        weights: float32 [rows], sample weights above 0; None if there are none.
    """

    features: Mapping[str, NDArray]
    targets: NDArray
    groups: NDArray | None = None
    weights: NDArray | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def is_weighted(self) -> bool:
        """See `Rows`."""
        return self.weights is not None

    @property
    def row_weights(self) -> NDArray[np.float64]:
        """The sample weight of each row [rows]; 1 without sample weights."""
        return sample_weights.equal(len(self)) if self.weights is None else self.weights.astype(np.float64)

    def labels(self) -> Iterator[tuple[NDArray, NDArray]]:
        """See `Rows`."""
        yield self.targets, self.row_weights

    def first(self) -> dict[str, Any] | None:
        """See `Rows`."""
        import tensorflow as tf

        few = self.select(np.arange(min(len(self), member.ROWS_TO_CHECK)))
        return {name: tf.constant(values) for name, values in few.features.items()} if len(self) else None

    def arrays(self) -> ArrayRows:
        """See `Rows`."""
        return self

    def in_memory(self) -> ArrayRows:
        """See `Rows`."""
        return self

    def dataset(self) -> tf.data.Dataset:
        """Return single rows (features, label), or (features, label, sample weight)."""
        import tensorflow as tf

        weights = () if self.weights is None else (self.weights.astype(np.float32),)
        return tf.data.Dataset.from_tensor_slices((dict(self.features), self.targets, *weights))

    def select(self, rows: NDArray) -> ArrayRows:
        """Select rows by a mask [rows] or by indices."""
        groups, weights = (None if values is None else values[rows] for values in (self.groups, self.weights))
        features = {name: values[rows] for name, values in self.features.items()}
        return ArrayRows(features, self.targets[rows], groups, weights)


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

    @property
    def is_weighted(self) -> bool:
        """See `Rows`."""
        return member.is_weighted(self.transform)

    def labels(self) -> Iterator[tuple[NDArray, NDArray]]:
        """See `Rows`; memory does not grow with the rows."""
        return member.labels(self.files, self.transform)

    def first(self) -> dict[str, Any] | None:
        """See `Rows`."""
        return member.first_rows(self.files, self.transform, self.group)

    def arrays(self) -> ArrayRows:
        """Read all rows, in the order of their paths."""
        batches = [
            ({name: values.numpy() for name, values in features.items()}, *(part.numpy() for part in others))
            for features, *others in member.labelled_batches(self.files, self.transform, self.group, with_group=True)
        ]
        names = member.feature_spec(self.transform, self.group)
        return ArrayRows(
            {name: np.concatenate([batch[0][name] for batch in batches]) for name in names},
            np.concatenate([batch[1] for batch in batches]),
            np.concatenate([batch[0][GROUP][:, 0] for batch in batches]) if GROUP in batches[0][0] else None,
            np.concatenate([batch[2] for batch in batches]) if self.is_weighted else None,
        )

    def in_memory(self) -> Rows:
        """See `Rows`."""
        return self.arrays() if member.are_few(self.files) else self
