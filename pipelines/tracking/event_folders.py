"""The event files of trainers and trials under readable names: a folder of links that TensorBoard reads.

RUN/Trainer.deep/train      the losses of a member by epoch or tree
RUN/Tuner.deep/0/train      the same of a trial
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from benison.components.train.history import EVENTS
from benison.pipelines.records import runs
from benison.pipelines.records.runs import Run
from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError

_OUTPUTS = {"model_run": "", "tuner_results": EVENTS}  # outputs with event files, and the folder in them


def choose(root: Path, pipeline: str, run_id: str | None) -> list[Run]:
    """Return the runs of a pipeline that have event files, or one of them.

    Args:
        root: ROOT.
        pipeline: the pipeline's name.
        run_id: the run; None for all.

    Raises:
        UsageError: there is no such run, or no event file.
    """
    history = {run.id: run for run in runs.history(root) if run.pipeline == pipeline}
    if run_id is not None and run_id not in history:
        raise UsageError(
            f"--run {run_id}: {root} has no run of {pipeline} with this id{did_you_mean(run_id, history, 0.9)}"
        )
    chosen = [run for run in history.values() if run_id in (None, run.id) and any(_folders(run, run_id is not None))]
    if not chosen:
        which = f"run {run_id}" if run_id else f"no run of {pipeline} in {root}"
        verb = "has no event files" if run_id else "has event files"
        raise UsageError(
            f"{which} {verb}: a Trainer writes them, and pruning removes them; first: benison run {pipeline}"
        )
    return chosen


def link(chosen: Sequence[Run], folder: Path, *, cached: bool) -> None:
    """Add the links to the event files of runs.

    Args:
        chosen: the runs.
        folder: the folder for TensorBoard; links in it stay.
        cached: also link what a run took from an earlier one.
    """
    for run in chosen:
        for name, target in _folders(run, cached):
            path = folder / run.id / name
            if not path.is_symlink():
                path.parent.mkdir(parents=True, exist_ok=True)
                os.symlink(target, path)


def _folders(run: Run, cached: bool) -> Iterator[tuple[str, Path]]:
    """Yield the folders of event files of a run, each with its name."""
    for node in run.nodes:
        if not cached and (node.origin or node.state == "cached"):
            continue
        for key, inner in _OUTPUTS.items():
            for output in node.outputs.get(key, ()):
                folder = Path(output["uri"]) / inner
                if next(folder.rglob("events.out.tfevents.*"), None) is not None:
                    yield node.id, folder
