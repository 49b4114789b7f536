"""The hyperparameters of trees: their names, defaults and ranges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from benison.serving.close_names import did_you_mean


@dataclass(frozen=True)
class Parameter:
    """A hyperparameter.

    Attributes:
        default: its value, if the YAML has none.
        low: the lowest value.
        high: the highest value.
        whole: it is a whole number.
    """

    default: float
    low: float
    high: float
    whole: bool = False

    @property
    def text(self) -> str:
        """The values that are allowed, in words."""
        number = "a whole number" if self.whole else "a number"
        return f"{number} from {self.low:g} to {self.high:g}"

    def allows(self, value: Any) -> bool:
        """Return True if this value is allowed."""
        kinds = (int,) if self.whole else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool) and self.low <= value <= self.high < inf


# More than 16 levels is beyond CatBoost; a tree of n levels has 2 ** n leaves.
PARAMETERS: Mapping[str, Parameter] = {
    "trees": Parameter(1000, 1, 10_000, whole=True),
    "depth": Parameter(6, 1, 10, whole=True),
    "learning_rate": Parameter(0.06, 1e-6, 1),
    "l2": Parameter(3, 0, 1e9),
}
FUNCTION = (
    "benison.components.train.trees.fitter:TreesFitter"  # where members of other kinds name a function of the user
)
MANY_CLASSES = (
    8  # from here on, trees learn with fewer borders, and `init` writes fewer and smaller trees with larger steps
)
PATIENCE = 50  # trees without a better loss on `valid`


def faults(hyperparameters: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Yield the name of each wrong hyperparameter, and what is wrong with it."""
    for name, value in hyperparameters.items():
        if name not in PARAMETERS:
            known = ", ".join(PARAMETERS)
            yield name, f"trees have no such hyperparameter{did_you_mean(name, PARAMETERS)}; expected some of {known}"
        elif not PARAMETERS[name].allows(value):
            yield name, f"got {value!r}, expected {PARAMETERS[name].text}"


def faults_of_space(space: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Yield the name of each wrong hyperparameter of a search space, and what is wrong with it.

    Args:
        space: a list of choices, or a range {min, max, …}, by name; what has neither form is not checked.
    """
    for name, values in space.items():
        ends = [values.get("min"), values.get("max")] if isinstance(values, Mapping) else values
        for end in ends if isinstance(ends, (list, tuple)) else ():
            if found := next(iter(faults({name: end})), None):
                yield found
                break


def value(hyperparameters: Mapping[str, Any], name: str) -> Any:
    """Return the value of a hyperparameter, or its default."""
    return hyperparameters.get(name, PARAMETERS[name].default)
