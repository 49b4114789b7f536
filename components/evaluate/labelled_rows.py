"""Let TFMA compute its metrics on rows that count, from no more of a row than the metrics need.

TFX's Evaluator computes its metrics on all rows. In a row without a label, `label_xf` is -1 or NaN: an error for a
metric of several classes, a negative for a binary one, and NaN for a regression. A row of weight 0 would be counted.

TFMA makes a Python object of each cell of each row, and pickles it between two stages. Metrics need only the label, the
weight, one output of the model and the columns of the slices.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

_NEEDED = ("features", "labels", "predictions", "example_weights")  # of TFMA's extracts


def custom_extractors(eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any) -> list[Any]:
    """Return TFMA's extractors, with two more around the one that makes single rows; TFX calls this by its name."""
    import apache_beam as beam

    # The newer TFMA does not export all of these at its top level.
    from tensorflow_model_analysis.api import model_eval_lib
    from tensorflow_model_analysis.extractors import extractor, unbatch_extractor

    extractors = model_eval_lib.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    names = {key for spec in eval_config.slicing_specs for key in spec.feature_keys}
    names |= {spec.prediction_key for spec in eval_config.model_specs}
    only_needed = extractor.Extractor(stage_name="OnlyNeeded", ptransform=beam.Map(needed, names))
    only_labelled = extractor.Extractor(stage_name="OnlyLabelledRows", ptransform=beam.Filter(counts))
    stages = [each.stage_name for each in extractors]
    rows = stages.index(unbatch_extractor.UNBATCH_EXTRACTOR_STAGE_NAME)
    return [*extractors[:rows], only_needed, extractors[rows], only_labelled, *extractors[rows + 1 :]]


def needed(batch: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """Return what metrics need of a batch of rows.

    Args:
        batch: TFMA's extracts; features, and the outputs of a model, are by name.
        names: the columns of the slices, and the model's output that is judged.
    """

    def by_name(values: Any) -> Any:
        return {name: values[name] for name in names & values.keys()} if isinstance(values, Mapping) else values

    return {key: by_name(batch[key]) for key in _NEEDED if key in batch}


def counts(row: dict[str, Any]) -> bool:
    """Return True if a row has a label that the members know, and a weight above 0.

    Args:
        row: TFMA's extracts of one row; its `labels` hold `label_xf`, a class id or a number, and its `example_weights`
            the sample weight, if there are any.
    """
    if row.get("example_weights") is not None and not (np.asarray(row["example_weights"]) > 0).all():
        return False
    labels = np.asarray(row["labels"])
    known = np.isfinite(labels) if labels.dtype.kind == "f" else labels >= 0
    return bool(known.all())
