"""A pipeline's config as frozen models; what their values mean and what may be wrong with them is in the modules here.

`benison.pipelines.config_file` reads one from a YAML.
"""

from benison.pipelines.config.model import (
    WRITE,
    BlessingConfig,
    Cost,
    Data,
    Drift,
    EnsembleConfig,
    Member,
    Pipeline,
    Range,
    RuleConfig,
    Spans,
    Splits,
    Tuner,
    Validation,
    Values,
)

__all__ = [
    "WRITE",
    "BlessingConfig",
    "Cost",
    "Data",
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
