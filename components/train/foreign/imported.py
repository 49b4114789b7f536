"""A model that was trained elsewhere, as a function in TensorFlow operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benison.components.train.foreign.columns import ModelInput


@dataclass(frozen=True)
class Imported:
    """A model as a function.

    Attributes:
        inputs: what it takes, by name.
        output: name of the output.
        dtype: TensorFlow's name of the output's type.
        shape: the output's sizes with the batch, None for any size; None if the rank is not known.
        call: from Tensors by input to the output, in TensorFlow operations.
        tracked: the objects with the tables that `call` reads; its variables are found anyway.
        reference: the model's own answer to the same inputs, if `call` was converted: an array; None if it was not.
    """

    inputs: Mapping[str, ModelInput]
    output: str
    dtype: str
    shape: Sequence[int | None] | None
    call: Callable[[Mapping[str, Any]], Any]
    tracked: Sequence[Any]
    reference: Callable[[Mapping[str, Any]], Any] | None = None
