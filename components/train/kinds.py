"""The kinds of members, by name."""

from __future__ import annotations

from collections.abc import Callable

from benison.components.feature_groups import DENSE, TREES
from benison.components.train.fitting import Fitter, Task
from benison.components.train.keras_member import KerasFitter
from benison.components.train.linear.fitter import LinearFitter
from benison.components.train.own_trees.fitter import OwnTreesFitter
from benison.components.train.trees.fitter import TreesFitter
from benison.components.train.trees.settings import FUNCTION


def _trees(task: Task) -> Fitter:
    return TreesFitter(task) if task.recipe.function == FUNCTION else OwnTreesFitter(task)


KINDS: dict[str, Callable[[Task], Fitter]] = {"keras": KerasFitter, "linear": LinearFitter, "trees": _trees}
GROUPS = {"keras": DENSE, "linear": DENSE, "trees": TREES}  # the group of features that each kind sees


def fitter(task: Task) -> Fitter:
    """Return the Fitter of a member, by the kind of its recipe."""
    return KINDS[task.recipe.kind](task)
