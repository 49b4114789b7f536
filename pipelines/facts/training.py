"""Read how members were trained, here or elsewhere: histories, the trials of tuners, finished models."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class History:
    """The metrics of a training by epoch or tree.

    Attributes:
        unit: epoch or tree.
        best: the unit whose weights were kept, from 0; None if the last ones were.
        metrics: values per unit, by name; names with `val_` are those on `valid`.
    """

    unit: str
    best: int | None
    metrics: Mapping[str, Sequence[float | None]]


@dataclass(frozen=True)
class Trial:
    """A trial of a tuner.

    Attributes:
        id: its name.
        score: what it was judged by on `valid`; None if the trial failed.
        values: its hyperparameters.
        history: of its training; None if it was not recorded.
        reason: why it failed; '' if it did not.
        seconds: how long it took; None if it was not recorded.
        worker: the process that ran it; '' if it was not recorded.
    """

    id: str
    score: float | None
    values: Mapping[str, Any]
    history: History | None = None
    reason: str = ""
    seconds: float | None = None
    worker: str = ""


@dataclass(frozen=True)
class Search:
    """The trials of a tuner.

    Attributes:
        objective: what they were judged by on `valid`, such as `val_loss`.
        trials: best first, then those that failed.
    """

    objective: str
    trials: Sequence[Trial]


@dataclass(frozen=True)
class Foreign:
    """A member that was trained elsewhere.

    Attributes:
        kind: saved_model or onnx.
        path: where its model was read.
        columns: the columns of each of its inputs.
        missing: by column, what it gets for a missing cell; a column without one gets NaN or ''.
        has_seen: True if it may have learnt from rows of this data.
    """

    kind: str
    path: str
    columns: Mapping[str, Sequence[str]]
    missing: Mapping[str, Any]
    has_seen: bool


def foreign(folder: Path) -> Foreign | None:
    """Read where a member comes from, from its artifact of type Model; None if it was trained here."""
    file = folder / "foreign.json"
    if not file.is_file():
        return None
    data = json.loads(file.read_text(encoding="utf-8"))
    has_seen = data["learnt_from"] != "other_data"
    return Foreign(data["kind"], data["path"], data["inputs"], data["missing"], has_seen)


def read_history(file: Path) -> History | None:
    """Read a `history.json`; None if there is none."""
    if not file.is_file():
        return None
    data = json.loads(file.read_text(encoding="utf-8"))
    return History(data["unit"], data.get("best"), data["metrics"])


def of_model(folder: Path) -> History | None:
    """Return the history of a member's training, from its artifact of type Model; None if there is none."""
    return read_history(folder / "history.json")


def search(folder: Path) -> Search:
    """Read an artifact of type TunerResults.

    Raises:
        OSError: the artifact no longer exists.
    """
    table = folder / "trials.parquet"
    if not table.is_file():  # of a release that wrote no table
        return Search("val_loss", [_of_tfx(entry, folder) for entry in _json(folder / "tuner_results.json")])
    import pyarrow.parquet as pq

    read = pq.read_table(table)
    about = json.loads(read.schema.metadata[b"benison"])
    return Search(about["objective"], [_of_row(row, folder) for row in read.to_pylist()])


def _of_row(row: Mapping[str, Any], folder: Path) -> Trial:
    values = {name.removeprefix("hp."): value for name, value in row.items() if name.startswith("hp.")}
    history = read_history(folder / "histories" / f"{row['trial']}.json")
    return Trial(row["trial"], row["score"], values, history, row["reason"], row["seconds"], row["worker"])


def _of_tfx(entry: Mapping[str, Any], folder: Path) -> Trial:
    values = dict(entry)
    name, score = str(values.pop("trial_id")), values.pop("score", None)
    return Trial(name, score, values, read_history(folder / "histories" / f"{name}.json"))


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))
