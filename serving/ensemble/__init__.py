"""Ensembles: one small spec and the maths of the combiners. No TFX; TensorFlow only to combine outputs."""

from benison.serving.ensemble.combiners import (
    Combiner,
    Custom,
    MajorityVote,
    Mean,
    Median,
    SoftVote,
    Stack,
    Stacking,
    TemperatureScaling,
    WeightedMean,
    read_custom,
)
from benison.serving.ensemble.spec import IDENTITY, SPEC_FILE, Ensemble

__all__ = [
    "IDENTITY",
    "SPEC_FILE",
    "Combiner",
    "Custom",
    "Ensemble",
    "MajorityVote",
    "Mean",
    "Median",
    "SoftVote",
    "Stack",
    "Stacking",
    "TemperatureScaling",
    "WeightedMean",
    "read_custom",
]
