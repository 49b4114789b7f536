"""Writes scores as Parquet, one row group after the other, so that memory does not grow with the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

FILE = "scores.parquet"
MODEL_PREFIX, SLICE_PREFIX = "model:", "slice:"  # prefixes of column names
GROUP_ROWS = 1 << 14


class ScoreWriter:
    """Writer of the scores of one split after the other.

    Args:
        folder: folder of the file.
        models: names of the models.
        slices: names of the slice columns.
        classification: labels are class ids; otherwise they are regression targets.
        weighted: the rows have sample weights.
    """

    def __init__(
        self, folder: Path, models: Sequence[str], slices: Sequence[str], classification: bool, weighted: bool = False
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._schema = pa.schema(
            [
                ("split", pa.string()),
                ("row", pa.int64()),
                ("label", pa.int64() if classification else pa.float32()),
                *([("weight", pa.float32())] if weighted else []),
                *((f"{SLICE_PREFIX}{name}", pa.string()) for name in slices),
                *((f"{MODEL_PREFIX}{name}", pa.list_(pa.float32())) for name in models),
            ]
        )
        self._writer = pq.ParquetWriter(folder / FILE, self._schema)
        self._pending: list[Any] = []
        self._split = ""
        self._row = 0
        self.rows = 0

    def write(
        self,
        split: str,
        labels: np.ndarray,
        slices: Mapping[str, np.ndarray],
        outputs: Mapping[str, np.ndarray | None],
        weights: np.ndarray | None = None,
    ) -> None:
        """Append rows.

        Args:
            split: the split of the rows.
            labels: [rows].
            slices: text [rows] by column.
            outputs: float32 [rows, classes] or [rows, outputs] by model; None for a model that cannot read these rows.
            weights: sample weights [rows]; None if the rows have none.
        """
        import pyarrow as pa

        if split != self._split:  # no row group has rows of two splits, so a reader of one split skips the others
            self._flush()
            self._split, self._row = split, 0
        columns: dict[str, Any] = {
            "split": [split] * len(labels),
            "row": range(self._row, self._row + len(labels)),
            "label": labels,
            **({} if weights is None else {"weight": weights}),
            **{f"{SLICE_PREFIX}{name}": values for name, values in slices.items()},
            **{
                f"{MODEL_PREFIX}{name}": [None] * len(labels) if values is None else list(values)
                for name, values in outputs.items()
            },
        }
        self._pending.append(pa.RecordBatch.from_pydict(columns, self._schema))
        self._row += len(labels)
        self.rows += len(labels)
        if sum(batch.num_rows for batch in self._pending) >= GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._pending:
            self._writer.write_table(pa.Table.from_batches(self._pending), row_group_size=2 * GROUP_ROWS)
        self._pending = []

    def __enter__(self) -> ScoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
        self._writer.close()
