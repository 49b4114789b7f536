"""Some whole rows of a file, of constant size, to compare its columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

_ROWS = 20_000


class RowSample:
    """A random sample of rows, the same for the same file; all rows of a small file.

    Args:
        rows: the most rows that are kept.
    """

    def __init__(self, rows: int = _ROWS) -> None:
        self._most = rows
        self._random = np.random.default_rng(0)
        self._share = 1.0
        self._kept: list[Any] = []

    def add(self, batch: Any) -> None:
        """Add the next rows, an Arrow batch."""
        self._kept.append(self._thinned(batch, self._share))
        while sum(len(part) for part in self._kept) > 2 * self._most:
            self._share /= 2
            self._kept = [self._thinned(part, 0.5) for part in self._kept]

    def columns(self) -> dict[str, Sequence[str]]:
        """Return the cells by column."""
        if not self._kept:
            return {}
        table = pa.Table.from_batches(self._kept)
        if len(table) > self._most:
            table = table.take(np.sort(self._random.choice(len(table), self._most, replace=False)))
        return {name: table.column(name).to_pylist() for name in table.column_names}

    def _thinned(self, part: Any, share: float) -> Any:
        return part if share == 1 else part.filter(pa.array(self._random.random(len(part)) < share))
