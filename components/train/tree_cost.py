"""The cost of a member of trees in a served graph: measured after its training, and shown before it is pushed."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benison.components.train.fitting import Fitted, Size

FILE = "trees_cost.json"  # beside the model
_ROWS = 256
_CALLS = 7


@dataclass(frozen=True)
class TreeCost:
    """The cost of a member of trees.

    Attributes:
        trees: number of trees.
        depth: number of conditions on the longest way to a leaf.
        symmetric: all nodes on a level have the same condition.
        one_ms: time of one row (milliseconds).
        many_ms: time of `rows` rows (milliseconds).
        rows: the number of many rows.
    """

    trees: int
    depth: int
    symmetric: bool
    one_ms: float
    many_ms: float
    rows: int

    @classmethod
    def measure(cls, fitted: Fitted, size: Size, features: Mapping[str, Any]) -> TreeCost:
        """Measure the answers to some rows of transformed features, Tensors [rows, n] by name."""
        import tensorflow as tf

        function = tf.function(fitted.predict, reduce_retracing=True, autograph=False)
        times = {}
        available = int(next(iter(features.values())).shape[0])
        for rows in (1, _ROWS):
            given = {name: tf.repeat(values, -(-rows // available), axis=0)[:rows] for name, values in features.items()}
            function(given)  # the first call traces
            measured = []
            for _ in range(_CALLS):
                start = time.perf_counter()
                function(given)
                measured.append(time.perf_counter() - start)
            times[rows] = 1000 * min(measured)
        return cls(size.trees, size.depth, size.symmetric, times[1], times[_ROWS], _ROWS)

    def save(self, folder: Path) -> None:
        """Write it beside a model."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> TreeCost | None:
        """Read it from the folder of a model; None if there is none."""
        file = folder / FILE
        return cls(**json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None

    @property
    def text(self) -> str:
        """The cost in one line."""
        way = "symmetric" if self.symmetric else "walked node by node"
        return (
            f"{self.trees:,} trees of up to {self.depth} levels, {way}: {self.one_ms:.2g} ms for one row, "
            f"{self.many_ms:.3g} ms for {self.rows}"
        )
