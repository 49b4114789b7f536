"""A candidate on a real model server: it is refused if its paths disagree or a budget is exceeded."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from benison.components.deploy.serving_costs import ServingBudget
from benison.components.deploy.serving_trial import ServingTrial, TrialData
from benison.components.raw_columns import without_markers
from benison.components.train.signatures import packed_inputs, raw_inputs
from benison.serving import missing_values
from benison.serving.ensemble import Ensemble, WeightedMean

ROOMY = ServingBudget(load_s=300, memory_mb=8000, p99_ms=5000)
FEATURES = {
    "x": tf.io.FixedLenFeature([1], tf.float32),
    "s": tf.io.FixedLenFeature([1], tf.string),
    "f": tf.io.VarLenFeature(tf.float32),
    "n": tf.io.VarLenFeature(tf.int64),
    "t": tf.io.VarLenFeature(tf.string),
}
COLUMNS = {**FEATURES, "y": tf.io.FixedLenFeature([1], tf.float32)}
SPEC = Ensemble(members=("a", "b"), combiner=WeightedMean(weights={"a": 1, "b": 3}), output="probabilities")
FUSED = ((0.25, 1.0), (0.75, 2.0))  # weight and slope of each member
CLASSES = ("no", "yes")
SEEN = {"x": (0.0, 1.9), "f": (-3.0, 4.0), "n": (-7, 123)}
ABSENT = {"f": 0.7, "n": 1.3, "t": 0.9}  # what a missing cell adds to the score

# Wrong treatments of one cell, by column: from the value and its score to another score.
WRONG_CELLS: dict[str, tuple[str, Any]] = {
    "-1 is missing": ("n", lambda n, score: tf.where(n == -1, ABSENT["n"], score)),
    "0 is missing": ("n", lambda n, score: tf.where(n == 0, ABSENT["n"], score)),
    "a missing integer is a number": ("n", lambda n, score: tf.where(n == missing_values.MISSING_INTEGER, 0.0, score)),
    "the smallest integer is another": ("n", lambda n, score: tf.where(n == -7, 0.0, score)),
    "the largest integer is another": ("n", lambda n, score: tf.where(n == 123, 0.0, score)),
    "a missing float is 0": ("f", lambda f, score: tf.where(tf.math.is_nan(f), 0.0, score)),
    "the largest float is another": ("f", lambda f, score: tf.where(f == 4.0, 0.0, score)),
    "an empty text is a category": ("t", lambda t, score: tf.where(t == "", 0.0, score)),
    "an unseen category is missing": ("t", lambda t, score: tf.where(tf.strings.length(t) > 9, ABSENT["t"], score)),
}
PLACES = (
    "candidate raw", "candidate packed", "candidate serving_default", "candidate members", "member raw",
    "member serving_default"
)  # fmt: skip
WRONG_OUTPUTS = ("swapped probabilities", "swapped classes", "logits", "one column", "another name")


def transform(parsed: Mapping[str, Any]) -> dict[str, Any]:
    """Compute the transformed features as Transform's graph does: the score of each column [batch, 1]."""
    scores = {
        "x": tf.tanh(tf.where(tf.math.is_finite(parsed["x"]), parsed["x"], 0.0)),
        "s": tf.cast(tf.strings.length(parsed["s"]), tf.float32),
    }
    for name in ("f", "n", "t"):
        column = without_markers(parsed[name])
        values = column.values
        score = tf.strings.length(values) if values.dtype == tf.string else values
        scored = tf.SparseTensor(column.indices, tf.tanh(tf.cast(score, tf.float32) / 10), column.dense_shape)
        scores[name] = tf.reshape(tf.sparse.to_dense(scored, ABSENT[name]), [-1, 1])
    return scores


