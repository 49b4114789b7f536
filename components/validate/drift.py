"""DriftValidator: compares a span with the newest span that the served version was trained on.

TFX's ExampleValidator compares the data with the schema only, so it detects no drift. TFX's DistributionValidator
compares two statistics that the author of the pipeline must name. This node looks up the served version and selects the
statistics to compare with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_metadata.proto import metadata_store_pb2 as mlmd
from numpy.typing import NDArray
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from benison.components import label_values, sample_weights
from benison.components.driver import Driver
from benison.components.ingest.arguments import SPAN_HASH
from benison.components.ingest.splits import SPAN_SPLIT
from benison.components.validate import label_shift
from benison.components.validate.drift_report import FILE, drifted
from benison.components.validate.drift_rows import value_shares
from benison.serving.promotion import labels


class _Driver(Driver):
    """Driver that finds the statistics of the baseline span and adds their path to the cache key."""

    def more_properties(self, execution_info: ExecutionInfo) -> dict[str, str]:
        properties = execution_info.exec_properties
        (statistics,) = execution_info.input_dict["statistics"]
        span = statistics.span
        served = labels.served(Path(properties["serving"]))
        if served is None:
            return {"baseline": json.dumps({"why_not": "nothing is served yet"})}
        trained = sorted(s for s in served.manifest.spans if s < span)
        if not trained:
            return {
                "baseline": json.dumps({"why_not": f"version {served.number} was trained on no span before {span}"})
            }
        found = self._statistics_of(execution_info, trained[-1], served.manifest.span_hashes.get(str(trained[-1])))
        if found is None:
            why_not = (
                f"the statistics of span {trained[-1]}, as version {served.number} was trained on it, no longer exist"
            )
            return {"baseline": json.dumps({"why_not": why_not})}
        uri, examples = found
        return {
            "baseline": json.dumps({"span": trained[-1], "version": served.number, "uri": uri, "examples": examples})
        }

    def _statistics_of(self, execution_info: ExecutionInfo, span: int, data: str | None) -> tuple[str, str] | None:
        """Return the folders of the newest statistics of a span's data, and of the examples that they are about.

        Args:
            execution_info: the next execution.
            span: the span.
            data: the hash of its data, since `benison span replace` may have put other data in its place; None for a
                version of a former release, which did not record it.
        """
        node = f"{execution_info.pipeline_info.id}.{execution_info.exec_properties['statistics_node']}"
        with self._metadata_handle as handle:
            context = handle.store.get_context_by_type_and_name("node", node)
            artifacts = handle.store.get_artifacts_by_context(context.id) if context else []
            statistics = [a for a in artifacts if a.type == "ExampleStatistics" and a.state == mlmd.Artifact.LIVE]
            of_span = sorted((a for a in statistics if a.properties["span"].int_value == span), key=lambda a: -a.id)
            for artifact in of_span:
                sources = _examples_of(handle.store, artifact.id)
                same = [e for e in sources if data in (None, e.custom_properties[SPAN_HASH].string_value)]
                if same or data is None:
                    return artifact.uri, max(same, key=lambda e: e.id).uri if same else ""
            return None


def _examples_of(store: Any, statistics: int) -> list[Any]:
    """Return the examples that statistics were made from."""
    made_by = {e.execution_id for e in store.get_events_by_artifact_ids([statistics]) if e.type == mlmd.Event.OUTPUT}
    inputs = {e.artifact_id for e in store.get_events_by_execution_ids(made_by) if e.type == mlmd.Event.INPUT}
    return list(store.get_artifacts_by_id(inputs))


class Executor(base_executor.BaseExecutor):
    """Executor that compares the two statistics, feature by feature."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        baseline = json.loads(exec_properties["baseline"])
        limits = json.loads(exec_properties["limits"])
        report: dict[str, Any] = {"baseline": baseline, "features": {}}
        if "uri" in baseline:
            statistics = artifact_utils.get_single_instance(input_dict["statistics"])
            features = measure_drift(Path(baseline["uri"]), Path(statistics.uri))
            for name, feature in features.items():
                feature["threshold"] = limits["columns"].get(name, limits["default"])
            examples = artifact_utils.get_single_uri(input_dict["examples"])
            features |= _label_shift(exec_properties, limits, baseline["examples"], examples)
            new_in_each = (limits["time"], limits.get("by"))
            report["features"] = {n: f for n, f in features.items() if n not in new_in_each or n in limits["columns"]}
            print(
                f"compared with span {baseline['span']}, the newest span that version {baseline['version']} was "
                "trained on"
            )
        else:
            print(f"not compared: {baseline['why_not']}")
        earlier = feature_shares(Path(baseline["uri"])) if "uri" in baseline else {}
        for name, feature in report["features"].items():
            if drifted(feature):
                feature["shares"] = earlier[name]
            mark = "DRIFT" if drifted(feature) else "     "
            test = f"; {feature['measure']}, p = {feature['p']:.2g}" if "p" in feature else ""
            print(f"{mark} {name}: {feature['distance']:.4f} (limit {feature['threshold']}{test})")
        Path(artifact_utils.get_single_uri(output_dict["drift"]), FILE).write_text(json.dumps(report, indent=2))


