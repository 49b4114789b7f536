"""A pipeline's config: frozen models, the types of their values, and the checks that find mistakes in them.

`benison.pipelines.config_file` reads a config from a YAML file.
"""

from benison.pipelines.config.model import AROUND_RUNS, WRITE, Pipeline
from benison.pipelines.config.sections import (
    BlessingConfig,
    Cost,
    Data,
    DeclaredReads,
    Drift,
    EnsembleConfig,
    Member,
    Range,
    RuleConfig,
    Spans,
    Splits,
    Tuner,
    Validation,
    Values,
)

__all__ = [
    "AROUND_RUNS",
    "WRITE",
    "BlessingConfig",
    "Cost",
    "Data",
    "DeclaredReads",
    "Drift",
    "EnsembleConfig",
    "Member",
    "Pipeline",
    "Range",
    "RuleConfig",
    "Spans",
    "Splits",
    "Tuner",
    "Validation",
    "Values",
]
