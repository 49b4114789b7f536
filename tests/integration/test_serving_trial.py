"""A candidate on a real model server: it is refused if its paths disagree or a budget is exceeded."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from benison.components.deploy.serving_trial import ServingBudget, ServingTrial
from benison.serving.ensemble import Ensemble, WeightedMean

ROOMY = ServingBudget(load_s=300, memory_mb=8000, p99_ms=5000)
COLUMNS = {
    "x": tf.io.FixedLenFeature([1], tf.float32),
    "s": tf.io.FixedLenFeature([1], tf.string),
    "y": tf.io.FixedLenFeature([1], tf.float32),
}
SPEC = Ensemble(members=("a", "b"), combiner=WeightedMean(weights={"a": 1, "b": 3}), output="prediction")


def save(folder: Path, slope: Any, padding: int = 0, work: int = 0, longest: int = 10_000) -> Path:
    """Save a model with prediction = slope x + length of s, with extra floats (padding) and multiplications (work).

    It refuses texts longer than `longest`.
    """
    module = tf.Module()
    if padding:
        module.padding = tf.Variable(tf.zeros([padding]))
    square = tf.constant(np.eye(200, dtype=np.float32))

    def predict(x: Any, s: Any) -> dict[str, Any]:
        with tf.control_dependencies([tf.debugging.assert_less_equal(tf.strings.length(s), longest)]):
            s = tf.identity(s)
        finite = tf.where(tf.math.is_finite(x), x, 0.0)
        busy = tf.while_loop(
            lambda i, _: i < work, lambda i, m: (i + 1, m @ square + 1e-9), [0, square + tf.reduce_sum(finite)]
        )[1]
        y = slope * finite + tf.cast(tf.strings.length(s), tf.float32) + 0.0 * busy[0, 0]
        return {"prediction": y[:, None]}

    def raw(x: Any, s: Any) -> dict[str, Any]:
        return predict(x, s)

    def serving_default(examples: Any) -> dict[str, Any]:
        parsed = tf.io.parse_example(examples, {name: COLUMNS[name] for name in ("x", "s")})
        return predict(parsed["x"][:, 0], parsed["s"][:, 0])

    signatures = {
        "raw": tf.function(raw, [tf.TensorSpec([None], tf.float32, "x"), tf.TensorSpec([None], tf.string, "s")]),
        "serving_default": tf.function(serving_default, [tf.TensorSpec([None], tf.string, "examples")]),
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder


def records() -> np.ndarray:
    """Return serialised examples with the three columns."""
    feature = tf.train.Feature

    def record(i: int) -> bytes:
        columns = {
            "x": feature(float_list=tf.train.FloatList(value=[i / 10])),
            "s": feature(bytes_list=tf.train.BytesList(value=[b"ab" * i])),
            "y": feature(float_list=tf.train.FloatList(value=[0.0])),
        }
        return bytes(tf.train.Example(features=tf.train.Features(feature=columns)).SerializeToString())

    return np.array([record(i) for i in range(20)], object)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("members")
    return {"a": save(folder / "a", 1.0), "b": save(folder / "b", 2.0)}


def tried(candidate: Path, members: dict[str, Path], budget: ServingBudget = ROOMY) -> dict[str, Any]:
    return asyncio.run(ServingTrial(SPEC, candidate, members, budget, records(), COLUMNS, "y").run())


def refusals(record: dict[str, Any]) -> dict[str, str]:
    return {verdict["rule"]: verdict["reason"] for verdict in record["verdicts"] if not verdict["passed"]}


def test_a_candidate_equal_to_its_members_passes_on_every_path(members: dict[str, Path], tmp_path: Path) -> None:
    record = tried(save(tmp_path / "fused", 1.75), members)
    assert refusals(record) == {}
    assert record["blessed"]
    assert {path["path"] for path in record["parity"]} == {"fused gRPC", "fused REST", "fan-out", "examples"}
    assert record["rows"]["real"] == 20
    assert record["rows"]["all"] > 20


def test_a_changed_constant_is_refused_and_the_reason_names_the_path(members: dict[str, Path], tmp_path: Path) -> None:
    record = tried(save(tmp_path / "fused", 1.751), members)
    assert not record["blessed"]
    assert set(refusals(record)) == {"parity of fused gRPC", "parity of fused REST", "parity of examples"}
    assert "differs from the training path by" in refusals(record)["parity of fused REST"]


@pytest.mark.parametrize(
    ("options", "budget", "rule", "unit"),
    [
        ({"padding": 125_000_000}, ServingBudget(300, 800, 5000), "peak memory <= 800 MB", " MB"),
        ({"work": 400}, ServingBudget(300, 8000, 20), "p99 latency <= 20 ms", " ms"),
    ],
    ids=["500 MB of padding", "50 ms of work"],
)
def test_an_exceeded_budget_is_measured_again_and_refused_with_the_figure(
    members: dict[str, Path], tmp_path: Path, options: dict[str, int], budget: ServingBudget, rule: str, unit: str
) -> None:
    record = tried(save(tmp_path / "fused", 1.75, **options), members, budget)
    (reason,) = refusals(record).values()
    assert set(refusals(record)) == {rule}
    assert ", the best of 3 attempts; the budget is " in reason
    assert unit in reason
    assert len(record["measured"]) == 3


def test_boundary_rows_that_the_members_refuse_are_refused_by_the_candidate_too(tmp_path: Path) -> None:
    members = {name: save(tmp_path / name, slope, longest=100) for name, slope in (("a", 1.0), ("b", 2.0))}
    record = tried(save(tmp_path / "fused", 1.75, longest=100), members)
    assert refusals(record) == {}
    assert record["rows"]["refused"] == 2
    assert record["verdicts"][4]["reason"] == "0 of 2 boundary rows that the members refuse get an answer"
    record = tried(save(tmp_path / "lax", 1.75), members)
    assert refusals(record) == {
        "refuses what its members refuse": "2 of 2 boundary rows that the members refuse get an answer"
    }


def test_a_candidate_that_does_not_load_is_refused_and_says_why(members: dict[str, Path], tmp_path: Path) -> None:
    candidate = save(tmp_path / "fused", 1.75)
    trial = ServingTrial(SPEC, candidate, members, ROOMY, records(), COLUMNS, "y")
    (candidate / "saved_model.pb").write_bytes(b"\x00broken")
    record = asyncio.run(trial.run())
    assert not record["blessed"]
    (reason,) = refusals(record).values()
    assert reason.startswith("the server ")
    assert "candidate" in reason


@pytest.mark.soak
def test_the_verdict_is_the_same_in_twenty_runs(members: dict[str, Path], tmp_path: Path) -> None:
    good, bad = save(tmp_path / "good", 1.75), save(tmp_path / "bad", 1.7501)
    budget = ServingBudget(120, 4096, 250)
    for _ in range(20):
        assert tried(good, members, budget)["blessed"]
        assert not tried(bad, members, budget)["blessed"]
