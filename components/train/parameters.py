"""Hyperparameters of the kinds of members that Benison fits itself: names, defaults and ranges."""

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


@dataclass(frozen=True)
class Parameters:
    """The hyperparameters of a kind of member.

    Attributes:
        owner: the kind and its verb, for messages, such as `trees have`.
        by_name: each hyperparameter.
    """

    owner: str
    by_name: Mapping[str, Parameter]

    def value(self, hyperparameters: Mapping[str, Any], name: str) -> Any:
        """Return the value of a hyperparameter, or its default."""
        return hyperparameters.get(name, self.by_name[name].default)

    def faults(self, hyperparameters: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Yield the name of each wrong hyperparameter, and what is wrong with it."""
        for name, value in hyperparameters.items():
            if name not in self.by_name:
                known, hint = ", ".join(self.by_name), did_you_mean(name, self.by_name)
                some = "some of " if len(self.by_name) > 1 else ""
                yield name, f"{self.owner} no such hyperparameter{hint}; expected {some}{known}"
            elif not self.by_name[name].allows(value):
                yield name, f"got {value!r}, expected {self.by_name[name].text}"

    def faults_of_space(self, space: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Yield the name of each wrong hyperparameter of a search space, and what is wrong with it.

        Args:
            space: a list of choices, or a range {min, max, …}, by name; what has neither form is not checked.
        """
        for name, values in space.items():
            ends = [values.get("min"), values.get("max")] if isinstance(values, Mapping) else values
            for end in ends if isinstance(ends, (list, tuple)) else ():
                if found := next(iter(self.faults({name: end})), None):
                    yield found
                    break
