"""`benison schema`, `span add` and `span list`: what a pipeline learns from."""

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
    accept: Annotated[bool, typer.Option("--accept", help="Write it beside the YAML, where runs import it.")] = False,
) -> None:
    """The schema that the data suggest; with --accept it becomes the curated one."""
    from benison.pipelines.starting import curation

    config = load(name, set_)
    text = curation.inferred(config, root.absolute())
    if accept:
        curation.accept(config, text)
        print(f"written to {config.schema_path}; edit it, it is what runs check the data against")
    else:
        print(text, end="")


def span_add(
    name: Name,
    files: Annotated[list[Path], typer.Argument(help="CSV files of the new span.")],
    number: Annotated[int | None, typer.Option("--number", help="Its number; default: the next one.")] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Lands a new span, whole or not at all; tells Airflow where BENISON_AIRFLOW_URL is set."""
    from benison.pipelines.airflow import span_event
    from benison.pipelines.data import spans

    config = _with_spans(name)
    landed = spans.land(config, root.absolute(), files, number)
    print(f"span {landed.number} of {name}: {landed.rows} rows, sha256 {landed.sha256[:12]}")
    for line in span_event.tell(config.name, landed):
        print(line)


def span_list(name: Name, root: Root = DEFAULT_ROOT) -> None:
    """The landed spans: rows, hash, anomalies, drift, and the versions trained on them."""
    from rich.console import Console

    from benison.pipelines.reports import span_report

    Console().print(span_report.table(_with_spans(name), root.absolute()))


def _with_spans(name: str) -> Pipeline:
    from benison.serving.errors import UsageError

    config = load(name, None)
    if config.spans is None:
        raise UsageError(f"{name}: no `spans:` in its YAML; it takes its data whole")
    return config
