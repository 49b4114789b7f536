"""`benison schema` and the commands of `benison span`: the schema and the spans of a pipeline's data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Name, Root, Sets, load
from benison.pipelines.commands.output import console

if TYPE_CHECKING:
    from benison.pipelines.config import Pipeline
    from benison.pipelines.data.spans import RemovedSpan, Span

Number = Annotated[int, typer.Argument(metavar="NUMBER", help="The span's number.")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for the record.")]
AllowRepeated = Annotated[
    bool,
    typer.Option("--allow-repeated", help="Accept rows that have landed before; runs still compare test with train."),
]


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
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Files of the new span: CSV, JSON lines or Parquet, or DVC pointers."),
    ],
    number: Annotated[
        int | None, typer.Option("--number", metavar="NUMBER", help="The span's number; default: the next one.")
    ] = None,
    allow_repeated: AllowRepeated = False,
    dvc: Annotated[
        bool, typer.Option("--dvc", help="Track each FILE as `dvc add` does first: write FILE.dvc, fill DVC's cache.")
    ] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Add a new span, all of it or nothing; notify Airflow if BENISON_AIRFLOW_URL is set.

    A file is refused if its rows, or at least half of them, have already landed. FILE.dvc, a pointer of DVC, stands for
    the file that it names.
    """
    from benison.components.ingest import dvc_pointers
    from benison.pipelines.data import span_changes

    config = _with_spans(name)
    if dvc:
        files = [file if dvc_pointers.is_pointer(file) else dvc_pointers.write(file) for file in files]
    _announce(config, span_changes.add(config, root.absolute(), files, number, allow_repeated=allow_repeated))
    if dvc:
        print(f"next: git add {' '.join(map(str, files))}, and `dvc push`")


def span_remove(name: Name, number: Number, why: Why = "", root: Root = DEFAULT_ROOT) -> None:
    """Remove a span: runs no longer use it, its files are kept aside, and its number is not used again.

    Prints the versions that were trained on it.
    """
    from benison.pipelines.data import span_changes
    from benison.pipelines.records import locks

    config = _with_spans(name)
    with locks.pipeline_lock(root.absolute(), config.name, "span remove"):
        record = span_changes.remove(root.absolute(), config.name, number, why)
    _print_removals(config, root, [record])


def span_replace(
    name: Name,
    number: Number,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Files of the span: CSV, JSON lines or Parquet.")],
    why: Why = "",
    allow_repeated: AllowRepeated = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Replace the data of a span, all of it or nothing; its old files are kept aside.

    Prints the versions that were trained on the old data. Also fills the place of a removed span.
    """
    from benison.pipelines.data import span_changes
    from benison.pipelines.records import locks

    config = _with_spans(name)
    with locks.pipeline_lock(root.absolute(), config.name, "span replace"):
        span, record = span_changes.replace(config, root.absolute(), number, files, why, allow_repeated=allow_repeated)
    _print_removals(config, root, [record])
    _announce(config, span)


def span_list(name: Name, root: Root = DEFAULT_ROOT) -> None:
    """List the spans: rows, hash, anomalies, drift, and the versions trained on them; then the removed spans."""
    from benison.pipelines.data import spans
    from benison.pipelines.reports import span_report

    config = _with_spans(name)
    console().print(span_report.table(config, root.absolute()))
    _print_removals(config, root, spans.removed_spans(root.absolute(), config.name))


def _announce(config: Pipeline, span: Span) -> None:
    """Print a span that landed, and notify Airflow."""
    from benison.pipelines.airflow import span_event

    print(f"span {span.number} of {config.name}: {span.rows} rows, sha256 {span.sha256[:12]}")
    for line in span_event.post_span_event(config.name, span):
        print(line)


def _print_removals(config: Pipeline, root: Path, records: Sequence[RemovedSpan]) -> None:
    """Print what was removed, and which versions here and in the object store were trained on it."""
    from benison.pipelines.reports import span_report

    if not records:
        return
    base = root.absolute() / "serving" / config.name
    known = span_report.known_versions(base, config.serving.store)
    for record in records:
        print("\n".join(span_report.removal(base, record, known)))


def _with_spans(name: str) -> Pipeline:
    from benison.serving.errors import UsageError

    config = load(name, None)
    if config.spans is None:
        dates = [column for column, settings in config.columns.items() if settings.kind == "date"]
        time = "" if config.data.time else f"`time: {dates[0] if dates else 'COLUMN'}` under `data`, "
        raise UsageError(
            f"{name}: its YAML has no `spans:`; it reads all of its data in each run. For data that arrives span by "
            f"span, write {time}no `csv` there, and `spans: {{}}`; `benison init --spans` writes such a YAML"
        )
    return config
