"""Rare classes, learnt as if all classes were equally frequent; the probabilities stay those of the data.

| method         | while a member learns                                                                   |
|----------------|-----------------------------------------------------------------------------------------|
| `class_weight` | a row counts by the inverse of its class's frequency                                    |
| `undersample`  | of a frequent class only as many rows as of the rarest are seen, others in each epoch   |
| `none`         | rows are as they are                                                                    |

Either way a member comes to know p'(k | x) ∝ p(k | x) / π_k, where π_k is the class's frequency in `train`. What it
exports is multiplied by π_k again and normalised, so that rows which get 0.3 are of that class in 3 of 10 cases.

Sources: C. Elkan, The Foundations of Cost-Sensitive Learning, IJCAI 2001, theorem 2 (change of base rate); G. King and
L. Zeng, Logistic Regression in Rare Events Data, Political Analysis 9, 2001 (prior correction); A. Dal Pozzolo et al.,
Calibrating Probability with Undersampling for Unbalanced Classification, IEEE SSCI 2015.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

Method = Literal["none", "class_weight", "undersample"]


@dataclass(frozen=True)
class ClassBalance:
    """What is done about the classes of one training set.

    Attributes:
        method: see above.
        counts: rows of `train` by class id; not needed for `none`.
    """

    method: Method
    counts: tuple[int, ...] = ()

    @property
    def weights(self) -> np.ndarray:
        """Float32 [classes]: what a row counts; 1 in the mean over `train`."""
        counts = self._counts()
        return (counts.sum() / (len(counts) * counts)).astype(np.float32)

    @property
    def kept(self) -> np.ndarray:
        """Float32 [classes]: the share of a class's rows that `undersample` lets through."""
        counts = self._counts()
        return (counts.min() / counts).astype(np.float32)

    def learnt(self, rows: tf.data.Dataset, seed: int) -> tf.data.Dataset:
        """The rows (features, label) that a member learns from, in the same draws for the same seed."""
        if self.method == "class_weight":
            return self._weighted(rows)
        return self._undersampled(rows, seed) if self.method == "undersample" else rows

    def judged(self, rows: tf.data.Dataset) -> tf.data.Dataset:
        """Rows of `valid`: weighted for both methods; the loss there is the one that is learnt by, without a draw."""
        return rows if self.method == "none" else self._weighted(rows)

    def corrected(self, probabilities: Any) -> Any:
        """Probabilities for the data as they are.

        Args:
            probabilities: Tensor float32 [batch, classes], as the member learnt them.
        """
        import tensorflow as tf

        if self.method == "none":
            return probabilities
        shares = probabilities * tf.constant(self._counts() / self._counts().sum(), probabilities.dtype)
        return shares / tf.reduce_sum(shares, axis=1, keepdims=True)

    def _counts(self) -> np.ndarray:
        # A class may be known to Transform and have no row with usable features.
        return np.maximum(np.asarray(self.counts, np.float64), 1)

    def _weighted(self, rows: tf.data.Dataset) -> tf.data.Dataset:
        import tensorflow as tf

        weights = tf.constant(self.weights)
        return rows.map(lambda features, label: (features, label, tf.gather(weights, label)))

    def _undersampled(self, rows: tf.data.Dataset, seed: int) -> tf.data.Dataset:
        import tensorflow as tf

        kept = tf.constant(self.kept)
        draws = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)  # int64, 0 to 2**32 - 1
        return (
            tf.data.Dataset.zip((rows, draws))
            .filter(lambda row, draw: tf.cast(draw, tf.float32) < tf.gather(kept, row[1]) * 2.0**32)
            .map(lambda row, _: row)
        )
