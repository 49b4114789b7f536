"""A pipeline's config as frozen models; what their values mean and what may be wrong with them is in the modules here.

`benison.pipelines.config_file` reads one from a YAML.
"""

from benison.pipelines.config.model import (
    WRITE,
    Blessing,
    Cost,
    Data,
    Drift,
    Ensemble,
    Member,
    Pipeline,
    Range,
    Rule,
    Spans,
    Splits,
    Tuner,
    Validation,
    Values,
)

__all__ = [
    "WRITE",
    "Blessing",
    "Cost",
    "Data",
    "Drift",
    "Ensemble",
    "Member",
    "Pipeline",
    "Range",
    "Rule",
    "Spans",
    "Splits",
    "Tuner",
    "Validation",
    "Values",
]
