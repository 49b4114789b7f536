"""Artifacts as tables, one function per artifact type, for notebooks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def table_of(artifact: Mapping[str, Any]) -> pd.DataFrame | None:
    """Return a table of an artifact; None if there is no view for its type.

    Args:
        artifact: `uri` and `type`, as in `benison.pipelines.running.node_result.Result.outputs`.
    """
    view = _VIEWS.get(artifact["type"])
    return view(Path(artifact["uri"])) if view else None


def statistics(folder: Path) -> pd.DataFrame:
    """Return one row per split and feature: counts of present and missing values, and a summary of the distribution."""
    import pandas as pd
    import tensorflow_data_validation as tfdv

    rows = []
    for file in sorted(folder.glob("Split-*/FeatureStats.pb")):
        for feature in tfdv.load_stats_binary(str(file)).datasets[0].features:
            stats_field = feature.WhichOneof("stats")
            stats = getattr(feature, stats_field)
            row = {
                "split": file.parent.name.removeprefix("Split-"),
                "feature": feature.path.step[0],
                "present": stats.common_stats.num_non_missing,
                "missing": stats.common_stats.num_missing,
            }
            if stats_field == "num_stats":
                row |= {"mean": stats.mean, "std": stats.std_dev, "min": stats.min, "max": stats.max}
            elif stats_field == "string_stats":
                row |= {"unique": stats.unique, "top": stats.top_values[0].value if stats.top_values else ""}
            rows.append(row)
    return pd.DataFrame(rows)


def schema(folder: Path) -> pd.DataFrame:
    """Return one row per feature: its type, presence, and domain or range."""
    import pandas as pd
    import tensorflow_data_validation as tfdv
    from tensorflow_metadata.proto.v0 import schema_pb2

    loaded = tfdv.load_schema_text(str(folder / "schema.pbtxt"))
    domains = {domain.name: ", ".join(domain.value) for domain in loaded.string_domain}
    rows = []
    for feature in loaded.feature:
        domain_field = feature.WhichOneof("domain_info")
        if domain_field in ("int_domain", "float_domain"):
            bounds = getattr(feature, domain_field)
            limits = f"{bounds.min:g} to {bounds.max:g}"
        else:
            limits = domains.get(feature.domain, "")
        rows.append(
            {
                "feature": feature.name,
                "type": schema_pb2.FeatureType.Name(feature.type),
                "required": feature.presence.min_fraction == 1.0,
                "domain": limits,
            }
        )
    return pd.DataFrame(rows)


def anomalies(folder: Path) -> pd.DataFrame:
    """Return one row per split and anomaly; no rows if the data fits the schema."""
    import pandas as pd

    from benison.components.validate.anomaly_gate import tfdv_anomalies

    splits = sorted(path.name.removeprefix("Split-") for path in folder.glob("Split-*"))
    rows = [(split, *anomaly) for split in splits for anomaly in tfdv_anomalies(folder, split)]
    return pd.DataFrame(rows, columns=["split", "feature", "kind", "anomaly"])


def label(folder: Path) -> pd.DataFrame:
    """Return one row per column: how well the column alone predicts the label, best first."""
    import pandas as pd

    columns = json.loads((folder / "label.json").read_text())["columns"]
    table = pd.DataFrame({"column": list(columns), "tells": list(columns.values())})
    return table.sort_values("tells", ascending=False)


def evaluation(folder: Path) -> pd.DataFrame:
    """Return one row per slice: TFMA's metrics on `test`."""
    import pandas as pd
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
    return pd.DataFrame(rows).sort_values("slice", ignore_index=True)


def blessing(folder: Path) -> pd.DataFrame | None:
    """Return one row per rule, with its verdict and reason; None for the empty blessing of TFX's Evaluator."""
    import pandas as pd

    if not (folder / "blessing.json").is_file():
        return None
    verdicts = json.loads((folder / "blessing.json").read_text())["verdicts"]
    return pd.DataFrame(verdicts)[["rule", "passed", "value", "bound", "reason"]]


def served(folder: Path) -> pd.DataFrame:
    """Return one row per rule of the ServingValidator, with its verdict and reason."""
    import pandas as pd

    return pd.DataFrame(json.loads((folder / "serving.json").read_text())["verdicts"])


def model(folder: Path) -> pd.DataFrame | None:
    """Return an ensemble's members, combiner and contributions, or the importance of each column to one of trees."""
    import pandas as pd

    importances, report = folder / "importances.json", folder / "ensemble_report.json"
    if importances.is_file():
        shares = json.loads(importances.read_text(encoding="utf-8"))
        return pd.DataFrame({"column": list(shares), "importance": list(shares.values())})
    if not report.is_file():
        return None
    facts = json.loads(report.read_text())
    return pd.DataFrame(facts["contributions"]).assign(combiner=facts["combiner"])


def scores(folder: Path) -> pd.DataFrame:
    """Return the first rows of a Scorer's output, with each model's probability of the label's class or prediction."""
    from benison.components.evaluate.scorer import Scores

    loaded = Scores.load(folder)
    table = loaded.rows.head(10).copy()
    for model, outputs in loaded.outputs.items():
        column = table["label"].to_numpy() if loaded.classes else 0
        table[model] = outputs[: len(table)][range(len(table)), column]
    return table


def tuner_results(folder: Path) -> pd.DataFrame:
    """Return one row per trial of a Tuner, best first: its loss on `valid` and its hyperparameters."""
    import pandas as pd

    return pd.read_json(folder / "tuner_results.json", orient="records")


_VIEWS: Mapping[str, Callable[[Path], Any]] = {
    "ExampleStatistics": statistics,
    "Schema": schema,
    "ExampleAnomalies": anomalies,
    "LabelReport": label,
    "ModelEvaluation": evaluation,
    "ModelBlessing": blessing,
    "InfraBlessing": served,
    "Model": model,
    "ModelScores": scores,
    "TunerResults": tuner_results,
}
