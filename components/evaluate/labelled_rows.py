"""Keep the rows without a label, or of weight 0, out of TFMA's metrics.

TFX's Evaluator computes its metrics on all rows. In a row without a label, `label_xf` is -1 or NaN: an error for a
metric of several classes, a negative for a binary one, and NaN for a regression. A row of weight 0 would be counted.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def custom_extractors(eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any) -> list[Any]:
    """Return TFMA's extractors, with a filter after the one that makes single rows; TFX calls this by its name."""
    import apache_beam as beam

    # The newer TFMA does not export all of these at its top level.
    from tensorflow_model_analysis.api import model_eval_lib
    from tensorflow_model_analysis.extractors import extractor, unbatch_extractor

    extractors = model_eval_lib.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    stages = [each.stage_name for each in extractors]
    after_rows = stages.index(unbatch_extractor.UNBATCH_EXTRACTOR_STAGE_NAME) + 1
    only_labelled = extractor.Extractor(stage_name="OnlyLabelledRows", ptransform=beam.Filter(counts))
    return [*extractors[:after_rows], only_labelled, *extractors[after_rows:]]


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
