"""`benison lineage`: from a version or a run to its raw files, and from a file to the versions."""

from __future__ import annotations

from typing import Annotated

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Root
from benison.pipelines.commands.output import console

_SENDING_S = 60.0  # for the OpenLineage events of all runs


def lineage(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="NAME, NAME/VERSION as in x-benison-version, a run's id, or the path of a data file or an artifact.",
        ),
    ],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Hash the raw files and the version's files again; exit code 1 if one is not as recorded."
        ),
    ] = False,
    openlineage: Annotated[
        str | None,
        typer.Option(
            "--openlineage", metavar="PLACE", help="Also send the run's OpenLineage events: a file, or http(s)://…"
        ),
    ] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Show what a version or a run was made from, or what a data file or an artifact went into."""
    import time

    from benison.pipelines.config import event_places
    from benison.pipelines.lineage import openlineage as events
    from benison.pipelines.lineage import plain, verification
    from benison.pipelines.lineage.search import Finder, Lineage
    from benison.pipelines.reports import lineage_tree
    from benison.serving.errors import UsageError

    if openlineage is not None and (fault := event_places.fault(openlineage)):
        raise UsageError(f"--openlineage: {fault}")
    root = root.absolute()
    found = Finder(root).find(target)
    graphs = [use.graph for use in found.uses] if not isinstance(found, Lineage) else [found.graph]
    checked = []
    if verify:
        checked = [each for graph in graphs if graph is not None for each in verification.raw_files(graph)]
        version = found.version if isinstance(found, Lineage) else None
        if version is not None:
            files = version.version.manifest.files
            checked += verification.version_files(version.version.path, files)
        # Several runs may have read a file with different contents.
        worst_last = sorted(checked, key=lambda each: each.state in verification.WRONG)
        checked = list({each.path: each for each in worst_last}.values())
    if json:
        import json as json_module

        print(json_module.dumps(plain.of(found, checked), indent=2, ensure_ascii=False))
    else:
        console().print(lineage_tree.of(found, root, checked), soft_wrap=True, highlight=False)
    if openlineage is not None:
        if not any(graphs):
            raise UsageError(f"{target}: there is no record of its run, so there are no events to send")
        end, count = time.monotonic() + _SENDING_S, 0
        for graph in graphs:
            if graph is not None:
                count += events.send(graph, openlineage, max(end - time.monotonic(), 0.1))
        if not json:
            print(f"{count} OpenLineage events sent to {openlineage}")
    if any(each.state in verification.WRONG for each in checked):
        raise typer.Exit(1)
