"""The last task of a scheduled run, even after failed nodes: write the run's outcome into `run.json`.

    python -m benison.pipelines.finish --run-id RUN [--root DIR] [--tasks JSON]

`benison.pipelines.running.answer` describes its output. Its own result is `complete` even where a node failed or
refused a model: that node has reported it already.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benison.pipelines import made_from
from benison.pipelines.airflow import manifest
from benison.pipelines.config import Pipeline
from benison.pipelines.records import temporary
from benison.pipelines.records.runs import Run
from benison.pipelines.reports import after_run, reported_run
from benison.pipelines.running import scheduled_run
from benison.pipelines.running.answer import answer_and_exit
from benison.pipelines.running.node_result import Result

_WITH_REASON = ("failed", "invalid", "not_blessed", "not_pushed")


def finish(run_id: str, root: Path, tasks: Mapping[str, str] | None = None) -> tuple[Result, Mapping[str, Any]]:
    """Write the outcome of a run.

    Args:
        run_id: a run that Begin started.
        root: ROOT.
        tasks: the state of each node's task in Airflow, if the scheduler is Airflow.

    Returns:
        The result, with the nodes' reasons joined; `outcome`, see `benison.pipelines.records.runs.Run`; and `page`, the
        link to the run's report.

    Raises:
        UsageError: there is no such run.
    """
    run = scheduled_run.finish(root, run_id, tasks)
    temporary.sweep(root)
    page = reported_run.report(run, root)
    after_run.follow(root, run, lambda: _config(root, run))
    reasons = [f"{node.id}: {node.reason}" for node in run.nodes if node.state in _WITH_REASON]
    link = {"page": page.as_uri()} if page else {}
    return Result("complete", reason="; ".join(reasons)), {"outcome": run.outcome, **link}


def _config(root: Path, run: Run) -> Pipeline | None:
    """Return the config of a run, with the values of the form; None for a pipeline that was written in Python."""
    file = Path(scheduled_run.read_settings(root, run.id).manifest)
    if not file.name:  # an earlier release has not recorded it
        return None
    values = {key: json.loads(value) for key, value in run.sets.items() if value != made_from.LEFT_OUT}
    return manifest.config_of(file, manifest.read(file), values)


def main() -> None:
    """Run the command line; see the module."""
    parser = argparse.ArgumentParser(prog="python -m benison.pipelines.finish")
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--root", type=Path, default=Path(os.environ.get("BENISON_ROOT", ".benison")))
    parser.add_argument("--tasks", type=json.loads, metavar="JSON", help="states of Airflow's tasks, by node")
    args = parser.parse_args()
    answer_and_exit(lambda: finish(args.run_id, args.root.absolute(), args.tasks))


if __name__ == "__main__":
    main()
