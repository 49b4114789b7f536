"""Follow each run, also one that failed: send its OpenLineage events, and tell trackers. It never fails a run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benison.pipelines.records import runs

if TYPE_CHECKING:
    from benison.pipelines.config import Pipeline


@contextmanager
def following(root: Path, config: Pipeline) -> Iterator[None]:
    """Follow the run of the block, whether it ends well or not.

    Args:
        root: ROOT.
        config: its config.
    """
    began = time.time()
    try:
        yield
    finally:
        mine = [run for run in runs.history(root) if run.pipeline == config.name and run.started >= began]
        if mine:
            follow(root, mine[-1], config.lineage.openlineage or "", lambda: config)


def follow(
    root: Path, run: runs.Run, openlineage: str = "", config: Callable[[], Pipeline | None] = lambda: None
) -> None:
    """Follow a run that has ended.

    Args:
        root: ROOT.
        run: the run.
        openlineage: a file or an address for its events; '' for none.
        config: returns the run's config, which names its trackers; None for a pipeline without one.
    """
    if openlineage:
        _attempt("OpenLineage", lambda: _send_events(root, run, openlineage))
    _attempt("tracking", lambda: _track(root, run, config()))


def _send_events(root: Path, run: runs.Run, place: str) -> None:
    from benison.pipelines.lineage import graph
    from benison.pipelines.lineage import openlineage as events

    events.send(graph.of_run(root, run), place)


def _track(root: Path, run: runs.Run, config: Pipeline | None) -> None:
    from benison.pipelines.tracking import sending

    if config is not None:
        for warning in sending.after_run(root, run, config).warnings:
            print(f"warning: {warning}", file=sys.stderr)


def _attempt(what: str, work: object) -> None:
    try:
        work()  # type: ignore[operator]
    except Exception as error:  # whatever it is, the run has ended as it has
        print(f"warning: {what}: {error}", file=sys.stderr)
