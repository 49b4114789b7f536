"""Logs of nodes can be read by their owner and group only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from benison.pipelines.running.live_log import log_to_file, open_log


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_log_is_not_readable_by_everybody(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        os.close(open_log(tmp_path / "run" / "Trainer.log"))
        with log_to_file(tmp_path / "run" / "Pusher.log"):
            os.write(1, b"a row\n")
    finally:
        os.umask(before)
    assert mode(tmp_path / "run" / "Trainer.log") == mode(tmp_path / "run" / "Pusher.log") == 0o640
    assert (tmp_path / "run" / "Pusher.log").read_text() == "a row\n"
