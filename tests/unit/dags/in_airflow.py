"""Run Python code in Airflow's own environment, where dags/ can be imported and TensorFlow cannot."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CLONE = Path(__file__).parents[3]
PYTHON = CLONE / ".airflow-venv/bin/python"

# One process imports Airflow, which takes seconds; each piece of code runs in a fork of it. An import of a trapped
# package breaks the rule that dags/ needs only Airflow.
_SERVER = f"""
import json, os, sys, traceback
class Trap:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tfx", "keras", "apache_beam", "benison"):
            raise AssertionError(name + " is imported")
sys.meta_path.insert(0, Trap())
sys.path.insert(0, {str(CLONE / "dags")!r})
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
import airflow.sdk, airflow.providers.standard.operators.trigger_dagrun
from airflow.sdk import DAG, BaseOperator, Param, TaskGroup
for line in sys.stdin:
    request = json.loads(line)
    if os.fork() == 0:
        os.environ.update(request["environment"])
        names = {{}}
        try:
            exec(request["code"], names)
            answer = {{"result": names["result"]}}
        except BaseException:
            answer = {{"error": traceback.format_exc()}}
        print(json.dumps(answer), file=answers, flush=True)
        os._exit(0)
    os.wait()
"""


class InAirflow:
    """A process of Airflow's environment."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, code: str, **environment: str) -> Any:
        """Run a piece of code and return its variable `result`, by JSON.

        Raises:
            AssertionError: the code raised an exception; the message is its traceback.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"code": code, "environment": environment}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": "the process ended"}
        assert "error" not in answer, answer["error"]
        return answer["result"]


@contextmanager
def started(home: Path) -> Iterator[InAirflow]:
    """Start the process; `home` is Airflow's home."""
    assert PYTHON.exists(), f"no {PYTHON}: make airflow-setup"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BENISON_", "AIRFLOW"))}
    pipe = subprocess.PIPE
    command = [str(PYTHON), "-c", _SERVER]
    with subprocess.Popen(
        command, env={**kept, "AIRFLOW_HOME": str(home)}, stdin=pipe, stdout=pipe, text=True
    ) as process:
        yield InAirflow(process)