def _label_shift(
    properties: dict[str, Any], limits: Mapping[str, Any], before: str, now: str
) -> dict[str, dict[str, Any]]:
    """Return the change of the label, by its name; empty if the YAML limits its distance, or there is nothing to count.

    Args:
        properties: of the execution.
        limits: see `DriftValidator`.
        before: folder of the examples of the earlier span; '' if it is not known.
        now: folder of the examples of this span.
    """
    label, numbers = properties["label"], properties["problem"] == "regression"
    folders = [Path(folder, f"Split-{SPAN_SPLIT}") for folder in (before, now)]
    if label in limits["columns"] or not before or not all(folder.is_dir() for folder in folders):
        return {}
    spans = [label_values.of_span(str(folder), label, limits.get("weight")) for folder in folders]
    (earlier, _), (later, _) = spans
    if not len(earlier) or not len(later) or (numbers and "f" not in {earlier.dtype.kind, later.dtype.kind}):
        return {}
    if numbers:
        shift, limit = label_shift.of_numbers(*spans), label_shift.NUMBERS_LIMIT
    else:
        shift, limit = label_shift.of_classes(*(_classes(*span) for span in spans)), label_shift.CLASSES_LIMIT
    return {label: {**shift.to_json(), "threshold": limit if limits["label"] is None else limits["label"]}}


def _classes(values: NDArray, weights: NDArray) -> dict[str, float]:
    """Return the rows of each class; of rows of unequal weight, as many as tell as much."""
    rows = sample_weights.effective_rows(weights) * weights / weights.sum()
    names = [v.decode("utf-8", "replace") if isinstance(v, bytes) else f"{v:g}" for v in values.tolist()]
    counts = dict.fromkeys(names, 0.0)
    for name, count in zip(names, rows.tolist(), strict=True):
        counts[name] += count
    return counts


class DriftReport(types.Artifact):
    """`drift.json`, see `drift_report`: the baseline of the comparison, and the features with distance and limit."""

    TYPE_NAME = "DriftReport"


class _Spec(ComponentSpec):
    PARAMETERS = {
        "serving": ExecutionParameter(type=str),
        "statistics_node": ExecutionParameter(type=str),
        "limits": ExecutionParameter(type=str),
        "label": ExecutionParameter(type=str),
        "problem": ExecutionParameter(type=str),
    }
    INPUTS = {
        "statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics),
        "examples": ChannelParameter(type=standard_artifacts.Examples),
    }
    OUTPUTS = {"drift": ChannelParameter(type=DriftReport)}


