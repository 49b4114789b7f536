"""The ensemble's spec: its results against a NumPy reference, with missing members, and saving and loading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from benison.components.evaluate.metrics import Decision
from benison.serving.ensemble import (
    Custom,
    Ensemble,
    MajorityVote,
    Mean,
    Stacking,
    TemperatureScaling,
    WeightedMean,
    read_custom,
)
from benison.serving.ensemble.combiners import Output
from benison.serving.errors import EnsembleError, UsageError
from tests.ensembles import CLASSIFIERS, REGRESSORS, random_outputs, random_spec, reference


@pytest.mark.parametrize("batch", [0, 1, 50])
@pytest.mark.parametrize(
    ("kind", "output"), [*((k, "probabilities") for k in CLASSIFIERS), *((k, "prediction") for k in REGRESSORS)]
)
def test_every_combiner_equals_numpy_with_and_without_one_member(kind: str, output: Output, batch: int) -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        n = int(rng.integers(2, 6)) if output == "probabilities" else int(rng.integers(1, 4))
        spec = random_spec(kind, output, rng, n)
        outputs = random_outputs(spec, rng, batch, n)
        answers = [(spec, outputs)]
        if kind != "custom":
            answers.append((spec, {name: outputs[name] for name in spec.members[1:]}))
        for asked, given in answers:
            answer = asked.combine(given).numpy()
            assert answer.dtype == np.float32
            assert answer.shape == (batch, n)
            expected = reference(asked, given)
            scale = max(1.0, np.abs(expected).max(initial=0))
            np.testing.assert_allclose(answer, expected, atol=1e-5 * scale, rtol=0)
            if output == "probabilities":
                np.testing.assert_allclose(answer.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", ["weighted_mean", "majority_vote", "stacking"])
def test_without_a_member_equals_the_answer_when_that_member_fails(kind: str) -> None:
    rng = np.random.default_rng(1)
    spec = random_spec(kind, "probabilities", rng, 3)
    outputs = random_outputs(spec, rng, 20, 3)
    for missing in spec.members:
        left = {name: values for name, values in outputs.items() if name != missing}
        np.testing.assert_array_equal(spec.without(missing).combine(left), spec.combine(left))


def test_a_tied_vote_goes_to_the_class_that_comes_first() -> None:
    votes = {"a": [[0.1, 0.2, 0.7]], "b": [[0.2, 0.5, 0.3]]}
    spec = Ensemble(members=("a", "b"), combiner=MajorityVote(), output="probabilities")
    answer = spec.combine({name: np.array(values) for name, values in votes.items()}).numpy()
    np.testing.assert_array_equal(answer, [[0, 0.5, 0.5]])
    assert answer.argmax(axis=1) == [1]


def test_if_no_member_with_a_weight_answers_the_others_count_the_same() -> None:
    spec = Ensemble(members=("a", "b", "c"), combiner=WeightedMean(weights={"a": 1}), output="prediction")
    left = {"b": np.array([[2.0]]), "c": np.array([[4.0]])}
    assert spec.combine(left).numpy() == [[3]]
    assert spec.without("a").combine(left).numpy() == [[3]]


@pytest.mark.parametrize(
    ("combiner", "here", "message"),
    [
        (Mean(), ("a",), "1 of 3 members answered (a), and the quorum is 2"),
        (Mean(), (), "0 of 3 members answered (none)"),
        (
            Stacking(coefficients={"a": (1,), "b": (1,), "c": (1,)}, intercept=(0,)),
            ("a", "b"),
            "stacking has no parameters for an answer without c; only one of these may be missing: no member",
        ),
        (Custom(function="f", source="def f(o): pass"), ("a", "b"), "the combiner f needs every member, and c did not"),
        (Custom(function="f", source="g = 1"), ("a", "b", "c"), "its source contains no function of this name"),
        (Custom(function="f", source="1/0"), ("a", "b", "c"), "its source does not run: ZeroDivisionError"),
    ],
)
def test_an_answer_that_is_not_possible_is_an_error(combiner: Any, here: tuple[str, ...], message: str) -> None:
    spec = Ensemble(members=("a", "b", "c"), combiner=combiner, output="probabilities", quorum=2)
    with pytest.raises(EnsembleError) as caught:
        spec.combine({name: np.array([[0.5, 0.5]]) for name in here})
    assert message in str(caught.value)


@pytest.mark.parametrize(("threshold", "decisions"), [(None, ["no", "no", "yes"]), (0.3, ["no", "yes", "yes"])])
def test_the_decision_follows_the_threshold_or_the_largest_probability(threshold, decisions):
    spec = Ensemble(members=("a",), combiner=Mean(), output="probabilities", threshold=threshold)
    probabilities = np.array([[0.8, 0.2], [0.6, 0.4], [0.4, 0.6]], np.float32)
    assert [name.decode() for name in spec.decide(probabilities, ("no", "yes")).numpy()] == decisions
    # The metrics of the decision use the same rule.
    assert [("no", "yes")[i] for i in Decision(threshold).classes(probabilities)] == decisions


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"members": ("a", "a")}, "a member is named twice"),
        ({"combiner": WeightedMean(weights={"z": 1})}, "the combiner names z; the members are a, b"),
        ({"combiner": MajorityVote(), "output": "prediction"}, "majority_vote needs probabilities"),
        ({"calibration": TemperatureScaling(temperature=2), "output": "prediction"}, "temperature scaling needs"),
        ({"threshold": 0.3, "output": "prediction"}, "a threshold needs probabilities"),
        ({"quorum": 3}, "a quorum of 3 cannot be reached by 2 members"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Ensemble(**{"members": ("a", "b"), "combiner": Mean(), "output": "probabilities", **fields})


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_a_saved_spec_is_loaded_unchanged(kind: str, tmp_path: Path) -> None:
    spec = random_spec(kind, "probabilities", np.random.default_rng(5), 3)
    spec.save(tmp_path)
    assert Ensemble.load(tmp_path, allow_code=True) == spec


def test_code_in_a_spec_runs_only_if_the_user_names_a_file_with_the_same(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def first(outputs):\n    return outputs['a']\n")
    mine = read_custom(f"{tmp_path / 'mine.py'}:first", "--allow-code")
    spec = Ensemble(members=("a", "b"), combiner=mine, output="prediction")
    spec.save(tmp_path)
    with pytest.raises(EnsembleError, match=r"ensemble\.json: .* does not run unless .*--allow-code FILE\.py:first"):
        Ensemble.load(tmp_path)
    assert Ensemble.load(tmp_path, allow_code=mine) == spec
    (tmp_path / "mine.py").write_text("def first(outputs):\n    return outputs['b']\n")
    with pytest.raises(EnsembleError, match="has other code than first"):
        Ensemble.load(tmp_path, allow_code=read_custom(f"{tmp_path / 'mine.py'}:first", "--allow-code"))
    for wrong, message in (("first", "expected FILE:FUNCTION"), (f"{tmp_path / 'none.py'}:f", "cannot be read")):
        with pytest.raises(UsageError, match=message):
            read_custom(wrong, "--allow-code")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file, so this is not an ensemble"),
        ("{", "not an ensemble's spec: the spec: Invalid JSON"),
        (json.dumps({"members": ["a"], "output": "prediction", "combiner": {"kind": "avarage"}}), "combiner: "),
        (json.dumps({"members": [], "output": "prediction", "combiner": {"kind": "mean"}}), "members: "),
    ],
)
def test_a_file_that_is_no_spec_is_named_in_the_error(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "ensemble.json").write_text(text)
    with pytest.raises(EnsembleError, match=r"ensemble\.json: ") as caught:
        Ensemble.load(tmp_path)
    assert message in str(caught.value)


def test_a_spec_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Ensemble(members=("a",), combiner=Mean(), output="prediction").quorum = 2
