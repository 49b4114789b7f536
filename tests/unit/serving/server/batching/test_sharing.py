"""Requests share runs if the graph keeps rows apart, or if the owner asks for it; never if a run writes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from benison.serving.server.batching import routes, sharing
from benison.serving.server.batching.limits import BatchLimits
from benison.serving.server.batching.sharing import SharingPolicy
from benison.serving.server.engine import LoadOptions
from benison.serving.server.engines.saved_model import SessionEngine

v1 = tf.compat.v1
APART = "shared: its graph keeps the rows of a run apart"
MIXES = "Max Max: it combines the rows"
EFFECT = "AssignAddVariableOp AssignAddVariableOp has a lasting effect"


def _signature(inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
    infos = [{n: v1.saved_model.build_tensor_info(t) for n, t in tensors.items()} for tensors in (inputs, outputs)]
    return v1.saved_model.build_signature_def(*infos, "tensorflow/serving/predict")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel with a signature of each kind."""
    folder = tmp_path_factory.mktemp("model") / "1"
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], "x")
        examples = v1.placeholder(tf.string, [None], "examples")
        counter = v1.get_variable("counter", initializer=0.0)
        reference = v1.get_variable("reference", initializer=2.0, use_resource=False)
        declared = _signature({"inputs": examples}, {"outputs": tf.strings.to_number(examples) + reference})
        declared.inputs["inputs"].dtype = tf.float32.as_datatype_enum
        declared_output = _signature({"x": x}, {"whole": tf.cast(x, tf.int64), "text": tf.strings.as_string(x)})
        for info in declared_output.outputs.values():
            info.dtype = tf.float32.as_datatype_enum
        signatures = {
            "apart": _signature({"x": x}, {"y": x * 2}),
            "scaled": _signature({"x": x}, {"y": x / tf.maximum(1000.0, tf.reduce_max(x))}),
            "counted": _signature({"x": x}, {"y": 0 * x + counter.assign_add(1.0)}),
            "declared": declared,
            "declared_output": declared_output,
            "reference": _signature({"x": x}, {"y": v1.assign(reference, 2.0, validate_shape=False)}),
        }
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    return folder


@pytest.fixture(scope="module")
def engine(model: Path) -> SessionEngine:
    return SessionEngine(str(model), LoadOptions())


@pytest.fixture
def decided(engine: SessionEngine, model: Path) -> Callable[..., dict[str, str]]:
    def function(policy: SharingPolicy, **failed_trials: str) -> dict[str, str]:
        decisions = sharing.decide(engine, str(model), policy, failed_trials, "model m version 1").describe()
        return {name: decisions[name] for name in ("apart", "counted", "scaled")}

    return function


def test_the_graph_decides_and_a_trial_may_take_permission_away(decided: Callable[..., dict[str, str]]) -> None:
    expected = {"apart": APART, "counted": f"alone: {EFFECT}", "scaled": f"alone: {MIXES}"}
    assert decided(SharingPolicy()) == expected
    assert decided(SharingPolicy(), apart="y differs") == {**expected, "apart": "alone: y differs"}


def test_the_owner_may_ask_for_shared_runs_but_not_of_a_signature_that_writes(
    decided: Callable[..., dict[str, str]], model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    although = f"asks for it, although the answer to a row may depend on others: {MIXES}"
    expected = {"apart": APART, "counted": f"alone: {EFFECT}", "scaled": f"shared: --enable_batching {although}"}
    assert decided(SharingPolicy(asked_by=sharing.ASKED_BY_FLAG)) == expected
    assert not caplog.text
    (model / "manifest.json").write_text(json.dumps({"serving": {"share_runs": True}}))
    try:
        by_manifest = f"shared: serving.share_runs of its manifest {although}"
        assert decided(SharingPolicy()) == {**expected, "scaled": by_manifest}
    finally:
        (model / "manifest.json").unlink()
    assert f"model m version 1: requests for scaled share runs: {by_manifest.removeprefix('shared: ')}" in caplog.text


def test_the_environment_turns_sharing_off_whatever_the_owner_says(decided: Callable[..., dict[str, str]]) -> None:
    policy = SharingPolicy(enabled=False, asked_by=sharing.ASKED_BY_FLAG)
    assert set(decided(policy).values()) == {"alone: BENISON_SHARE_RUNS is off"}


def test_nothing_is_tried_with_a_signature_that_writes(model: Path) -> None:
    engine = SessionEngine(str(model), LoadOptions())
    plan = routes.plan_routes(engine, str(model), BatchLimits())
    assert plan["counted"].describe()["because"] == [f"not inline: {EFFECT}, so nothing is tried"]
    first = engine.run(engine.signatures["counted"], {"x": np.zeros(1, np.float32)}, ("y",))
    assert first["y"].tolist() == [1]


def test_the_graphs_types_count_and_not_the_declared_ones(engine: SessionEngine) -> None:
    signature = engine.signatures["declared"]
    assert signature.inputs["inputs"].dtype == "string"
    assert engine.run(signature, {"inputs": np.array([b"1.5"], object)}, ("outputs",))["outputs"].tolist() == [3.5]
    outputs = engine.signatures["declared_output"].outputs
    assert {name: spec.dtype for name, spec in outputs.items()} == {"whole": "int64", "text": "string"}
    assert engine.signatures["reference"].outputs["y"].dtype == "float32"
    assert engine.signatures["reference"].writes == "Assign Assign"