def save(
    folder: Path,
    *slopes: tuple[float, float],
    padding: int = 0,
    work: int = 0,
    longest: int = 10_000,
    wrong_cell: tuple[str, str] = ("", ""),
    wrong_output: str = "",
    ranked: bool = False,
) -> Path:
    """Save a model: the mean by weight of sigmoids of slope x + the scores of the other columns.

    Args:
        folder: target folder.
        slopes: weight and slope of each member.
        padding: extra floats.
        work: extra multiplications.
        longest: it refuses longer texts `s`.
        wrong_cell: a key of WRONG_CELLS, and the signature that has the fault.
        wrong_output: one of WRONG_OUTPUTS.
        ranked: the answer is the rank of the row in the request.
    """
    module = tf.Module()
    if padding:
        module.padding = tf.Variable(tf.zeros([padding]))
    square = tf.constant(np.eye(200, dtype=np.float32))

    def probability(scores: Mapping[str, Any], slope: float) -> Any:
        with tf.control_dependencies([tf.debugging.assert_less_equal(scores["s"], float(longest))]):
            length = tf.tanh(scores["s"] / 50)
        busy = tf.while_loop(
            lambda i, _: i < work, lambda i, m: (i + 1, m @ square + 1e-9), [0, square + tf.reduce_sum(length)]
        )[1]
        score = slope * scores["x"] + length + scores["f"] - scores["n"] + scores["t"] + 0.0 * busy[0, 0]
        if ranked:
            score = tf.cast(tf.argsort(tf.argsort(score, axis=0), axis=0), tf.float32)
        yes = score if wrong_output == "logits" else tf.sigmoid(score)
        return tf.concat([1 - yes, yes], axis=1)

    def answer(scores: Mapping[str, Any]) -> dict[str, Any]:
        values = sum(weight * probability(scores, slope) for weight, slope in slopes)
        names = CLASSES[::-1] if wrong_output == "swapped classes" else CLASSES
        if wrong_output == "swapped probabilities":
            values = values[:, ::-1]
        if wrong_output == "one column":
            values = values[:, 1:]
        output = "scores" if wrong_output == "another name" else "probabilities"
        return {output: values, "classes": tf.tile(tf.constant([names]), [tf.shape(values)[0], 1])}

    def members(scores: Mapping[str, Any]) -> dict[str, Any]:
        return {name: probability(scores, slope) for name, (_, slope) in zip(SPEC.members, slopes, strict=False)}

    def scored(parsed: Mapping[str, Any], signature: str) -> dict[str, Any]:
        scores = transform(parsed)
        fault, place = wrong_cell
        if place == signature:
            name, change = WRONG_CELLS[fault]
            marks = tf.constant(missing_values.marker(parsed[name].dtype.name), parsed[name].dtype)
            cells = tf.reshape(tf.sparse.to_dense(parsed[name], marks), [-1, 1])
            scores[name] = change(cells, scores[name])
        return scores

    def parsed_columns(columns: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: tf.reshape(columns[name], [-1, 1]) if name in ("x", "s") else _all_cells(columns[name])
            for name in FEATURES
        }

    described = raw_inputs(FEATURES)
    order = packed_inputs(described)

    def unpacked(tensors: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: values
            for dtype, names in order.items()
            for name, values in zip(names, tf.unstack(tensors[dtype], axis=1), strict=True)
        }

    raw = {name: tf.TensorSpec([None], feature.dtype, name) for name, feature in FEATURES.items()}
    packed = {dtype: tf.TensorSpec([None, len(names)], dtype, dtype) for dtype, names in order.items()}
    scores = {name: tf.TensorSpec([None, 1], tf.float32, name) for name in FEATURES}
    signatures = {
        "raw": tf.function(lambda **columns: answer(scored(parsed_columns(columns), "raw"))).get_concrete_function(
            **raw
        ),
        "packed": tf.function(
            lambda **tensors: answer(scored(parsed_columns(unpacked(tensors)), "packed"))
        ).get_concrete_function(**packed),
        "serving_default": tf.function(
            lambda examples: answer(scored(tf.io.parse_example(examples, FEATURES), "serving_default"))
        ).get_concrete_function(tf.TensorSpec([None], tf.string, "examples")),
        "transformed": tf.function(lambda **columns: answer(columns)).get_concrete_function(**scores),
        "members": tf.function(
            lambda **columns: members(scored(parsed_columns(columns), "members"))
        ).get_concrete_function(**raw),
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)
    missing_values.write(folder, described, order)
    return folder


