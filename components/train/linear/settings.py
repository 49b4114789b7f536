"""The hyperparameters of a linear member."""

from __future__ import annotations

from benison.components.train.parameters import Parameter, Parameters

# The penalty of scikit-learn's defaults: C=1 of LogisticRegression, alpha=1 of Ridge.
PARAMETERS = Parameters("linear has", {"l2": Parameter(1, 0, 1e9)})
FUNCTION = "benison.components.train.linear.fitter:LinearFitter"  # where other members name a function of the user
