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
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from benison.components.driver import Driver
from benison.components.ingest.arguments import SPAN_HASH
from benison.components.ingest.splits import SPAN_SPLIT
from benison.components.validate.drift_rows import value_shares
from benison.serving.promotion import labels

FILE = "drift.json"


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
        uri = self._statistics_of(execution_info, trained[-1], served.manifest.span_hashes.get(str(trained[-1])))
        if uri is None:
            why_not = (
                f"the statistics of span {trained[-1]}, as version {served.number} was trained on it, no longer exist"
            )
            return {"baseline": json.dumps({"why_not": why_not})}
        return {"baseline": json.dumps({"span": trained[-1], "version": served.number, "uri": uri})}

    def _statistics_of(self, execution_info: ExecutionInfo, span: int, data: str | None) -> str | None:
        """Return the newest statistics of a span's data.

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
            uris = (a.uri for a in of_span if data is None or data in _data_of(handle.store, a.id))
            return next(uris, None)


def _data_of(store: Any, statistics: int) -> set[str]:
    """Return the hashes of the spans' data that statistics were made from."""
    made_by = {e.execution_id for e in store.get_events_by_artifact_ids([statistics]) if e.type == mlmd.Event.OUTPUT}
    inputs = {e.artifact_id for e in store.get_events_by_execution_ids(made_by) if e.type == mlmd.Event.INPUT}
    return {a.custom_properties[SPAN_HASH].string_value for a in store.get_artifacts_by_id(inputs)}


class Executor(base_executor.BaseExecutor):
    """Executor that compares the two statistics, feature by feature."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        baseline = json.loads(exec_properties["baseline"])
        report: dict[str, Any] = {"baseline": baseline, "features": {}}
        if "uri" in baseline:
            statistics = artifact_utils.get_single_instance(input_dict["statistics"])
            report["features"] = measure_drift(Path(baseline["uri"]), Path(statistics.uri))
            print(
                f"compared with span {baseline['span']}, the newest span that version {baseline['version']} was "
                "trained on"
            )
        else:
            print(f"not compared: {baseline['why_not']}")
        thresholds = json.loads(exec_properties["thresholds"])
        earlier = feature_shares(Path(baseline["uri"])) if "uri" in baseline else {}
        for name, feature in report["features"].items():
            feature["threshold"] = thresholds["columns"].get(name, thresholds["default"])
            if feature["distance"] > feature["threshold"]:
                feature["shares"] = earlier[name]
            mark = "DRIFT" if feature["distance"] > feature["threshold"] else "     "
            print(f"{mark} {name}: {feature['distance']:.4f} (limit {feature['threshold']})")
        Path(artifact_utils.get_single_uri(output_dict["drift"]), FILE).write_text(json.dumps(report, indent=2))


class DriftReport(types.Artifact):
    """`drift.json`: the baseline of the comparison, and the distance and threshold of each feature.

    A feature above its threshold also has `shares`, see `drift_rows.value_shares`.
    """

    TYPE_NAME = "DriftReport"


class _Spec(ComponentSpec):
    PARAMETERS = {
        "serving": ExecutionParameter(type=str),
        "statistics_node": ExecutionParameter(type=str),
        "thresholds": ExecutionParameter(type=str),
    }
    INPUTS = {"statistics": ChannelParameter(type=standard_artifacts.ExampleStatistics)}
    OUTPUTS = {"drift": ChannelParameter(type=DriftReport)}


class DriftValidator(base_component.BaseComponent):
    """Node that compares a span with the newest span that the served version was trained on.

    Args:
        statistics: output of StatisticsGen for the span.
        serving: base folder of the pushed versions.
        statistics_node: id of the node that wrote the statistics of all spans.
        default: largest allowed Jensen-Shannon divergence of a column.
        columns: the same for single columns, by name.
    """

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
    DRIVER_CLASS = _Driver

    def __init__(
        self,
        statistics: types.BaseChannel,
        serving: str,
        statistics_node: str,
        default: float,
        columns: Mapping[str, float],
    ) -> None:
        super().__init__(
            _Spec(
                statistics=statistics,
                serving=serving,
                statistics_node=statistics_node,
                thresholds=json.dumps({"default": default, "columns": dict(columns)}, sort_keys=True),
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
