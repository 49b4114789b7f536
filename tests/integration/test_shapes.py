"""Pipelines in the shapes of TFX's public examples leave by LocalRunner what they leave by LocalDagRunner.

Two differences are on purpose, and docs/pipelines.md names them: some environment variables, and a node that depends on
a skipped one.
"""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration import left_behind

pytestmark = pytest.mark.soak

SCRIPT = Path(__file__).parent / "shapes" / "shapes.py"
SHAPES = (
    "simple",
    "tuner",
    "baseline",
    "conditions",
    "importers",
    "functions",
    "spans",
    "inference",
    "executors",
    "loops",
)
OWN_VARIABLES = ("PYTHONPATH", "PYTHONUNBUFFERED", "TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS", "KERAS_BACKEND")


@pytest.mark.parametrize("shape", SHAPES)
def test_a_public_shape_leaves_the_same_by_both_runners(shape: str, tmp_path: Path) -> None:
    started = []
    for runner in ("tfx", "benison"):
        (tmp_path / runner).mkdir()
        with (tmp_path / f"{runner}.log").open("w") as log:
            command = [sys.executable, str(SCRIPT), shape, runner]
            started.append(subprocess.Popen(command, cwd=tmp_path / runner, stdout=log, stderr=subprocess.STDOUT))
    for runner, process in zip(("tfx", "benison"), started, strict=True):
        assert process.wait(1000) == 0, (tmp_path / f"{runner}.log").read_text()[-5000:]
    by_tfx, by_benison = (_left(tmp_path / runner) for runner in ("tfx", "benison"))
    assert any(name.startswith("Last") for name in by_tfx)
    assert left_behind.differences(by_tfx, by_benison) == []


def _left(folder: Path) -> dict[str, Any]:
    left = left_behind.executions(folder / "tfx/metadata/metadata.db", folder, _examples())
    for execution in left.values():
        for output in execution["outputs"].values():
            if isinstance(output, dict):
                _leave_out_what_differs_on_purpose(output)
    return left


def _leave_out_what_differs_on_purpose(output: dict[str, Any]) -> None:
    if output["type"] == "PushedModel":  # a version is named after the time
        for name in ("pushed_destination", "pushed_version"):
            output["properties"].pop(name, None)  # a model that is not blessed has none
    found = output["content"].get(".") if isinstance(output["content"], dict) else None
    if isinstance(found, dict) and "environment" in found:
        for variable in OWN_VARIABLES:
            found["environment"].pop(variable, None)
        found["path"] = list(dict.fromkeys(found["path"]))  # IPython adds its folder at each import
        assert found.pop("unseeded") != random.Random(1).random()


def _examples() -> list[bytes]:
    """Return rows for the models to predict."""
    import tensorflow as tf

    draw = random.Random(5)
    rows = []
    for _ in range(30):
        numbers = {"weight": draw.uniform(90, 210), "width": draw.uniform(3, 10)}
        feature = {name: tf.train.Feature(float_list=tf.train.FloatList(value=[n])) for name, n in numbers.items()}
        colour = draw.choice([b"red", b"green", b"blue"])
        feature["colour"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[colour]))
        feature["ripe"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[draw.randrange(2)]))
        rows.append(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return rows
