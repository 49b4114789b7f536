"""The settings of a member that was trained elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

FOREIGN_KINDS = ("saved_model", "onnx")
OTHER_DATA, THESE_ROWS = "other_data", "these_rows"


@dataclass(frozen=True)
class ForeignModel:
    """A finished model, and how it is asked.

    Attributes:
        name: the member's name, for messages.
        kind: one of `FOREIGN_KINDS`.
        problem: binary, multiclass or regression.
        path: the folder of a SavedModel, or the file of an ONNX model.
        signature: the signature of a SavedModel to call.
        inputs: the columns of each input of the model, by the input's name; several are one tensor [batch, columns].
        missing: by column, what the model gets for a missing cell.
        output: the output with the probabilities or the number; '' for the only one.
        classes: the class of each column of the output; one for a probability [batch] or [batch, 1].
        logits: the output is logits, so softmax, or sigmoid of one column, makes probabilities of it.
        learnt_from: `OTHER_DATA` if the model has seen no row of `valid`, `blend` and `test`, else `THESE_ROWS`.
    """

    name: str
    kind: str
    problem: str
    path: str = ""
    signature: str = "serving_default"
    inputs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    missing: Mapping[str, Any] = field(default_factory=dict)
    output: str = ""
    classes: Sequence[str] = ()
    logits: bool = False
    learnt_from: str = THESE_ROWS

    @property
    def columns(self) -> list[str]:
        """The columns that the model gets, each once, in the order of its inputs."""
        return list(dict.fromkeys(column for columns in self.inputs.values() for column in columns))

    def where(self, key: str = "") -> str:
        """Return the place of a key in the YAML, for messages."""
        return f"ensemble.members.{self.name}{'.' * bool(key)}{key}"
