"""From a config to compiled pipelines: for one run, with the spans that it takes, or for all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benison.pipelines import graph
from benison.pipelines.compilation.compiled import Compiled, compile_to
from benison.pipelines.config import Pipeline
from benison.pipelines.data import spans
from benison.serving.errors import UsageError

_ANY_WINDOW = (1,)  # the nodes are the same for every window


def for_run(config: Pipeline, root: Path, ir: Path, span: str | None) -> Compiled:
    """A pipeline behind those that ingest the spans before its newest.

    Args:
        config: the pipeline's config.
        root: ROOT; spans that the pipeline's own source offers land in it.
        ir: the file to write; those of earlier spans are written beside it.
        span: see `spans.window`; None for a pipeline without.

    Raises:
        UsageError: a span that has not landed, or one for a pipeline without spans.
    """
    window = _window(config, root, span)
    earlier = {
        str(number): compile_to(graph.build_ingest(config, root, [number]), ir.with_name(f"span-{number}.json"))
        for number in window[:-1]
    }
    return replace(compile_to(graph.build(config, root, window), ir).after(earlier), window=window)


def ingest_for_run(config: Pipeline, root: Path, ir: Path, span: str | None) -> Compiled:
    """Only the nodes up to the gate, with an inferred schema; arguments and errors as for `for_run`."""
    window = _window(config, root, span)
    return compile_to(graph.build_ingest(config, root, window[-1:], infer=True), ir)


def for_all_runs(config: Pipeline, root: Path, ir: Path) -> Compiled:
    """A pipeline as a scheduler draws it, before anybody knows which spans a run will take.

    Args:
        config: the pipeline's config.
        root: ROOT; no span need have landed in it.
        ir: the file to write.
    """
    return compile_to(graph.build(config, root, _ANY_WINDOW if config.spans else ()), ir)


def _window(config: Pipeline, root: Path, span: str | None) -> tuple[int, ...]:
    if config.spans is None:
        if span is not None:
            raise UsageError(f"--span {span}: {config.name} has no `spans:` in its YAML")
        return ()
    spans.land_from_source(config, root)
    return spans.window(config, root, span)
