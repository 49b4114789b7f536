"""The ensemble's spec: a graph of transformer, combiner and members, as one small JSON file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from benison.serving.ensemble.combiners import (
    CLASSIFIERS_ONLY,
    Combiner,
    Custom,
    Mean,
    Output,
    Stacking,
    TemperatureScaling,
    WeightedMean,
)
from benison.serving.errors import EnsembleError

SPEC_FILE = "ensemble.json"
IDENTITY = "identity"


class Ensemble(BaseModel):
    """What is combined, and how.

    The graph is Seldon Core's: transformer, then combiner, then members.

    Attributes:
        members: names, in the order in which their outputs are combined.
        combiner: see `benison.serving.ensemble.combiners`.
        output: key of the prediction, `probabilities` or `prediction`.
        transformer: what the inputs pass through before they reach the members: the name of Transform's graph, which
            all members share; `identity`: nothing.
        calibration: applied to what the combiner answers; None: nothing.
        quorum: how many members must answer for the ensemble to answer, in a fan-out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    members: tuple[str, ...] = Field(min_length=1)
    combiner: Combiner
    output: Output
    transformer: str = "transform"
    calibration: TemperatureScaling | None = None
    quorum: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Ensemble:
        if len(set(self.members)) < len(self.members):
            raise ValueError(f"a member is named twice: {', '.join(self.members)}")
        strangers = _named_in(self.combiner) - set(self.members)
        if strangers:
            raise ValueError(
                f"the combiner names {', '.join(sorted(strangers))}; the members are {', '.join(self.members)}"
            )
        if self.output == "prediction" and (self.combiner.kind in CLASSIFIERS_ONLY or self.calibration):
            what = self.combiner.kind if self.combiner.kind in CLASSIFIERS_ONLY else "temperature scaling"
            raise ValueError(f"{what} needs probabilities, and a regression has none")
        if self.quorum > len(self.members):
            raise ValueError(f"a quorum of {self.quorum} cannot be reached by {len(self.members)} members")
        return self

    def combine(self, outputs: Mapping[str, Any]) -> Any:
        """The ensemble's answer.

        Args:
            outputs: numbers [batch, n] by member, of any dtype. A member that is not in it did not answer.

        Returns:
            float32 [batch, n].

        Raises:
            EnsembleError: fewer members answered than the quorum, or the combiner cannot do without those that did not.
        """
        import tensorflow as tf

        here = {name: tf.cast(outputs[name], tf.float32) for name in self.members if name in outputs}
        if len(here) < self.quorum:
            raise EnsembleError(
                f"{len(here)} of {len(self.members)} members answered ({', '.join(here) or 'none'}), "
                f"and the quorum is {self.quorum}"
            )
        if isinstance(self.combiner, Custom) and len(here) < len(self.members):
            missing = ", ".join(name for name in self.members if name not in here)
            raise EnsembleError(
                f"the combiner {self.combiner.function} needs every member, and {missing} did not answer"
            )
        combined = self.combiner.combine(here, self.output)
        return self.calibration.apply(combined) if self.calibration else combined

    def without(self, member: str) -> Ensemble:
        """The ensemble as it answers where one member does not.

        Raises:
            EnsembleError: it does not answer then.
        """
        left = tuple(name for name in self.members if name != member)
        if len(left) < self.quorum or not left or isinstance(self.combiner, Custom):
            raise EnsembleError(f"without {member} the ensemble does not answer")
        return self.model_copy(update={"members": left, "combiner": _without(self.combiner, member)})

    def save(self, folder: Path) -> None:
        """Writes `ensemble.json` into a folder."""
        (folder / SPEC_FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Ensemble:
        """Reads `ensemble.json` from a folder.

        Raises:
            EnsembleError: no such file, or not a spec.
        """
        path = folder / SPEC_FILE
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise EnsembleError(f"{path}: no such file, so this is not an ensemble") from None
        except ValidationError as error:
            mistakes = "; ".join(
                f"{'.'.join(map(str, mistake['loc'])) or 'the spec'}: {mistake['msg']}" for mistake in error.errors()
            )
            raise EnsembleError(f"{path}: not an ensemble's spec: {mistakes}") from error


def _named_in(combiner: Combiner) -> set[str]:
    """Members that the combiner has parameters for."""
    if isinstance(combiner, Stacking):
        return set(combiner.coefficients) | set(combiner.fallbacks)
    return set(getattr(combiner, "weights", {}))


def _without(combiner: Combiner, member: str) -> Combiner:
    if isinstance(combiner, Stacking):
        if member not in combiner.coefficients:
            return combiner
        if member not in combiner.fallbacks:
            raise EnsembleError(f"stacking has no parameters for an answer without {member}")
        stack = combiner.fallbacks[member]
        return Stacking(coefficients=stack.coefficients, intercept=stack.intercept)
    weights = getattr(combiner, "weights", None)
    if not weights:
        return combiner
    left = {name: weight for name, weight in weights.items() if name != member}
    if not any(left.values()):  # as in `combine`: where nobody with a weight is left, all count the same
        return Mean() if isinstance(combiner, WeightedMean) else combiner.model_copy(update={"weights": {}})
    return combiner.model_copy(update={"weights": left})
