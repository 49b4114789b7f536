"""Read how much columns matter: to trees, to the label alone, and by permutation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


def of_trees(folder: Path) -> dict[str, float]:
    """Return each column's share in a member of trees, from its artifact of type Model; empty for another member."""
    file = folder / "importances.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


@dataclass(frozen=True)
class LabelAlone:
    """The power of single columns to predict the label.

    Attributes:
        label: the label's name.
        columns: area under the curve of the column alone, or its like, by column; highest first.
        suspicious: columns that predict it too well.
        unlabelled: by split, the rows without a label and all rows.
        nothing: the number of a column that tells nothing: 0.5 for classes, 0 for a regression.
    """

    label: str
    columns: Mapping[str, float]
    suspicious: Sequence[str]
    unlabelled: Mapping[str, tuple[int, int]]
    nothing: float = 0.5


def of_label(folder: Path) -> LabelAlone:
    """Read an artifact of type LabelReport.

    Raises:
        OSError: the artifact no longer exists.
    """
    data = json.loads((folder / "label.json").read_text(encoding="utf-8"))
    columns = dict(sorted(data["columns"].items(), key=lambda entry: -entry[1]))
    missing = {split: (counts[0], counts[1]) for split, counts in data.get("unlabelled", {}).items()}
    nothing = 0.5 if data.get("classes") else 0.0
    return LabelAlone(data["label"], columns, list(data["suspicious"]), missing, nothing)


@dataclass(frozen=True)
class Loss:
    """The loss of a model's metric if a column is shuffled: the mean, and the ends of its interval."""

    lost: float
    low: float
    high: float


@dataclass(frozen=True)
class Permutation:
    """Importances by permutation on `test`.

    Attributes:
        metric: what is lost.
        rows: number of rows.
        repeats: number of shuffles per column.
        models: by model and column, largest loss of the ensemble first.
    """

    metric: str
    rows: int
    repeats: int
    models: Mapping[str, Mapping[str, Loss]]


def by_permutation(folder: Path) -> Permutation:
    """Read an artifact of type ColumnImportance.

    Raises:
        OSError: the artifact no longer exists.
    """
    data = json.loads((folder / "importance.json").read_text(encoding="utf-8"))
    models = {
        model: {column: Loss(entry["lost"], entry["low"], entry["high"]) for column, entry in columns.items()}
        for model, columns in data["models"].items()
    }
    first = models.get("ensemble") or next(iter(models.values()), {})
    order = sorted(first, key=lambda column: -first[column].lost)
    ordered = {m: {c: columns[c] for c in order if c in columns} for m, columns in models.items()}
    return Permutation(data["metric"], data["rows"], data["repeats"], ordered)