class DriftValidator(base_component.BaseComponent):
    """Node that compares a span with the newest span that the served version was trained on.

    Args:
        statistics: output of StatisticsGen for the span.
        examples: the span.
        serving: base folder of the pushed versions.
        statistics_node: id of the node that wrote the statistics of all spans.
        default: largest allowed Jensen-Shannon divergence of a column.
        columns: the same for single columns, by name.
        label: name of the label. It is compared by `label_shift`, unless `columns` names it.
        problem: binary, multiclass or regression.
        label_limit: largest allowed size of the label's change; None for the default of `label_shift`.
        time: name of the time column, which differs in every span and is not compared, unless `columns` names it.
        by: name of the column of `splits.by`, such as a customer, which is like the time in this.
        weight: name of the column of the sample weights, by which the label of a row counts.
    """

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
    DRIVER_CLASS = _Driver

    def __init__(
        self,
        statistics: types.BaseChannel,
        examples: types.BaseChannel,
        serving: str,
        statistics_node: str,
        default: float,
        columns: Mapping[str, float],
        label: str,
        problem: str,
        label_limit: float | None = None,
        time: str | None = None,
        by: str | None = None,
        weight: str | None = None,
    ) -> None:
        limits = {"default": default, "columns": dict(columns), "label": label_limit, "time": time}
        limits |= {"by": by} if by else {}
        limits |= {"weight": weight} if weight else {}
        super().__init__(
            _Spec(
                statistics=statistics,
                examples=examples,
                serving=serving,
                statistics_node=statistics_node,
                limits=json.dumps(limits, sort_keys=True),
                label=label,
                problem=problem,
                drift=types.Channel(type=DriftReport),
            )
        )


def measure_drift(before: Path, now: Path) -> dict[str, dict[str, Any]]:
    """Measure the distance between the distributions of each feature in two spans.

    Args:
        before: folder of the statistics of the earlier span.
        now: folder of the statistics of this span.

    Returns:
        By feature: `distance`, the Jensen-Shannon divergence (Lin 1991) of the two distributions, base 2, from 0 to 1,
        as TFDV computes it; and `before` and `now`, short descriptions of the two distributions.
    """
    import tensorflow_data_validation as tfdv
    from tensorflow_metadata.proto.v0 import schema_pb2

    earlier, later = _load_statistics(before), _load_statistics(now)
    schema = tfdv.infer_schema(later, infer_feature_shape=False)
    for feature in schema.feature:
        feature.drift_comparator.jensen_shannon_divergence.threshold = (
            1.0  # only measures; DriftReport has the thresholds
        )
        if feature.type == schema_pb2.INT and feature.HasField("int_domain"):
            feature.ClearField("int_domain")
    anomalies = tfdv.validate_statistics(later, schema, previous_statistics=earlier)
    summaries = [{f.path.step[0]: _summarize(f) for f in s.datasets[0].features} for s in (earlier, later)]
    drift = {}
    for info in anomalies.drift_skew_info:
        name = info.path.step[0]
        values = [m.value for m in info.drift_measurements]
        if values and name in summaries[0]:
            drift[name] = {"distance": min(max(values), 1.0), "before": summaries[0][name], "now": summaries[1][name]}
    return drift


def feature_shares(statistics: Path) -> dict[str, dict[str, Any]]:
    """Return the distribution of each feature of a span; see `drift_rows.value_shares`.

    Args:
        statistics: folder of the statistics of the span.
    """
    dataset = _load_statistics(statistics).datasets[0]
    return {f.path.step[0]: value_shares(f, dataset.num_examples) for f in dataset.features}


def _load_statistics(statistics: Path) -> Any:
    import tensorflow_data_validation as tfdv

    return tfdv.load_stats_binary(str(statistics / f"Split-{SPAN_SPLIT}" / "FeatureStats.pb"))


def _summarize(feature: Any) -> str:
    """Describe the distribution of a feature in a few figures."""
    if feature.WhichOneof("stats") == "num_stats":
        stats = feature.num_stats
        return f"mean {stats.mean:.6g}, {stats.min:.6g} to {stats.max:.6g}"
    common, stats = feature.string_stats.common_stats, feature.string_stats
    top = ", ".join(f"{v.value} {v.frequency / max(common.num_non_missing, 1):.0%}" for v in stats.top_values[:3])
    return f"{stats.unique} values: {top}"
