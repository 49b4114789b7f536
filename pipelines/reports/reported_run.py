"""Runs that leave a report: `run_page` writes it when the run has ended, however it ended."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benison.pipelines.records import runs


@contextmanager
def begin(root: Path, pipeline: str) -> Iterator[runs.Run]:
    """Begin a run as `runs.begin` does, and write its report after its end.

    Raises:
        UsageError: a run of this pipeline is under way.
        OSError: ROOT cannot be written to; the error names it.
    """
    run: runs.Run | None = None
    try:
        with runs.begin(root, pipeline) as run:
            yield run
    finally:
        if run is not None and run.folder.is_dir():
            report(run, root)


def report(run: runs.Run, root: Path) -> Path | None:
    """Write the report of a run, and the index, which links to it; a failure is only a warning on stderr.

    Returns:
        The report; None if it could not be written.
    """
    file = _written(run, root)
    from benison.pipelines.reports import index_page

    index_page.refresh(root)
    return file


def _written(run: runs.Run, root: Path) -> Path | None:
    """Write the report; if that fails, only print a warning to stderr, because the run's own outcome counts."""
    try:
        from benison.pipelines.reports import run_page

        return run_page.write(run, root)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        print(f"warning: the report of run {run.id} could not be written ({reason})", file=sys.stderr)
        return None
