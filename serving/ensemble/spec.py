"""The ensemble's spec: a graph of transformer, combiner and members, as one small JSON file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    check_code,
)
from benison.serving.errors import EnsembleError

SPEC_FILE = "ensemble.json"
IDENTITY = "identity"


class Ensemble(BaseModel):
    """The members of an ensemble and how their outputs are combined.

    The graph has Seldon Core's order: transformer, then combiner, then members.

    Attributes:
        members: Names of the members, in the order in which their outputs are combined.
        combiner: See `benison.serving.ensemble.combiners`.
        output: Key of the prediction, `probabilities` or `prediction`.
        transformer: Name of the transformation of the inputs that all members share, such as Transform's graph;
            `identity` for none.
        calibration: Calibration of the combiner's result; None for none.
        quorum: Number of members that must answer in a fan-out.
        threshold: Lowest probability that decides for the second class; None: the most likely class is the decision.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    members: tuple[str, ...] = Field(min_length=1)
    combiner: Combiner
    output: Output
    transformer: str = "transform"
    calibration: TemperatureScaling | None = None
    quorum: int = Field(default=1, ge=1)
    threshold: float | None = Field(default=None, gt=0, lt=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Ensemble:
        if len(set(self.members)) < len(self.members):
            raise ValueError(f"a member is named twice: {', '.join(self.members)}")
        unknown = _members_of(self.combiner) - set(self.members)
        if unknown:
            raise ValueError(
                f"the combiner names {', '.join(sorted(unknown))}; the members are {', '.join(self.members)}"
            )
        if self.output == "prediction" and (self.combiner.kind in CLASSIFIERS_ONLY or self.calibration):
            part = self.combiner.kind if self.combiner.kind in CLASSIFIERS_ONLY else "temperature scaling"
            raise ValueError(f"{part} needs probabilities, and a regression has none")
        if self.output == "prediction" and self.threshold is not None:
            raise ValueError("a threshold needs probabilities, and a regression has none")
        if self.quorum > len(self.members):
            raise ValueError(f"a quorum of {self.quorum} cannot be reached by {len(self.members)} members")
        return self

    def combine(self, outputs: Mapping[str, Any]) -> Any:
        """Combine the members' outputs.

        Args:
            outputs: Numbers [batch, n] by member, of any dtype, without the members that did not answer.

        Returns:
            float32 [batch, n].

        Raises:
            EnsembleError: Fewer members answered than the quorum, or the combiner needs a member that did not answer.
        """
        import tensorflow as tf

        present = {name: tf.cast(outputs[name], tf.float32) for name in self.members if name in outputs}
        if len(present) < self.quorum:
            raise EnsembleError(
                f"{len(present)} of {len(self.members)} members answered ({', '.join(present) or 'none'}), "
                f"and the quorum is {self.quorum}"
            )
        if isinstance(self.combiner, Custom) and len(present) < len(self.members):
            missing = ", ".join(name for name in self.members if name not in present)
            raise EnsembleError(
                f"the combiner {self.combiner.function} needs every member, and {missing} did not answer"
            )
        combined = self.combiner.combine(present, self.output)
        return self.calibration.apply(combined) if self.calibration else combined

    def decide(self, probabilities: Any, classes: Sequence[str]) -> Any:
        """Return the class that is the decision at the ensemble's threshold; see the function of this name."""
        return decide(probabilities, classes, self.threshold)

    def without(self, member: str) -> Ensemble:
        """Return the ensemble that answers if one member does not.

        Raises:
            EnsembleError: The ensemble cannot answer without the member.
        """
        remaining = tuple(name for name in self.members if name != member)
        if len(remaining) < self.quorum or not remaining or isinstance(self.combiner, Custom):
            raise EnsembleError(f"without {member} the ensemble does not answer")
        return self.model_copy(update={"members": remaining, "combiner": _without(self.combiner, member)})

    def save(self, folder: Path) -> None:
        """Write `ensemble.json` to a folder."""
        (folder / SPEC_FILE).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, *, allow_code: Custom | bool = False) -> Ensemble:
        """Read `ensemble.json` from a folder.

        Args:
            folder: The folder.
            allow_code: Which Python code of a custom combiner may run; see `combiners.check_code`.

        Raises:
            EnsembleError: There is no such file, it is not a spec, or it contains code that is not allowed.
        """
        path = folder / SPEC_FILE
        try:
            ensemble = cls.model_validate_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise EnsembleError(f"{path}: no such file, so this is not an ensemble") from None
        except ValidationError as error:
            mistakes = "; ".join(
                f"{'.'.join(map(str, mistake['loc'])) or 'the spec'}: {mistake['msg']}" for mistake in error.errors()
            )
            raise EnsembleError(f"{path}: not an ensemble's spec: {mistakes}") from error
        check_code(ensemble.combiner, allow_code, path)
        return ensemble


def _members_of(combiner: Combiner) -> set[str]:
    """Return the members for which the combiner has parameters."""
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
    remaining = {name: weight for name, weight in weights.items() if name != member}
    if not any(remaining.values()):  # as in `combine`: without any weight left, all members count the same
        return Mean() if isinstance(combiner, WeightedMean) else combiner.model_copy(update={"weights": {}})
    return combiner.model_copy(update={"weights": remaining})


def decide(probabilities: Any, classes: Sequence[str], threshold: float | None) -> Any:
    """Return the class that is the decision: string [batch].

    Args:
        probabilities: float32 [batch, classes].
        classes: Names of the classes; two if there is a threshold, the positive one last.
        threshold: Lowest probability that decides for the second class; None: the most likely class is the decision.
    """
    import tensorflow as tf

    ids = tf.argmax(probabilities, axis=1) if threshold is None else tf.cast(probabilities[:, 1] >= threshold, tf.int64)
    return tf.gather(tf.constant(list(classes)), ids)
