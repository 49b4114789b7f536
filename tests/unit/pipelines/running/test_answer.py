"""The output of the processes that a scheduler starts."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
from benison.pipelines.running.answer import answer_and_exit
from benison.pipelines.running.node_result import failed_result

def work():
    print("column si\\x1b[31mze")
    return failed_result(ValueError("class no\\x1b[2J")), {}

answer_and_exit(work)
"""


def test_names_of_users_cannot_control_the_terminal_of_who_reads_the_log() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert (done.returncode, "\x1b" in done.stdout + done.stderr) == (1, False)
    assert done.stderr.splitlines()[0] == r"column si\x1b[31mze"
    assert r"class no\x1b[2J" in done.stderr
    assert "class no\x1b[2J" in json.loads(done.stdout)["reason"]
