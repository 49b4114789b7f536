"""The first nodes of every pipeline: from files to examples that passed the anomaly gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.pipelines.data import sources, spans
from benison.serving import proto_text
from benison.serving.files import patterns

if TYPE_CHECKING:
    from tfx.dsl.components.base.base_node import BaseNode
    from tfx.types import BaseChannel

    from benison.pipelines.config import Pipeline


@dataclass(frozen=True)
class Ingest:
    """The first nodes, and the outputs that the rest of a pipeline takes from them.

    Attributes:
        nodes: the nodes, in topological order.
        examples: the examples, with the splits train, valid, blend and test.
        schema: the curated schema, or the one that SchemaGen inferred.
        gate: the anomaly gate, which every node that trains on the data must wait for.
    """

    nodes: tuple[BaseNode, ...]
    examples: BaseChannel
    schema: BaseChannel
    gate: BaseNode


def build(
    config: Pipeline, root: Path, window: Sequence[int] = (), *, infer: bool = False, to_gate: bool = False
) -> Ingest:
    """Connect ExampleGen, StatisticsGen, the schema, the validators and the gate; with spans also the window.

    Args:
        config: the pipeline's config.
        root: ROOT.
        window: for a pipeline with spans, the spans of the run, ascending; the newest is ingested here, the others
            have been ingested before.
        infer: infer the schema even if there is a curated one.
        to_gate: end at the gate, without the window.

    Raises:
        UsageError: ROOT cannot hold artifacts.
    """
    from tfx.components import ExampleValidator, SchemaGen, StatisticsGen
    from tfx.dsl.components.base.executor_spec import BeamExecutorSpec

    from benison.components.ingest.span_window import SpanWindow
    from benison.components.validate.anomaly_gate import AnomalyGate
    from benison.components.validate.curated_schema import ImportSchemaGen
    from benison.components.validate.drift import DriftValidator
    from benison.components.validate.small_statistics import Executor as StatisticsExecutor

    patterns.check_root(root)
    curated = str(config.schema_path) if config.schema_path.is_file() and not infer else None
    span = window[-1] if window else None
    pattern = spans.pattern(root, config.name) if window else sources.files_pattern(config, root)
    example_gen = _example_gen(config, pattern, curated, span)
    statistics_gen = StatisticsGen(examples=example_gen.outputs["examples"])
    if not config.beam:  # else the YAML says where Beam's work runs
        statistics_gen.executor_spec = BeamExecutorSpec(StatisticsExecutor)
    statistics = statistics_gen.outputs["statistics"]
    if curated:
        schema_gen = ImportSchemaGen(curated, _used_but_left_out(config))
    else:
        schema_gen = SchemaGen(statistics=statistics, infer_feature_shape=True)
    schema = schema_gen.outputs["schema"]
    validator = ExampleValidator(statistics=statistics, schema=schema)
    nodes: list[BaseNode] = [example_gen, statistics_gen, schema_gen, validator]
    drift = None
    if span is not None:
        drift = DriftValidator(
            statistics=statistics,
            examples=example_gen.outputs["examples"],
            serving=str(root / "serving" / config.name),
            statistics_node=statistics_gen.id,
            default=config.validation.drift.default,
            columns=config.validation.drift.columns,
            label=config.label,
            problem=config.problem,
            label_limit=config.validation.drift.label,
            time=config.data.time,
            by=config.splits.by,
            weight=config.weight,
        )
        nodes.append(drift)
    gate = AnomalyGate(
        examples=example_gen.outputs["examples"],
        anomalies=validator.outputs["anomalies"],
        schema=schema,
        severity={"kinds": dict(config.validation.severity), "columns": dict(config.validation.columns)},
        table=_table(config),
        drift=drift.outputs["drift"] if drift else None,
    )
    nodes.append(gate)
    examples = example_gen.outputs["examples"]
    if config.data.time is not None and not to_gate:
        if window:  # a single span too: a pipeline's graph is the same for every window
            resolver = _resolver(example_gen.id, window)
            # A resolver takes the artifacts that exist when it runs: the newest span must exist, and have passed.
            resolver.add_upstream_node(gate)
            nodes.append(resolver)
            examples = resolver.outputs["examples"]
        span_window = SpanWindow(examples=examples, spans=window or [0], by=config.splits.by)
        span_window.add_upstream_node(gate)
        nodes.append(span_window)
        examples = span_window.outputs["window"]
    return Ingest(tuple(nodes), examples, schema, gate)


def _used_but_left_out(config: Pipeline) -> list[str]:
    """Return the columns that the YAML uses and the curated schema leaves out."""
    from tensorflow_metadata.proto.v0 import schema_pb2

    from benison.components import raw_examples

    schema = proto_text.read(str(config.schema_path), schema_pb2.Schema())
    return sorted(raw_examples.unread_columns(schema) & config.used_columns)


def _example_gen(config: Pipeline, pattern: str, curated: str | None, span: int | None) -> BaseNode:
    from benison.components.ingest.example_gen import CsvExampleGen
    from benison.components.ingest.import_example_gen import ImportExampleGen

    if config.data.tfrecord is not None:
        return ImportExampleGen(
            pattern,
            config.splits.buckets,
            config.time_column,
            config.label,
            config.weight or "",
            config.splits.by,
            config.splits.seed,
        )
    return CsvExampleGen(
        pattern=pattern,
        splits=config.splits.buckets,
        missing=config.data.missing,
        schema=curated,
        delimiter=config.data.delimiter,
        encoding=config.data.encoding,
        decimal=config.data.decimal,
        amounts=config.data.amounts,
        time=config.time_column,
        span=span,
        needed=[config.label, *config.withheld],
        label=config.label,
        weight=config.weight or "",
        by=config.splits.by,
        seed=config.splits.seed,
    )


def _resolver(example_gen: str, window: Sequence[int]) -> BaseNode:
    """Return the node that finds all spans of the window, from this run and earlier ones."""
    from tfx.dsl.components.common.resolver import Resolver
    from tfx.types import Channel, standard_artifacts

    from benison.components.ingest.span_window import NewestOfEachSpan

    return Resolver(
        strategy_class=NewestOfEachSpan,
        config={"spans": list(window)},
        examples=Channel(type=standard_artifacts.Examples, producer_component_id=example_gen),
    ).with_id("SpanResolver")


def _table(config: Pipeline) -> dict[str, Any]:
    """Return the options for the gate to read the CSV again, so that it can show rows."""
    if config.data.tfrecord is not None:
        return {}
    return {
        "missing": list(config.data.missing),
        "delimiter": config.data.delimiter,
        "encoding": config.data.encoding,
        "decimal": config.data.decimal,
        "amounts": dict(config.data.amounts),
    }
