"""Follow each run, also one that failed: send its OpenLineage events, and tell trackers. It never fails a run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benison.pipelines.records import runs

if TYPE_CHECKING:
    from benison.pipelines.config import Pipeline


def follow(root: Path, run: runs.Run, config: Callable[[], Pipeline | None]) -> None:
    """Follow a run that has ended; what fails is only a warning on stderr.

    Args:
        root: ROOT.
        run: the run.
        config: returns the run's config, which names what to notify; None for a pipeline without one.
    """
    found = None
    with _warning("the config of the run"):
        found = config()
    if found is None:
        return
    if found.lineage.openlineage:
        with _warning("OpenLineage"):
            from benison.pipelines.lineage import graph, openlineage

            openlineage.send(graph.of_run(root, run), found.lineage.openlineage)
    with _warning("tracking"):
        from benison.pipelines.tracking import sending

        for warning in sending.after_run(root, run, found).warnings:
            print(f"warning: {warning}", file=sys.stderr)


@contextmanager
def _warning(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever it is, the run has ended as it has
        print(f"warning: {what}: {error}", file=sys.stderr)
