"""Combiners: one function per way to combine the members' outputs, in TensorFlow, for training and serving.

| kind            | result                                        | problems       | parameters                  |
|-----------------|-----------------------------------------------|----------------|-----------------------------|
| `mean`          | arithmetic mean                               | all            |                             |
| `weighted_mean` | linear pool                                   | all            | `weights`                   |
| `median`        | median, of probabilities scaled to a sum of 1 | all            |                             |
| `majority_vote` | share of the votes per class                  | classification | `weights`, else equal       |
| `soft_vote`     | mean of probabilities                         | classification | `weights`, else equal       |
| `stacking`      | regularised model over the members' outputs   | all            | `coefficients`, `intercept` |
| `custom`        | result of the user's function                 | all            | `function`, `source`        |

Each takes one float32 tensor [batch, n] per member that answered, by name, and returns one [batch, n]: n classes, or n
outputs of a regression. If a member did not answer, its weight is shared by the others in proportion to theirs, and
stacking uses parameters that were fitted without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from benison.serving.errors import EnsembleError, UsageError

Output = Literal["probabilities", "prediction"]
Tensors = Mapping[str, Any]
Weight = Annotated[FiniteFloat, Field(ge=0)]

SMALLEST_PROBABILITY = 1e-7  # as in the metrics: a member that returns 0 must not decide alone


class _Part(BaseModel):
    """Base of the spec's parts: frozen, and an unknown key is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Mean(_Part):
    """The arithmetic mean.

    Source: the sum rule of J. Kittler et al., On Combining Classifiers, IEEE PAMI 20(3), 1998.
    """

    kind: Literal["mean"] = "mean"

    def combine(self, outputs: Tensors, output: Output) -> Any:
        """Return the mean over members: float32 [batch, n]."""
        import tensorflow as tf

        return tf.reduce_mean(_stacked(outputs), axis=0)


class WeightedMean(_Part):
    """The linear opinion pool: a mean with non-negative weights.

    Source: M. Stone, The Opinion Pool, Annals of Mathematical Statistics 32(4), 1961.

    Attributes:
        weights: Weights by member; they need not sum to 1.
    """

    kind: Literal["weighted_mean"] = "weighted_mean"
    weights: Mapping[str, Weight] = Field(min_length=1)

    def combine(self, outputs: Tensors, output: Output) -> Any:
        """Return the weighted mean over members: float32 [batch, n]."""
        return _weighted(outputs, self.weights)


class Median(_Part):
    """The median, which a single outlier does not change; with an even number of members, the mean of the middle two.

    Medians of probabilities need not sum to 1, so they are divided by their sum; if all are 0, the result is the mean.

    Source: the median rule of Kittler et al., 1998.
    """

    kind: Literal["median"] = "median"

    def combine(self, outputs: Tensors, output: Output) -> Any:
        """Return the median over members: float32 [batch, n]."""
        import tensorflow as tf

        stacked = _stacked(outputs)
        ordered, middle = tf.sort(stacked, axis=0), len(outputs) // 2
        median = ordered[middle] if len(outputs) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
        if output == "prediction":
            return median
        total = tf.reduce_sum(median, axis=1, keepdims=True)
        return tf.where(total > 0, tf.math.divide_no_nan(median, total), tf.reduce_mean(stacked, axis=0))


class MajorityVote(_Part):
    """The hard vote: each member votes for its most likely class; the result is each class's share of the votes.

    In a tie, within a member or between classes, argmax takes the class that comes first (NumPy, TensorFlow and
    scikit-learn's VotingClassifier do the same).

    Source: the majority vote rule of Kittler et al., 1998.

    Attributes:
        weights: Weights by member; empty: each vote counts 1.
    """

    kind: Literal["majority_vote"] = "majority_vote"
    weights: Mapping[str, Weight] = {}

    def combine(self, outputs: Tensors, output: Output) -> Any:
        """Return the shares of the votes: float32 [batch, classes]."""
        import tensorflow as tf

        votes = {name: tf.one_hot(tf.argmax(values, axis=1), tf.shape(values)[1]) for name, values in outputs.items()}
        return _weighted(votes, self.weights)


class SoftVote(_Part):
    """The soft vote: the class with the largest mean probability wins; the result is that mean.

    Source: scikit-learn's VotingClassifier with `voting='soft'`.

    Attributes:
        weights: Weights by member; empty: equal weights.
    """

    kind: Literal["soft_vote"] = "soft_vote"
    weights: Mapping[str, Weight] = {}

    def combine(self, outputs: Tensors, output: Output) -> Any:
        """Return the mean probabilities: float32 [batch, classes]."""
        return _weighted(outputs, self.weights)


class Stack(_Part):
    """A fitted model over the outputs of some members.

    Attributes:
        coefficients: Coefficients by member: one per class or output, or one for all.
        intercept: Intercepts: one per class or output, or one for all.
    """

    coefficients: Mapping[str, tuple[FiniteFloat, ...]] = Field(min_length=1)
    intercept: tuple[FiniteFloat, ...] = Field(min_length=1)


