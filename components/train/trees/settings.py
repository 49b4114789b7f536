"""The hyperparameters of trees: their names, defaults and ranges."""

from __future__ import annotations

from benison.components.train.parameters import Parameter, Parameters

# More than 16 levels is beyond CatBoost; a tree of n levels has 2 ** n leaves.
PARAMETERS = Parameters(
    "trees have",
    {
        "trees": Parameter(1000, 1, 10_000, whole=True),
        "depth": Parameter(6, 1, 10, whole=True),
        "learning_rate": Parameter(0.06, 1e-6, 1),
        "l2": Parameter(3, 0, 1e9),
    },
)
FUNCTION = (
    "benison.components.train.trees.fitter:TreesFitter"  # where members of other kinds name a function of the user
)
MANY_CLASSES = (
    8  # from here on, trees learn with fewer borders, and `init` writes fewer and smaller trees with larger steps
)
PATIENCE = 50  # trees without a better loss on `valid`
