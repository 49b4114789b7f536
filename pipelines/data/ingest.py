"""From files to examples that passed the gate: the first nodes of every pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.pipelines.data import sources, spans

if TYPE_CHECKING:
    from tfx.dsl.components.base.base_node import BaseNode
    from tfx.types import BaseChannel

    from benison.pipelines.config import Pipeline


@dataclass(frozen=True)
class Ingest:
    """The first nodes, and what the rest of a pipeline takes from them.

    Attributes:
        nodes: in topological order.
        examples: with the splits train, valid, blend and test.
        schema: the curated one, or what SchemaGen inferred.
        gate: what everything that learns has to wait for.
    """

    nodes: tuple[BaseNode, ...]
    examples: BaseChannel
    schema: BaseChannel
    gate: BaseNode


def build(
    config: Pipeline, root: Path, window: Sequence[int] = (), *, infer: bool = False, to_gate: bool = False
) -> Ingest:
    """Joins ExampleGen, StatisticsGen, the schema, the validators and the gate; for spans also the window.

    Args:
        config: the pipeline's config.
        root: ROOT.
        window: for a pipeline with spans, those to learn from, ascending; the newest is ingested here, the others were
            before.
        infer: infer the schema even where there is a curated one.
        to_gate: end there, without putting the window together.
    """
    from tfx.components import ExampleValidator, SchemaGen, StatisticsGen
    from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen

    from benison.components.ingest.span_window import SpanWindow
    from benison.components.validate.anomaly_gate import AnomalyGate
    from benison.components.validate.drift import DriftValidator

    curated = str(config.schema_path) if config.schema_path.is_file() and not infer else None
    span = window[-1] if window else None
    pattern = spans.pattern(root, config.name) if window else sources.files_pattern(config, root)
    example_gen = _example_gen(config, pattern, curated, span)
    statistics_gen = StatisticsGen(examples=example_gen.outputs["examples"])
    statistics = statistics_gen.outputs["statistics"]
    schema_gen = (
        ImportSchemaGen(schema_file=curated) if curated else SchemaGen(statistics=statistics, infer_feature_shape=True)
    )
    schema = schema_gen.outputs["schema"]
    validator = ExampleValidator(statistics=statistics, schema=schema)
    nodes: list[BaseNode] = [example_gen, statistics_gen, schema_gen, validator]
    drift = None
    if span is not None:
        drift = DriftValidator(
            statistics=statistics,
            serving=str(root / "serving" / config.name),
            statistics_node=statistics_gen.id,
            default=config.validation.drift.default,
            columns=config.validation.drift.columns,
        )
        nodes.append(drift)
    gate = AnomalyGate(
        anomalies=validator.outputs["anomalies"],
        schema=schema,
        severity={"kinds": dict(config.validation.severity), "columns": dict(config.validation.columns)},
        table=_table(config, pattern, span),
        drift=drift.outputs["drift"] if drift else None,
    )
    nodes.append(gate)
    examples = example_gen.outputs["examples"]
    if config.data.time is not None and not to_gate:
        if window:  # a single span too: a pipeline's graph is the same for every window
            resolver = _resolver(example_gen.id, window)
            # A resolver looks at what there is when it runs: the newest span has to be there, and to be sound.
            resolver.add_upstream_node(gate)
            nodes.append(resolver)
            examples = resolver.outputs["examples"]
        put_together = SpanWindow(examples=examples, spans=window or [0])
        put_together.add_upstream_node(gate)
        nodes.append(put_together)
        examples = put_together.outputs["window"]
    return Ingest(tuple(nodes), examples, schema, gate)


def _example_gen(config: Pipeline, pattern: str, curated: str | None, span: int | None) -> BaseNode:
    from benison.components.ingest.example_gen import CsvExampleGen
    from benison.components.ingest.import_example_gen import ImportExampleGen

    if config.data.tfrecord is not None:
        return ImportExampleGen(pattern, config.splits.model_dump())
    return CsvExampleGen(
        pattern=pattern,
        splits=config.splits.model_dump(),
        missing=config.data.missing,
        schema=curated,
        delimiter=config.data.delimiter,
        encoding=config.data.encoding,
        decimal=config.data.decimal,
        time=config.data.time,
        span=span,
        needed=[config.label, *config.slices],
    )


def _resolver(example_gen: str, window: Sequence[int]) -> BaseNode:
    """All spans of the window, from this run and from earlier ones."""
    from tfx.dsl.components.common.resolver import Resolver
    from tfx.types import Channel, standard_artifacts

    from benison.components.ingest.span_window import NewestOfEachSpan

    return Resolver(
        strategy_class=NewestOfEachSpan,
        config={"first": window[0], "last": window[-1]},
        examples=Channel(type=standard_artifacts.Examples, producer_component_id=example_gen),
    ).with_id("SpanResolver")


def _table(config: Pipeline, pattern: str, span: int | None) -> dict[str, Any]:
    """How the gate reads the CSV again, for rows to show."""
    if config.data.tfrecord is not None:
        return {}
    return {
        "pattern": pattern if span is None else pattern.replace("{SPAN}", str(span)),
        "missing": list(config.data.missing),
        "delimiter": config.data.delimiter,
        "encoding": config.data.encoding,
        "decimal": config.data.decimal,
    }