class Stacking(Stack):
    """Stacked generalisation: a small regularised model over the members' outputs.

    Classification: softmax(intercept + sum of coefficient x log probability), a logarithmic opinion pool. Regression:
    intercept + sum of coefficient x prediction.

    Sources: D. Wolpert, Stacked Generalization, Neural Networks 5(2), 1992; the pool: C. Genest and J. Zidek, Combining
    Probability Distributions, Statistical Science 1(1), 1986.

    Attributes:
        fallbacks: Parameters fitted without one member, by the missing member.
    """

    kind: Literal["stacking"] = "stacking"
    fallbacks: Mapping[str, Stack] = {}

    def combine(self, outputs: Tensors, output: Output) -> Any:
        """Return the stack's result: float32 [batch, n].

        Raises:
            EnsembleError: There are no parameters for an answer without the missing members.
        """
        import tensorflow as tf

        stack = self._fitted_for(outputs)
        terms = [
            tf.constant(coefficients, tf.float32)
            * (_log(outputs[name]) if output == "probabilities" else outputs[name])
            for name, coefficients in stack.coefficients.items()
        ]
        score = tf.add_n(terms) + tf.constant(stack.intercept, tf.float32)
        return tf.nn.softmax(score, axis=1) if output == "probabilities" else score

    def _fitted_for(self, outputs: Tensors) -> Stack:
        missing = [name for name in self.coefficients if name not in outputs]
        if not missing:
            return self
        if len(missing) == 1 and missing[0] in self.fallbacks:
            return self.fallbacks[missing[0]]
        optional = ", ".join(self.fallbacks) or "no member"
        raise EnsembleError(
            f"stacking has no parameters for an answer without {', '.join(missing)}; "
            f"only one of these may be missing: {optional}"
        )


class Custom(_Part):
    """A user's own combiner, as source text, so that a version contains all that it needs.

    Attributes:
        function: Name of the function. It takes the members' outputs (a dict of float32 [batch, n] by name) and
            returns one float32 [batch, n], computed with TensorFlow operations.
        source: Text of the Python file with the function; it may import installed packages only.
    """

    kind: Literal["custom"] = "custom"
    function: str
    source: str

    def combine(self, outputs: Tensors, output: Output) -> Any:
        """Return the function's result: float32 [batch, n].

        Raises:
            EnsembleError: The source does not run, or does not contain the function.
        """
        import tensorflow as tf

        return tf.cast(self._load()(dict(outputs)), tf.float32)

    def _load(self) -> Callable[[dict[str, Any]], Any]:
        namespace: dict[str, Any] = {"__name__": f"combiner_{self.function}"}
        try:
            exec(compile(self.source, f"<combiner {self.function}>", "exec"), namespace)
        except Exception as error:
            raise EnsembleError(f"the combiner {self.function}: its source does not run: {error!r}") from error
        function = namespace.get(self.function)
        if not callable(function):
            raise EnsembleError(f"the combiner {self.function}: its source contains no function of this name")
        return function


def read_custom(reference: str, option: str) -> Custom:
    """Read a custom combiner with its source, so that a version contains it.

    Args:
        reference: FILE:FUNCTION.
        option: The option or key with this value, for the message.

    Raises:
        UsageError: It is not FILE:FUNCTION, or the file cannot be read.
    """
    file, _, function = reference.rpartition(":")
    if not file or not function.isidentifier():
        raise UsageError(f"{option} {reference}: expected FILE:FUNCTION, such as my_file.py:my_function")
    try:
        return Custom(function=function, source=Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{option}: {file} cannot be read: {reason}") from error


def check_code(combiner: Combiner, allowed: Custom | bool, file: Path) -> None:
    """Check that the user wants to run the Python code that a file contains.

    Args:
        combiner: The combiner in the file.
        allowed: True: the file is the user's own. A combiner: the user has named this code. False: no code may run.
        file: The JSON file, for the message.

    Raises:
        EnsembleError: It is a custom combiner that is not allowed.
    """
    if not isinstance(combiner, Custom) or allowed is True:
        return
    if not allowed:
        raise EnsembleError(
            f"{file}: its combiner {combiner.function} is Python code in this file, which does not run unless you name "
            f"the same code: --allow-code FILE.py:{combiner.function} (in Python: allow_code)"
        )
    if allowed != combiner:
        raise EnsembleError(
            f"{file}: its combiner {combiner.function} has other code than {allowed.function} of the file that "
            "--allow-code names; nothing was run"
        )


Combiner = Annotated[
    Mean | WeightedMean | Median | MajorityVote | SoftVote | Stacking | Custom, Field(discriminator="kind")
]
CLASSIFIERS_ONLY = ("majority_vote", "soft_vote")


class TemperatureScaling(_Part):
    """Calibrated probabilities: softmax(log probability / temperature + bias).

    Sources: C. Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (no bias); A. Alexandari et al., Maximum
    Likelihood with Bias-Corrected Calibration, ICML 2020 (with bias).

    Attributes:
        temperature: Above 1 if the probabilities were overconfident.
        bias: One value per class; empty: none.
    """

    temperature: Annotated[FiniteFloat, Field(gt=0)]
    bias: tuple[FiniteFloat, ...] = ()

    def apply(self, probabilities: Any) -> Any:
        """Return the calibrated probabilities: float32 [batch, classes]."""
        import tensorflow as tf

        score = _log(probabilities) / self.temperature
        return tf.nn.softmax(score + tf.constant(self.bias, tf.float32) if self.bias else score, axis=1)


def _stacked(outputs: Tensors) -> Any:
    """Return all outputs: float32 [members, batch, n]."""
    import tensorflow as tf

    return tf.stack(list(outputs.values()))


def _weighted(outputs: Tensors, weights: Mapping[str, float]) -> Any:
    """Return the weighted mean [batch, n]; the plain mean if no member that answered has a weight."""
    import tensorflow as tf

    present = [weights.get(name, 0.0) for name in outputs]
    total = sum(present)
    if not total:
        return tf.reduce_mean(_stacked(outputs), axis=0)
    return tf.tensordot(tf.constant([weight / total for weight in present], tf.float32), _stacked(outputs), axes=1)


def _log(probabilities: Any) -> Any:
    import tensorflow as tf

    return tf.math.log(tf.clip_by_value(probabilities, SMALLEST_PROBABILITY, 1.0))