def _all_cells(values: Any) -> Any:
    """Convert a raw column [batch] to a sparse one in which no cell is left out."""
    rows = tf.range(tf.shape(values, out_type=tf.int64)[0])
    shape = tf.stack([tf.shape(values, out_type=tf.int64)[0], 1])
    return tf.SparseTensor(tf.stack([rows, tf.zeros_like(rows)], axis=1), values, shape)


def records() -> np.ndarray:
    """Return serialised examples of all columns; every third lacks those that may be missing."""

    def record(i: int) -> bytes:
        example = tf.train.Example()
        feature = example.features.feature
        feature["x"].float_list.value.append(i / 10)
        feature["s"].bytes_list.value.append(b"ab" * i)
        feature["y"].float_list.value.append(0.0)
        if i % 3 == 0:
            feature["f"].float_list.value.append(i / 2)
            feature["n"].int64_list.value.append(i)
            feature["t"].bytes_list.value.append(b"seen")
        return bytes(example.SerializeToString())

    return np.array([record(i) for i in range(20)], object)


DATA = TrialData(records(), COLUMNS, "y", transform, CLASSES, SEEN)


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("members")
    return {"a": save(folder / "a", (1.0, 1.0)), "b": save(folder / "b", (1.0, 2.0))}


def tried(candidate: Path, members: dict[str, Path], budget: ServingBudget = ROOMY) -> dict[str, Any]:
    return asyncio.run(ServingTrial(SPEC, candidate, members, budget, DATA).run())


def reasons(record: dict[str, Any]) -> dict[str, str]:
    return {verdict["rule"]: verdict["reason"] for verdict in record["verdicts"]}


def refusals(record: dict[str, Any]) -> dict[str, str]:
    return {verdict["rule"]: verdict["reason"] for verdict in record["verdicts"] if not verdict["passed"]}


def test_a_candidate_equal_to_its_members_passes_on_every_path(members: dict[str, Path], tmp_path: Path) -> None:
    record = tried(save(tmp_path / "fused", *FUSED), members)
    assert refusals(record) == {}
    assert record["blessed"]
    assert {path["path"] for path in record["parity"]} == {
        "evaluation", "fused gRPC", "row by row", "packed gRPC", "fused REST", "fused REST null", "fan-out", "examples", "member a",
        "member b"
    }  # fmt: skip
    assert record["rows"]["real"] == 20
    assert record["rows"]["all"] > 20


def test_a_changed_constant_is_refused_and_the_reason_names_the_path(members: dict[str, Path], tmp_path: Path) -> None:
    record = tried(save(tmp_path / "fused", (0.25, 1.001), (0.75, 2.0)), members)
    assert not record["blessed"]
    assert set(refusals(record)) == {
        "parity of fused gRPC", "parity of row by row", "parity of packed gRPC", "parity of fused REST",
        "parity of fused REST null", "parity of examples", "parity of member a"
    }  # fmt: skip
    assert "differs from the training path by" in refusals(record)["parity of fused REST"]


def broken(folder: Path, place: str, **fault: Any) -> tuple[Path, dict[str, Path]]:
    """Save a candidate and its members, one of which has a fault."""
    model, _, signature = place.partition(" ")
    if "wrong_cell" in fault:
        fault = {"wrong_cell": (fault["wrong_cell"], signature)}
    for_candidate, for_member = (fault, {}) if model == "candidate" else ({}, fault)
    members = {"a": save(folder / "a", (1.0, 1.0), **for_member), "b": save(folder / "b", (1.0, 2.0))}
    return save(folder / "fused", *FUSED, **for_candidate), members


WRONG: Sequence[Any] = [
    *({"place": place, "wrong_cell": fault} for fault, place in itertools.product(WRONG_CELLS, PLACES)),
    *({"place": "candidate", "wrong_output": fault} for fault in WRONG_OUTPUTS),
]
IN_CI = (1, 16, 55)  # an integer on one path, one that only the members have, and an output


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, id=", ".join(fault.values()), marks=() if number in IN_CI else pytest.mark.soak)
        for number, fault in enumerate(WRONG)
    ],
)
def test_a_path_with_different_answers_is_refused(tmp_path: Path, fault: dict[str, str]) -> None:
    record = tried(*broken(tmp_path, **fault))
    assert not record["blessed"]
    paths = {
        "raw": {"parity of fan-out"} if fault["place"] == "member raw" else {"parity of fused gRPC"},
        "packed": {"parity of packed gRPC"},
        "members": {"parity of member a"},
        "serving_default": {"parity of evaluation"} if "member " in fault["place"] else {"parity of examples"},
    }
    if "wrong_cell" in fault:
        assert paths[fault["place"].split(" ")[1]] <= set(refusals(record))


