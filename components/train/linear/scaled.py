"""Features of mean 0 and deviation 1, for which the solvers need few steps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_SPARSE = 0.2  # the largest share of values other than 0, at which sparse products are quicker
_COLUMNS = 64  # that are float64 and dense at the same time


class Scaled:
    """A matrix of scaled features, float64 [rows, features].

    The one-hot columns of categories stay sparse: the matrix is `values - shift`, and each product takes `shift` away
    from its result. Columns of few zeros are centred before, because differences of large products are not precise.
    """

    def __init__(self, values: csr_matrix | NDArray, shift: NDArray, means: NDArray, widths: NDArray) -> None:
        """Scale nothing; see `of`.

        Args:
            values: scaled features [rows, features].
            shift: what is to be taken away from each of them [features].
            means: the mean of each feature as it was [features].
            widths: its deviation [features]; 1 if it is constant.
        """
        self._values, self._shift, self._means, self.widths = values, shift, means, widths

    @classmethod
    def of(cls, parts: Iterable[NDArray], weights: NDArray) -> Scaled:
        """Scale features by their weighted mean and deviation.

        Args:
            parts: features side by side, each [rows, n].
            weights: the weight of each row [rows].
        """
        from scipy.sparse import csc_matrix, hstack

        shares = weights / weights.sum()
        columns, shifts, all_means, all_widths = [], [], [], []
        for part in parts:
            for start in range(0, part.shape[1], _COLUMNS):
                values = part[:, start : start + _COLUMNS].astype(np.float64)
                means = shares @ values
                widths = np.sqrt(shares @ (values - means) ** 2)
                widths[~(widths > 1e-12 * np.maximum(np.abs(means), 1e-300))] = 1.0
                is_dense = (values != 0).mean(axis=0) > _SPARSE
                values -= np.where(is_dense, means, 0)
                values /= widths
                columns.append(csc_matrix(values))
                shifts.append(np.where(is_dense, 0, means / widths))
                all_means.append(means)
                all_widths.append(widths)
        matrix, shift = hstack(columns, format="csr"), np.concatenate(shifts)
        if matrix.nnz > _SPARSE * np.prod(matrix.shape):
            matrix, shift = matrix.toarray() - shift, np.zeros_like(shift)
        return cls(matrix, shift, np.concatenate(all_means), np.concatenate(all_widths))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        rows, features = self._values.shape
        return rows, features

    def times(self, kernel: NDArray) -> NDArray:
        """Multiply by weights [features] or [features, n]; returns [rows] or [rows, n]."""
        return self._values @ kernel - self._shift @ kernel

    def transposed_times(self, numbers: NDArray) -> NDArray:
        """Multiply the transposed matrix by numbers [rows] or [rows, n]; returns [features] or [features, n]."""
        return self._values.T @ numbers - np.multiply.outer(self._shift, numbers.sum(axis=0))

    def products(self, weights: NDArray) -> NDArray:
        """Return the products of all pairs of features, summed over rows [features, features].

        Args:
            weights: the weights by which the features were scaled [rows].
        """
        if isinstance(self._values, np.ndarray):
            return self._values.T @ (self._values * weights[:, None])
        products = self._values.T @ self._values.multiply(weights[:, None]).tocsr()
        return products.toarray() - weights.sum() * np.outer(self._shift, self._shift)

    def unscaled(self, solution: NDArray) -> tuple[NDArray, NDArray]:
        """Return weights [features, outputs] and intercepts [outputs] of the features as they were.

        Args:
            solution: weights and, last, the intercepts of the scaled features [features + 1, outputs].
        """
        kernel = solution[:-1] / self.widths[:, None]
        return kernel, solution[-1] - self._means @ kernel
