"""Read the scores of models: their outputs for the same rows, with labels and weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PREFIX = "model:"


@dataclass(frozen=True)
class Scores:
    """Outputs of models on the same rows.

    Attributes:
        labels: class ids int64 [rows], or targets float64 [rows].
        outputs: probabilities float32 [rows, classes] or predictions [rows, 1], by model.
        classes: class names by id; empty for regression.
        weights: sample weights float64 [rows]; None if all are equal.
        absent: the reason why a model has no scores, by model.
    """

    labels: NDArray
    outputs: Mapping[str, NDArray]
    classes: tuple[str, ...]
    weights: NDArray | None
    absent: Mapping[str, str]


def read(folders: Iterable[Path], split: str = "test") -> Scores | None:
    """Read artifacts of type ModelScores whose rows are the same, such as those of the members and of the ensemble.

    Returns:
        The scores of all models; None if there are no folders, or no row.

    Raises:
        OSError: an artifact no longer exists.
        ValueError: the artifacts have other rows.
    """
    parts = [_read(folder, split) for folder in folders]
    if not parts or not len(parts[-1].labels):
        return None
    last = parts[-1]
    if any(len(part.labels) != len(last.labels) for part in parts):
        raise ValueError("the scores of members and ensemble are about different rows")
    outputs = {name: values for part in parts for name, values in part.outputs.items()}
    absent = {name: reason for part in parts for name, reason in part.absent.items()}
    return Scores(last.labels, outputs, last.classes, last.weights, absent)


def _read(folder: Path, split: str) -> Scores:
    import pyarrow.parquet as pq

    metadata = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    # `read_table`, filters, `flatten` and `to_numpy` would import pandas, which takes longer than all else.
    file = pq.ParquetFile(folder / "scores.parquet", read_dictionary=["split"])
    weight = bool(metadata.get("weight"))
    models = {
        name: name.removeprefix(_PREFIX)
        for name in file.schema_arrow.names
        if name.startswith(_PREFIX) and name.removeprefix(_PREFIX) not in metadata["absent"]
    }
    table = file.read(columns=["split", "label", *(["weight"] if weight else []), *models])
    here = np.concatenate([np.zeros(0, bool), *(_is(chunk, split) for chunk in table["split"].chunks)])
    width = len(metadata["reference"])
    classes = tuple(str(name) for name in metadata["classes"])
    return Scores(
        _numbers(table["label"])[here].astype(np.int64 if classes else np.float64),
        {name: _matrix(table[column], width)[here] for column, name in models.items()},
        classes,
        _numbers(table["weight"])[here].astype(np.float64) if weight else None,
        metadata["absent"],
    )


def _is(texts: Any, text: str) -> NDArray:
    """Return which of the texts of a dictionary array are a text, as bool [rows]."""
    known = texts.dictionary.to_pylist()
    places = _buffer(texts.indices)
    return np.asarray(places == known.index(text)) if text in known else np.zeros(len(places), bool)


def _matrix(column: Any, width: int) -> NDArray:
    """Convert a column of lists to an array float32 [rows, width]."""
    return np.concatenate([np.zeros((0, width), np.float32), *(_flat(c).reshape(-1, width) for c in column.chunks)])


def _flat(lists: Any) -> NDArray:
    ends = np.frombuffer(lists.buffers()[1], np.int32)[lists.offset : lists.offset + len(lists) + 1]
    return _buffer(lists.values)[ends[0] : ends[-1]] if len(lists) else np.zeros(0, np.float32)


def _numbers(column: Any) -> NDArray:
    return np.concatenate([_buffer(chunk) for chunk in column.chunks])


def _buffer(array: Any) -> NDArray:
    """Return the numbers of an Arrow array without missing values, not copied."""
    values = np.frombuffer(array.buffers()[1], array.type.to_pandas_dtype())
    return values[array.offset : array.offset + len(array)]


def examples(folder: Path, rows: int = 10) -> tuple[list[str], list[list[Any]]]:
    """Return the first rows of scores: the names of the columns, and the rows.

    Each model has one column: its probability of the label's class, or its prediction.
    """
    import pyarrow.parquet as pq

    classes = json.loads((folder / "scores.json").read_text(encoding="utf-8"))["classes"]
    table = next(iter(pq.ParquetFile(folder / "scores.parquet").iter_batches(rows)), None)
    if table is None:
        return [], []
    names = [name.removeprefix(_PREFIX) for name in table.schema.names]
    body = []
    for row in table.to_pylist():
        label = row["label"]
        of_label = int(label) if classes else 0
        body.append(
            [(cell[of_label] if cell else None) if name.startswith(_PREFIX) else cell for name, cell in row.items()]
        )
    return names, body
