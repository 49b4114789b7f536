"""The last task of a scheduler's run, whatever became of the others: settles the outcome in `run.json`.

    python -m benison.pipelines.finish --run-id RUN [--root DIR]

What it answers: see `benison.pipelines.running.answer`. That a node failed or refused is that node's to say, and has
been told to whom it concerns; settling the run went well all the same.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benison.pipelines.running import scheduled
from benison.pipelines.running.answer import answer
from benison.pipelines.running.node_result import Result

_NOT_WELL = ("failed", "invalid", "not_blessed")


def finish(run_id: str, root: Path) -> tuple[Result, Mapping[str, Any]]:
    """Settles a run.

    Args:
        run_id: of a run that was begun.
        root: ROOT.

    Returns:
        The result, its reason what the nodes gave as theirs; and `outcome`, see `benison.pipelines.records.runs.Run`.

    Raises:
        UsageError: there is no such run.
    """
    run = scheduled.finish(root, run_id)
    said = [f"{node.id}: {node.reason}" for node in run.nodes if node.state in _NOT_WELL]
    return Result("complete", reason="; ".join(said)), {"outcome": run.outcome}


def main() -> None:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(prog="python -m benison.pipelines.finish")
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--root", type=Path, default=Path(os.environ.get("BENISON_ROOT", ".benison")))
    args = parser.parse_args()
    answer(lambda: finish(args.run_id, args.root.absolute()))


if __name__ == "__main__":
    main()
