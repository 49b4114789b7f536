"""Random ensembles give the same answers fused into one SavedModel, as a fan-out over a real server, and in NumPy."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from benison.components.deploy import candidate_server
from benison.serving.ensemble import IDENTITY, Ensemble
from benison.serving.errors import EnsembleError
from benison.serving.fan_out import Answer, Endpoint, FanOut
from benison.serving.seldon.bindings import SavedModel
from benison.serving.seldon.fusion import fuse
from benison.serving.seldon.imported_ensemble import ImportedEnsemble
from tests.ensembles import CLASSIFIERS, REGRESSORS, random_spec, reference

WIDTH = 3
KINDS = [*((kind, "probabilities") for kind in CLASSIFIERS), *((kind, "prediction") for kind in REGRESSORS)]


def save(folder: Path, output: str, n: int, dtype: str, rng: np.random.Generator) -> Path:
    """Save a member: a random linear map of x [batch, 3], with softmax for a classifier, with the given dtype."""
    matrix = tf.constant(rng.normal(0, 2, (WIDTH, n)).astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, WIDTH], tf.float32, "x")])
    def predict(x: Any) -> dict[str, Any]:
        score = x @ matrix
        return {output: tf.cast(tf.nn.softmax(score) if output == "probabilities" else 100 * score, dtype)}

    tf.saved_model.save(tf.Module(), str(folder), signatures={"serving_default": predict})
    return folder


def ensembles(folder: Path, kinds: list[tuple[str, Any]], seed: int) -> dict[str, tuple[Ensemble, dict[str, Path]]]:
    """Return a random ensemble of each kind, with its members on disk."""
    specs = {}
    for index, (kind, output) in enumerate(kinds):
        rng = np.random.default_rng([seed, index])
        n = int(rng.integers(2, 6)) if output == "probabilities" else int(rng.integers(1, 4))
        spec = random_spec(kind, output, rng, n).model_copy(update={"transformer": IDENTITY})
        dtypes = ["float32"] if output == "probabilities" else ["float16", "float32", "float64", "int32"]
        name = f"{kind}-{output}-{seed}"
        members = {
            member: save(folder / name / member, output, n, str(rng.choice(dtypes)), rng) for member in spec.members
        }
        specs[name] = (spec, members)
    return specs


def fan_out(target: str, name: str, spec: Ensemble, deadline_s: float = 60.0) -> FanOut:
    endpoints = {m: Endpoint(target, f"{name}-{m}", candidate_server.VERSION, "serving_default") for m in spec.members}
    return FanOut(spec, endpoints, deadline_s=deadline_s)


async def check(specs: dict[str, tuple[Ensemble, dict[str, Path]]], folder: Path) -> None:
    models = {f"{name}-{m}": path for name, (_, members) in specs.items() for m, path in members.items()}
    for name, (spec, members) in specs.items():
        bound = {member: SavedModel(path=path) for member, path in members.items()}
        fuse(ImportedEnsemble(name=name, ensemble=spec, members=bound), folder / "fused" / name)
        models[name] = folder / "fused" / name
    async with candidate_server.serve(models, 300) as server:
        for name, (spec, _) in specs.items():
            for batch in (1, 17, 0):
                x = np.random.default_rng(batch).normal(size=(batch, WIDTH)).astype(np.float32)
                fused = (await server.grpc.predict(name, {"x": x}))[spec.output]
                async with fan_out(server.target, name, spec) as client:
                    fanned = await client.predict({"x": x})
                expected = reference(spec, dict(fanned.outputs))
                atol = 1e-5 * max(1.0, np.abs(expected).max(initial=0))
                assert fanned.members == spec.members
                if spec.combiner.kind == "majority_vote":
                    # Every path has the same vote; its weighted share may differ in the last bit.
                    np.testing.assert_array_equal(fused.argmax(1), fanned.values.argmax(1), err_msg=name)
                np.testing.assert_allclose(fanned.values, expected, rtol=0, atol=atol, err_msg=name)
                np.testing.assert_allclose(fused, expected, rtol=0, atol=atol, err_msg=name)


def test_fused_fan_out_and_numpy_agree_for_every_combiner(tmp_path: Path) -> None:
    asyncio.run(check(ensembles(tmp_path, KINDS, seed=1), tmp_path))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 12))
def test_fused_fan_out_and_numpy_agree_for_many_random_ensembles(tmp_path: Path, seed: int) -> None:
    asyncio.run(check(ensembles(tmp_path, KINDS, seed), tmp_path))


def test_if_a_member_fails_the_answer_is_that_of_the_spec_without_it(tmp_path: Path) -> None:
    specs = ensembles(tmp_path, [("stacking", "probabilities"), ("weighted_mean", "prediction")], seed=20)
    x = np.random.default_rng(0).normal(size=(5, WIDTH)).astype(np.float32)

    async def without(name: str, spec: Ensemble, members: dict[str, Path], missing: str) -> tuple[Answer, str]:
        remaining = {f"{name}-{m}": path for m, path in members.items() if m != missing}
        async with candidate_server.serve(remaining, 300) as server, fan_out(server.target, name, spec) as client:
            return await client.predict({"x": x}), server.target

    for name, (spec, members) in specs.items():
        missing = spec.members[0]
        answer, _ = asyncio.run(without(name, spec, members, missing))
        assert answer.members == spec.members[1:]
        assert answer.failures[missing].startswith("NOT_FOUND")
        expected = spec.without(missing).combine(answer.outputs).numpy()
        np.testing.assert_array_equal(answer.values, expected)
        strict = spec.model_copy(update={"quorum": len(spec.members)})
        with pytest.raises(EnsembleError, match="and the quorum is"):
            asyncio.run(without(name, strict, members, missing))
