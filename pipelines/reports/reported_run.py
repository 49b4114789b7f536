"""Runs whose report is written, and whose trackers are notified, when they have ended, however they ended."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benison.pipelines.records import runs
from benison.pipelines.reports import after_run

if TYPE_CHECKING:
    from benison.pipelines.config import Pipeline


@contextmanager
def begin(root: Path, pipeline: str, config: Pipeline | None = None) -> Iterator[runs.Run]:
    """Begin a run as `runs.begin` does; after its end write its report, and follow it.

    Args:
        root: ROOT.
        pipeline: the pipeline's name.
        config: its config, which names what to notify of the run; None for nothing.

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
            if config is not None:
                after_run.follow(root, run, lambda: config)


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
