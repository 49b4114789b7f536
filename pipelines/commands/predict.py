"""`benison predict`: predictions of a pushed version, in this process."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Name, Root, served_name
from benison.pipelines.commands.output import console
from benison.pipelines.commands.versions import Verify, check_line, served_version


def predict(
    name: Name,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="A CSV file with a header, JSON lines or Parquet.")
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="A JSON file with a list of objects, or JSON lines (.jsonl)."),
    ] = None,
    members: Annotated[bool, typer.Option("--members", help="Also the prediction of each member.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Write the predictions to a .csv, .jsonl or .parquet file."),
    ] = None,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="COLUMN", help="Copy this column of the rows to the output; may be repeated."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also the share of each column in each answer, by Shapley values.")
    ] = False,
    root: Root = DEFAULT_ROOT,
    verify: Verify = True,
) -> None:
    """Print or write predictions of the served version, computed in this process."""
    from benison.serving import predict as prediction
    from benison.serving.errors import UsageError
    from benison.serving.rows import write
    from benison.serving.rows.read import read_columns

    if output is not None:
        write.check(output)
    elif key:
        raise UsageError("predict: --key is for the columns of a file; name it with --output FILE")
    files = [file for file in (csv, json) if file is not None]
    if len(files) != 1:
        raise UsageError("predict: expected one of --csv FILE and --json FILE")
    name = served_name(name)
    base = root.absolute() / "serving" / name
    served = served_version(base, verify=verify)
    rows = prediction.read_rows(files[0], served.manifest.delimiter, served.manifest.encoding)
    keys = read_columns(files[0], rows, key or [])
    from benison.pipelines.quiet import quieten
    from benison.pipelines.reports import explanations, report

    quieten()
    print(f"{name} version {served.number}, {served.path} ({check_line(served) if verify else 'not verified'})")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", prediction.UnseenValues)
        if explain:
            predictions, cost = prediction.explain(served, rows, members=members, verify=False)
        else:
            predictions, cost = prediction.predict(served, rows, members=members, verify=False), None
    for warning in caught:
        if issubclass(warning.category, prediction.UnseenValues):
            print(warning.message, file=sys.stderr)
    if output is None:
        report.show_predictions(predictions, console())
        if cost is not None:
            explanations.show(predictions, rows, cost, console())
        return
    from benison.serving import prediction_table

    table = prediction_table.build(served, keys, predictions)
    with write.writing(output, table.schema) as write_batch:
        for batch in table.to_batches():
            write_batch(batch)
    print(f"{len(predictions)} predictions written to {output}")
    if cost is not None:
        print(explanations.cost_line(cost, len(predictions)))
