"""A node computes the same in any order of nodes in one worker as in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from benison.pipelines.compilation.compiled import Compiled, Node
from benison.pipelines.config_file import load
from benison.pipelines.running.workers import Worker
from tests.integration import left_behind
from tests.integration.conftest import Project, make

pytestmark = pytest.mark.soak

# State at module level, as a user may write it: what a member finds there must not depend on the members before it.
STATEFUL = """

import numpy as np

DRAWS = np.random.default_rng(5)


def drawn(inputs, hp):
    return layers.Rescaling(DRAWS.uniform(0.5, 2))(layers.Concatenate()(list(inputs.values())))


def again(inputs, hp):
    return drawn(inputs, hp)
"""
MEMBERS = """
    drawn: {epochs: 30, hyperparameters: {learning_rate: 0.03}}
    again: {epochs: 30, hyperparameters: {learning_rate: 0.03}}
    deep:
      epochs: 8
      hyperparameters: {dropout: 0.1}
      tuner: {trials: 2, epochs: 1, space: {units: [16, 32]}}
blessing:
  rules: [{metric: accuracy, min: 0.1}]
"""


DATED = ("ServingValidator", "Pusher")  # what they leave is measured and named after the time


def in_one_worker(ir: Path, nodes: Sequence[Node], root: Path) -> None:
    worker = Worker()
    try:
        for node in nodes:
            words = {"ir": str(ir), "node": node.name, "run_id": "one", "root": str(root), "cache": False}
            worker.send(operation="run", log=str(root / f"{node.id}.log"), **words)
            answer = worker.receive()
            assert answer["state"] == "complete", (node.id, answer)
    finally:
        worker.end()


def in_fresh_processes(ir: Path, nodes: Sequence[Node], root: Path) -> None:
    for node in nodes:
        words = ["--ir", str(ir), "--node", node.name, "--run-id", "one", "--root", str(root), "--no-cache"]
        command = [sys.executable, "-m", "benison.pipelines.node", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert json.loads(done.stdout.splitlines()[-1])["state"] == "complete", done.stdout + done.stderr


def _last_first(nodes: Sequence[Node]) -> list[Node]:
    """Return another topological order: of the nodes that can run, the last one is the next."""
    order: list[Node] = []
    while len(order) < len(nodes):
        ran = {node.id for node in order}
        order.append([node for node in nodes if node.id not in ran and ran.issuperset(node.upstream)][-1])
    return order


def _project(folder: Path) -> Project:
    project = make(folder)
    project.models.write_text(project.models.read_text() + STATEFUL)
    yaml = folder / "birds.yaml"
    yaml.write_text(yaml.read_text().partition("  members:")[0] + "  members:" + MEMBERS)
    return project


def test_two_orders_in_one_worker_and_a_process_for_each_node_leave_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    project = _project(tmp_path / "birds")
    ways: dict[str, tuple[Callable[..., None], Callable[[Sequence[Node]], Sequence[Node]]]] = {
        "in order": (in_one_worker, list),
        "in another order": (in_one_worker, _last_first),
        "fresh": (in_fresh_processes, list),
    }
    left: dict[str, Any] = {}
    monkeypatch.chdir(project.folder)
    config = load("birds.yaml")
    examples: list[bytes] = []
    orders = []
    for name, (run, sort) in ways.items():
        root = tmp_path / name.replace(" ", "-")
        compiled = _compile(config, root)
        order = sort([node for node in compiled.nodes if node.id not in DATED])
        orders.append([node.id for node in order])
        run(compiled.ir, order, root)
        examples = examples or _examples(root)
        left[name] = left_behind.executions(root / "metadata.sqlite", root, examples)
    assert orders[0] != orders[1]
    assert left_behind.differences(left["in order"], left["in another order"]) == []
    assert left_behind.differences(left["in order"], left["fresh"]) == []


def _compile(config: Any, root: Path) -> Compiled:
    worker = Worker()
    try:
        common = {"ir": str(root / "pipeline.json"), "root": str(root), "log": str(root / "compile.log")}
        worker.send(operation="compile", config=config.model_dump(mode="json"), span=None, only_ingest=False, **common)
        compiled = Compiled.from_json(worker.receive()["compiled"])
        worker.send(operation="tidy", run_id="one", **common)
        worker.receive()
    finally:
        worker.end()
    return compiled


def _examples(root: Path) -> list[bytes]:
    """Return ten rows, in a fixed order."""
    import tensorflow as tf

    (file,) = root.glob("**/CsvExampleGen/examples/*/Split-test/*.gz")
    return sorted(tf.data.TFRecordDataset(str(file), compression_type="GZIP").as_numpy_iterator())[:10]
