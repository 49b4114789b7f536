"""Predictions as a table, for a file: key columns of the rows, the answer, probabilities, members, version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from benison.serving.errors import UsageError
from benison.serving.predict import Prediction
from benison.serving.versions.local import Version

PREDICTION, PROBABILITY, VERSION = "prediction", "probability", "version"
LOW, HIGH = "low", "high"
MEAN, SHARE = "mean", "share"
_NUMBER = pa.float32()  # as models answer


def build(version: Version, keys: Mapping[str, pa.Array], predictions: Sequence[Prediction]) -> pa.Table:
    """Return one row per prediction.

    Args:
        version: The version that predicted.
        keys: The columns of the rows to keep, before all others.
        predictions: Its answer to each row.

    Returns:
        The key columns; `prediction`, the class that the version decides for or the number; for classes `probability`
        of that class and `probability CLASS` of each class, the positive one first; for a number `low` and `high`, the
        ends of its interval, if the version has one; the same, but no interval, for each member after its name;
        `version`; for explained predictions `mean`, the mean answer to the background, and `share COLUMN` of each
        column, in float64, so that the shares add up.

    Raises:
        UsageError: A key has the name of another column of the table.
    """
    answers = [(p.output, p.decision) for p in predictions]
    named = {"": answers}
    for member in predictions[0].members if predictions else ():
        named[f"{member} "] = [(p.members[member], p.member_decisions.get(member, "")) for p in predictions]
    table = [*keys.items()]
    for prefix, outputs in named.items():
        table += [(prefix + name, values) for name, values in _answers(outputs, version.manifest.positive).items()]
    if predictions and predictions[0].interval:
        ends = zip(*(prediction.interval or (None, None) for prediction in predictions), strict=True)
        interval = [(name, pa.array(values, _NUMBER)) for name, values in zip((LOW, HIGH), ends, strict=True)]
        table[len(keys) + 1 : len(keys) + 1] = interval  # after the answer
    table.append((VERSION, pa.array([version.number] * len(predictions), pa.int64())))
    if explained := [p.explanation for p in predictions if p.explanation is not None]:
        table.append((MEAN, pa.array([explanation.mean for explanation in explained], pa.float64())))
        table += [
            (f"{SHARE} {name}", pa.array([explanation.shares[name] for explanation in explained], pa.float64()))
            for name in explained[0].shares
        ]
    names = [name for name, _ in table]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"--key {twice}: the answers have a column {twice!r}, too; rename that of the rows")
    return pa.table([values for _, values in table], names=names)


def _answers(outputs: Sequence[tuple[Mapping[str, float], str]], positive: str) -> dict[str, Any]:
    """Return the columns of a model's answers (output, decision)."""
    if not outputs or set(outputs[0][0]) == {PREDICTION}:
        return {PREDICTION: pa.array([output[PREDICTION] for output, _ in outputs], _NUMBER)}
    decided = [decision or max(output, key=lambda name: output[name]) for output, decision in outputs]
    classes = sorted(outputs[0][0], key=lambda name: name != positive)  # else in their order
    return {
        PREDICTION: pa.array(decided, pa.string()),
        PROBABILITY: pa.array([output[name] for (output, _), name in zip(outputs, decided, strict=True)], _NUMBER),
        **{f"{PROBABILITY} {name}": pa.array([output[name] for output, _ in outputs], _NUMBER) for name in classes},
    }
