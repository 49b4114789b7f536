"""A version as a model of MLflow: its loader, which needs numpy, pandas and TensorFlow only.

A copy of this file is beside each model that `mlflow_tracker` logs, so that `mlflow.pyfunc.load_model` works where
Benison is not installed. The answers are those of `benison predict`.
"""

from __future__ import annotations

import json
import numbers
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

FILES = ("saved_model.pb", "fingerprint.pb", "manifest.json", "card.md", "variables/*", "assets/*")
_MISSING_INTEGER = -(2**53) + 1  # as in `benison.serving.missing_values`, which is not there


class Model:
    """A loaded version.

    Args:
        folder: the version's files, see `FILES`.
    """

    def __init__(self, folder: Path) -> None:
        import tensorflow as tf

        self._manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        self._loaded = tf.saved_model.load(str(folder))  # its variables live as long as it does
        self._raw = self._loaded.signatures["raw"]

    def predict(self, rows: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Return the answers to rows.

        Args:
            rows: pandas.DataFrame with the columns of the data; None and NaN are missing.
            params: of MLflow; not used.

        Returns:
            pandas.DataFrame: the probability of each class and the `decision`, or the `prediction`.

        Raises:
            ValueError: a column is absent, or a cell has no value that the model can take; the message names both.
        """
        import pandas as pd
        import tensorflow as tf

        tensors = {}
        for name, spec in self._raw.structured_input_signature[1].items():
            described = self._manifest["inputs"].get(name, {})
            column = described.get("column", name)
            if column not in rows:
                raise ValueError(f"no column {column!r}; the rows have {', '.join(map(str, rows))}")
            cell = _Cell(column, spec.dtype.name, described.get("missing"), self._manifest.get("missing", ()))
            if spec.shape.rank == 2:
                values: list[Any] = cell.lists(rows[column], spec.shape[1])
            else:
                values = [cell.value(row, value) for row, value in enumerate(rows[column], start=1)]
            tensors[name] = tf.constant(values, spec.dtype)
        answer = {name: value.numpy() for name, value in self._raw(**tensors).items()}
        if "classes" not in answer:
            return pd.DataFrame({"prediction": answer["prediction"][:, 0]}, index=rows.index)
        classes = [name.decode() for name in answer["classes"][0]]
        answers = pd.DataFrame(answer["probabilities"], columns=classes, index=rows.index)
        if "decision" in answer:
            answers["decision"] = [name.decode() for name in answer["decision"]]
        return answers


class _Cell:
    def __init__(self, column: str, kind: str, missing: Any, marks: Iterable[str]) -> None:
        self._column = column
        self._kind = kind
        self._missing = float("nan") if missing == "NaN" and kind != "string" else missing
        self._marks = {"", *marks}

    def lists(self, column: Any, length: int | None) -> list[list[Any]]:
        """Return the list of each row, shorter ones filled up; `length` is None for any number of values."""
        found = []
        for row, values in enumerate(column, start=1):
            if isinstance(values, str) or not hasattr(values, "__len__") or len(values) != (length or len(values)):
                raise ValueError(f"row {row}, column {self._column!r}: got {values!r}, expected a list of values")
            found.append([self.value(row, value) for value in values])
        filler = "" if self._kind == "string" else float("nan") if self._kind.startswith("float") else _MISSING_INTEGER
        longest = length or max([1, *map(len, found)])
        return [[*values, *[filler] * (longest - len(values))] for values in found]

    def value(self, row: int, value: Any) -> Any:
        """Return a cell's value for the model."""
        import pandas as pd

        if pd.isna(value) or (isinstance(value, str) and value in self._marks):
            if self._missing is None:
                raise ValueError(f"row {row}, column {self._column!r}: no value, but the schema requires one")
            return self._missing
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if self._kind == "string" and isinstance(value, (str, numbers.Integral)):
            return str(value)
        if self._kind.startswith("float") and is_number:
            return float(value)
        if self._kind.startswith("int") and is_number and float(value).is_integer():
            return int(value)
        raise ValueError(f"row {row}, column {self._column!r}: got {value!r}, expected a value of type {self._kind}")


def _load_pyfunc(path: str) -> Model:
    """Load the model; the name is MLflow's."""
    return Model(Path(path))
