"""`benison schema`, `span add` and `span list`: the schema and the spans of a pipeline's data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Name, Root, Sets, load

if TYPE_CHECKING:
    from benison.pipelines.config import Pipeline


def schema(
    name: Name,
    set_: Sets = None,
    root: Root = DEFAULT_ROOT,
    accept: Annotated[
        bool, typer.Option("--accept", help="Write the schema beside the YAML; runs then use it.")
    ] = False,
) -> None:
    """Infer a schema from the data and print it; with --accept, write it as the curated schema."""
    from benison.pipelines.starting import curation

    config = load(name, set_)
    text = curation.inferred(config, root.absolute())
    if accept:
        curation.accept(config, text)
        print(f"wrote {config.schema_path}; review and edit it: every run checks the data against it")
    else:
        print(text, end="")


def span_add(
    name: Name,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="CSV files of the new span.")],
    number: Annotated[
        int | None, typer.Option("--number", metavar="NUMBER", help="The span's number; default: the next one.")
    ] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Add a new span, all of it or nothing; notify Airflow if BENISON_AIRFLOW_URL is set."""
    from benison.pipelines.airflow import span_event
    from benison.pipelines.data import spans

    config = _with_spans(name)
    landed = spans.add(config, root.absolute(), files, number)
    print(f"span {landed.number} of {name}: {landed.rows} rows, sha256 {landed.sha256[:12]}")
    for line in span_event.post_span_event(config.name, landed):
        print(line)


def span_list(name: Name, root: Root = DEFAULT_ROOT) -> None:
    """List the spans: rows, hash, anomalies, drift, and the versions trained on them."""
    from rich.console import Console

    from benison.pipelines.reports import span_report

    Console().print(span_report.table(_with_spans(name), root.absolute()))


def _with_spans(name: str) -> Pipeline:
    from benison.serving.errors import UsageError

    config = load(name, None)
    if config.spans is None:
        raise UsageError(f"{name}: its YAML has no `spans:`; it reads all of its data in each run")
    return config
