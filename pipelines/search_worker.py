"""Help a Tuner of a scheduled run: run trials of its search, on this machine, until it ends.

    python -m benison.pipelines.search_worker --run RUN --node ID --number N [--root DIR]

The scheduler starts it beside the Tuner, whose `scheduled_node` has the option `--helped`. The Tuner does not wait for
its helpers: it runs trials itself, and takes back the trial of a helper that dies. So this succeeds whenever there is
nothing to do. `benison.pipelines.running.answer` describes the output.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benison.components import legacy_keras
from benison.components.tuning.mailbox import CHIEF_FILE
from benison.pipelines.quiet import quieten
from benison.pipelines.records import temporary
from benison.pipelines.running import live_log, scheduled_run, search_announcement
from benison.pipelines.running.answer import answer_and_exit
from benison.pipelines.running.node_result import Result
from benison.serving.errors import NodeFailed

_POLL_S = 0.5
_LONGEST_WAIT_S = 300.0  # for the search to begin


def help_search(root: Path, run_id: str, node_id: str, number: int) -> tuple[Result, Mapping[str, Any]]:
    """Wait for the search of a Tuner, and run trials of it until it ends.

    Args:
        root: ROOT.
        run_id: a run that Begin started.
        node_id: the Tuner.
        number: number of this helper.

    Returns:
        The result, which is complete.

    Raises:
        UsageError: there is no such run.
    """
    folder = scheduled_run.run_folder(root, run_id)
    scheduled_run.use_import_path(scheduled_run.read_settings(root, run_id))
    with live_log.log_to_file(folder / f"{node_id}.helper-{number}.log"):
        search = _wait(search_announcement.file(folder, node_id))
        if search is None:
            return Result("complete", reason=f"{node_id} has ended, or has not begun to search"), {}
        quieten()
        legacy_keras.settle_keras()
        from benison.components.tuning import processes

        try:
            with temporary.folder(root, run_id, f"{node_id}.helper-{number}") as own, temporary.use(own):
                processes.join(search, number)
        except NodeFailed as error:
            return Result("complete", reason=str(error)), {}
        return Result("complete"), {}


def _wait(announcement: Path) -> Path | None:
    """Return the folder of a search when it has begun; None if it has ended, or does not begin."""
    until = time.monotonic() + _LONGEST_WAIT_S
    while time.monotonic() < until:
        found = search_announcement.read(announcement)
        if found == search_announcement.ENDED:
            return None
        if found and (Path(found) / CHIEF_FILE).exists():
            return Path(found)
        time.sleep(_POLL_S)
    return None


def main() -> None:
    """Run the command line; see the module."""
    parser = argparse.ArgumentParser(prog="python -m benison.pipelines.search_worker")
    parser.add_argument("--run", required=True, metavar="RUN")
    parser.add_argument("--node", required=True)
    parser.add_argument("--number", required=True, type=int)
    parser.add_argument("--root", type=Path, default=Path(os.environ.get("BENISON_ROOT", ".benison")))
    args = parser.parse_args()
    answer_and_exit(lambda: help_search(args.root.absolute(), args.run, args.node, args.number))


if __name__ == "__main__":
    main()