def test_there_are_more_than_fifty_ways_to_break_parity() -> None:
    assert len(WRONG) == 59


def test_outputs_that_all_members_have_wrong_are_refused_too(tmp_path: Path) -> None:
    members = {
        "a": save(tmp_path / "a", (1.0, 1.0), wrong_output="logits"),
        "b": save(tmp_path / "b", (1.0, 2.0), wrong_output="logits"),
    }
    record = tried(save(tmp_path / "fused", *FUSED, wrong_output="logits"), members)
    assert set(refusals(record)) == {"answers probabilities"}
    assert "are not probabilities, such as " in refusals(record)["answers probabilities"]


def test_a_row_whose_answer_depends_on_the_other_rows_of_the_request_is_refused(tmp_path: Path) -> None:
    members = {name: save(tmp_path / name, (1.0, slope), ranked=True) for name, slope in (("a", 1.0), ("b", 2.0))}
    record = tried(save(tmp_path / "fused", *FUSED, ranked=True), members)
    assert set(refusals(record)) == {"parity of row by row"}
    assert "look for a mean, a rank or an order over the batch" in refusals(record)["parity of row by row"]


@pytest.mark.parametrize(
    ("options", "budget", "rule", "unit"),
    [
        ({"padding": 125_000_000}, ServingBudget(300, 800, 5000), "peak memory <= 800 MB", " MB"),
        ({"work": 400}, ServingBudget(300, 8000, 20), "p99 latency <= 20 ms", " ms"),
    ],
    ids=["500 MB of padding", "50 ms of work"],
)
def test_an_exceeded_budget_is_measured_again_and_refused_with_the_figure(
    members: dict[str, Path], tmp_path: Path, options: dict[str, Any], budget: ServingBudget, rule: str, unit: str
) -> None:
    record = tried(save(tmp_path / "fused", *FUSED, **options), members, budget)
    (reason,) = refusals(record).values()
    assert set(refusals(record)) == {rule}
    assert ", the best of 3 attempts; the budget is " in reason
    assert ("of processor time; load average " in reason) == ("p99" in rule)
    assert unit in reason
    assert len(record["measured"]) == 3


def test_boundary_rows_that_the_members_refuse_are_refused_by_the_candidate_too(tmp_path: Path) -> None:
    members = {name: save(tmp_path / name, (1.0, slope), longest=100) for name, slope in (("a", 1.0), ("b", 2.0))}
    record = tried(save(tmp_path / "fused", *FUSED, longest=100), members)
    assert refusals(record) == {}
    assert record["rows"]["refused"] == 2
    assert (
        reasons(record)["refuses what its members refuse"]
        == "0 of 2 boundary rows that the members refuse get an answer"
    )
    record = tried(save(tmp_path / "lax", *FUSED), members)
    assert refusals(record) == {
        "refuses what its members refuse": "2 of 2 boundary rows that the members refuse get an answer"
    }


def test_a_candidate_that_does_not_load_is_refused_and_says_why(members: dict[str, Path], tmp_path: Path) -> None:
    candidate = save(tmp_path / "fused", *FUSED)
    trial = ServingTrial(SPEC, candidate, members, ROOMY, DATA)
    (candidate / "saved_model.pb").write_bytes(b"\x00broken")
    record = asyncio.run(trial.run())
    assert not record["blessed"]
    (reason,) = refusals(record).values()
    assert reason.startswith("the server ")
    assert "candidate" in reason


@pytest.mark.soak
def test_the_verdict_is_the_same_in_twenty_runs(members: dict[str, Path], tmp_path: Path) -> None:
    good, bad = save(tmp_path / "good", *FUSED), save(tmp_path / "bad", (0.25, 1.001), (0.75, 2.0))
    budget = ServingBudget(120, 4096, 250)
    for _ in range(20):
        assert tried(good, members, budget)["blessed"]
        assert not tried(bad, members, budget)["blessed"]
