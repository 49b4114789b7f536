"""Streams that show control characters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

AS_A_NODE_UNDER_AIRFLOW = """
import os, sys
print("before", flush=True)
reader, writer = os.pipe()
os.dup2(writer, 1)
from benison.pipelines.visible_streams import show_control_characters
show_control_characters()
print("after \\x1b[31m \\ud800", flush=True)
sys.stderr.write(os.read(reader, 100).decode())
"""


def test_a_stream_may_have_become_a_pipe(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        done = subprocess.run(
            [sys.executable, "-c", AS_A_NODE_UNDER_AIRFLOW], stdout=log, stderr=subprocess.PIPE, text=True, check=True
        )
    assert done.stderr == "after \\x1b[31m \\ud800\n"
    assert (tmp_path / "log").read_text() == "before\n"
