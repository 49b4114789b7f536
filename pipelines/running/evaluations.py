"""The metrics of TFX's Evaluator as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def read(folder: Path) -> list[dict[str, Any]]:
    """Read an artifact of type ModelEvaluation: per slice, its name (`slice`) and its metrics by name."""
    import tensorflow_model_analysis as tfma

    rows = []
    for key, outputs in tfma.load_eval_result(str(folder)).slicing_metrics:
        metrics = {
            name: value["doubleValue"]
            for by_output in outputs.values()
            for by_class in by_output.values()
            for name, value in by_class.items()
            if "doubleValue" in value
        }
        rows.append({"slice": ", ".join(f"{k}={v}" for k, v in key) or "all", **metrics})
    return sorted(rows, key=lambda row: (row["slice"] != "all", row["slice"]))
