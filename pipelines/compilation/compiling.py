"""Compile a config: for one run and its spans, or for all runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benison.pipelines import graph
from benison.pipelines.compilation.compiled import Compiled, compile_to
from benison.pipelines.config import Pipeline
from benison.pipelines.data import span_changes, spans
from benison.serving.errors import UsageError

_ANY_WINDOW = (1,)  # the nodes are the same for every window


def for_run(config: Pipeline, root: Path, ir: Path, span: str | None) -> Compiled:
    """Compile a pipeline, preceded by the nodes that ingest all spans of its window but the newest.

    Args:
        config: the pipeline's config.
        root: ROOT; new spans of the pipeline's own source are added to it.
        ir: the file to write; the IR of earlier spans is written beside it.
        span: see `spans.window`; None for a pipeline without spans.

    Raises:
        UsageError: a span has not been added, or the pipeline has no spans.
    """
    window = _window(config, root, span)
    earlier = {
        str(number): compile_to(graph.build_ingest(config, root, [number]), ir.with_name(f"span-{number}.json"))
        for number in window[:-1]
    }
    return replace(compile_to(graph.build(config, root, window), ir).after(earlier), window=window)


def ingest_for_run(config: Pipeline, root: Path, ir: Path, span: str | None) -> Compiled:
    """Compile only the nodes up to the anomaly gate, with an inferred schema; arguments and errors as in `for_run`."""
    window = _window(config, root, span)
    return compile_to(graph.build_ingest(config, root, window[-1:], infer=True), ir)


def for_all_runs(config: Pipeline, root: Path, ir: Path) -> Compiled:
    """Compile a pipeline for a scheduler, before the spans of a run are known.

    Args:
        config: the pipeline's config.
        root: ROOT; it may have no spans yet.
        ir: the file to write.
    """
    return compile_to(graph.build(config, root, _ANY_WINDOW if config.spans else ()), ir)


def _window(config: Pipeline, root: Path, span: str | None) -> tuple[int, ...]:
    if config.spans is None:
        if span is not None:
            raise UsageError(f"--span {span}: {config.name} has no `spans:` in its YAML")
        return ()
    span_changes.add_from_source(config, root)
    return spans.window(config, root, span)
