"""Class weights and undersampling for rare classes, with a correction that keeps the probabilities calibrated.

| method         | during training                                                                         |
|----------------|-----------------------------------------------------------------------------------------|
| `class_weight` | the weight of a row is the inverse frequency of its class                               |
| `undersample`  | each epoch draws as many rows of each class as the rarest class has                     |
| `none`         | all rows have the same weight                                                           |

Sample weights are another thing: they say how much a row counts in the population. The weight of a row is the product
of both; frequencies of classes are those of the sample weights, and probabilities are corrected for the balance only.

Both methods train a member to predict p'(k | x) ∝ p(k | x) / π_k, where π_k is the frequency of the class in `train`.
The exported model multiplies by π_k and normalises, so that of the rows with probability 0.3, 3 in 10 are of the class.

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
    """The method for rare classes, with the class counts of a training set.

    Attributes:
        method: see above.
        counts: number of rows of `train` by class id, or what they count by sample weights; not needed for `none`.
        unit: the mean sample weight of a row of `train`; None if the rows have no sample weights.
    """

    method: Method
    counts: tuple[float, ...] = ()
    unit: float | None = None

    @property
    def weights(self) -> np.ndarray:
        """Float32 [classes]: weight of a row, by class; the mean over `train` is 1."""
        counts = self._counts()
        return (counts.sum() / (len(counts) * counts)).astype(np.float32)

    @property
    def sampling_rates(self) -> np.ndarray:
        """Float32 [classes]: the share of a class's rows that `undersample` draws in each epoch."""
        counts = self._counts()
        return (counts.min() / counts).astype(np.float32)

    def balance_training(self, rows: tf.data.Dataset, seed: int) -> tf.data.Dataset:
        """Weight or undersample the training rows; the same seed gives the same draws.

        Args:
            rows: (features, label), or (features, label, sample weight).
            seed: seed of the draws.
        """
        drawn = self._undersampled(rows, seed) if self.method == "undersample" else rows
        return self._weighted(drawn, by_class=self.method == "class_weight")

    def balance_validation(self, rows: tf.data.Dataset) -> tf.data.Dataset:
        """Weight the rows of `valid`, with both methods, so that validation and training minimise the same loss."""
        return self._weighted(rows, by_class=self.method != "none")

    def training_weights(self, labels: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
        """Return the weight of each row to learn from, float32 [rows]; for rows in memory.

        Args:
            labels: class ids, or numbers.
            weights: sample weights [rows]; None if all are equal.
        """
        return self._weights_of(labels, weights, by_class=self.method == "class_weight")

    def validation_weights(self, labels: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
        """Return the weight of each row to stop by, float32 [rows]; see `balance_validation`."""
        return self._weights_of(labels, weights, by_class=self.method != "none")

    def draw(self, labels: np.ndarray, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Return the rows of one epoch: with `undersample` a random part of the frequent classes, else all.

        Args:
            labels: class ids of all rows.
            rows: indices of the rows, in the order of the epoch.
            random: generator of the draws.
        """
        if self.method != "undersample":
            return rows
        return rows[random.random(len(rows)) < self.sampling_rates[labels[rows]]]

    def correct(self, probabilities: Any) -> Any:
        """Correct a member's probabilities to the class frequencies of the data.

        Args:
            probabilities: Tensor float32 [batch, classes], as predicted by a member that was trained on balanced rows.
        """
        import tensorflow as tf

        if self.method == "none":
            return probabilities
        shares = probabilities * tf.constant(self.shares, probabilities.dtype)
        return shares / tf.reduce_sum(shares, axis=1, keepdims=True)

    @property
    def shares(self) -> np.ndarray:
        """The share of each class in the data, float64 [classes]."""
        return self._counts() / self._counts().sum()

    def _counts(self) -> np.ndarray:
        # Transform's vocabulary may contain a class that has no row here.
        return np.maximum(np.asarray(self.counts, np.float64), 1)

    def _weights_of(self, labels: np.ndarray, weights: np.ndarray | None, *, by_class: bool) -> np.ndarray:
        of_class = self.weights[labels] if by_class else np.ones(len(labels), np.float32)
        return of_class if weights is None else (of_class * weights / (self.unit or 1.0)).astype(np.float32)

    def _weighted(self, rows: tf.data.Dataset, *, by_class: bool) -> tf.data.Dataset:
        import tensorflow as tf

        if not by_class and self.unit is None:
            return rows
        of_class = tf.constant(self.weights if by_class else np.ones(1, np.float32))

        def weigh(features: Any, label: Any, *sample: Any) -> tuple[Any, Any, Any]:
            weight = tf.gather(of_class, label) if by_class else of_class[0]
            return features, label, weight * (sample[0] / self.unit) if sample else weight

        return rows.map(weigh)

    def _undersampled(self, rows: tf.data.Dataset, seed: int) -> tf.data.Dataset:
        import tensorflow as tf

        rates = tf.constant(self.sampling_rates)
        draws = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)  # int64, 0 to 2**32 - 1
        return (
            tf.data.Dataset.zip((rows, draws))
            .filter(lambda row, draw: tf.cast(draw, tf.float32) < tf.gather(rates, row[1]) * 2.0**32)
            .map(lambda row, _: row)
        )
