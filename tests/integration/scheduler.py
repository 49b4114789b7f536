"""Run a compiled pipeline as a scheduler does: one process per task, with nothing but the manifest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Answered:
    """The answer, the output and the exit code of a task's process."""

    code: int
    answer: dict[str, Any]
    printed: str


@dataclass(frozen=True)
class Scheduler:
    """A manifest, a ROOT and a run's id."""

    manifest: Path
    root: Path
    run_id: str

    @property
    def folder(self) -> Path:
        return self.root / "runs" / self.run_id

    @property
    def nodes(self) -> list[dict[str, Any]]:
        return list(json.loads(self.manifest.read_text())["nodes"])

    def begin(self, *params: str) -> Answered:
        options = [word for param in params for word in ("--param", param)]
        return ended(self._start("begin", "--manifest", str(self.manifest), "--run-id", self.run_id, *options))

    def start(self, node: str) -> subprocess.Popen[str]:
        return self._start("scheduled_node", "--run", self.run_id, "--node", node)

    def node(self, node: str) -> Answered:
        return ended(self.start(node))

    def finish(self) -> Answered:
        return ended(self._start("finish", "--run-id", self.run_id))

    def run_json(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "run.json").read_text()))

    def states(self) -> dict[str, str]:
        return {node["id"]: node["state"] for node in self.run_json()["nodes"]}

    def _start(self, task: str, *words: str) -> subprocess.Popen[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("BENISON_")}
        # In another folder, like an Airflow worker: a `benison` in the current folder must not be imported.
        return subprocess.Popen(
            [sys.executable, "-m", f"benison.pipelines.{task}", "--root", str(self.root), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.manifest.parent,
            env=environment,
            start_new_session=True,
        )


def ended(process: subprocess.Popen[str]) -> Answered:
    """Wait for a task's process and for all processes that hold its pipes."""
    stdout, stderr = process.communicate(timeout=300)
    lines = stdout.splitlines()
    return Answered(process.returncode, json.loads(lines[-1]) if lines else {}, stderr)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until a condition holds while a process runs.

    Raises:
        AssertionError: the process ended first.
    """
    while not condition():
        assert process.poll() is None, process.communicate()
