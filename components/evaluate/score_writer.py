"""Writing scores as Parquet, row group by row group, so that memory does not grow with the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

FILE = "scores.parquet"
MODEL_PREFIX, SLICE_PREFIX = "model:", "slice:"  # before the names of columns
GROUP_ROWS = 1 << 14


class ScoreWriter:
    """Writes the rows of one split after the other.

    Args:
        folder: where the file goes.
        models: names.
        slices: names of the columns by whose values tables are cut.
        classification: labels are class ids, else targets.
    """

    def __init__(self, folder: Path, models: Sequence[str], slices: Sequence[str], classification: bool) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._schema = pa.schema(
            [
                ("split", pa.string()),
                ("row", pa.int64()),
                ("label", pa.int64() if classification else pa.float32()),
                *((f"{SLICE_PREFIX}{name}", pa.string()) for name in slices),
                *((f"{MODEL_PREFIX}{name}", pa.list_(pa.float32())) for name in models),
            ]
        )
        self._writer = pq.ParquetWriter(folder / FILE, self._schema)
        self._waiting: list[Any] = []
        self._split = ""
        self._row = 0
        self.rows = 0

    def write(
        self,
        split: str,
        labels: np.ndarray,
        slices: Mapping[str, np.ndarray],
        outputs: Mapping[str, np.ndarray | None],
    ) -> None:
        """Adds rows.

        Args:
            split: where they belong.
            labels: [rows].
            slices: text [rows] by column.
            outputs: float32 [rows, classes] or [rows, outputs] by model; None for one that cannot read these rows.
        """
        import pyarrow as pa

        if split != self._split:  # a row group of one split alone: who reads one split passes over the others'
            self._flush()
            self._split, self._row = split, 0
        columns: dict[str, Any] = {
            "split": [split] * len(labels),
            "row": range(self._row, self._row + len(labels)),
            "label": labels,
            **{f"{SLICE_PREFIX}{name}": values for name, values in slices.items()},
            **{
                f"{MODEL_PREFIX}{name}": [None] * len(labels) if values is None else list(values)
                for name, values in outputs.items()
            },
        }
        self._waiting.append(pa.RecordBatch.from_pydict(columns, self._schema))
        self._row += len(labels)
        self.rows += len(labels)
        if sum(batch.num_rows for batch in self._waiting) >= GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._waiting:
            self._writer.write_table(pa.Table.from_batches(self._waiting), row_group_size=2 * GROUP_ROWS)
        self._waiting = []

    def __enter__(self) -> ScoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
        self._writer.close()
