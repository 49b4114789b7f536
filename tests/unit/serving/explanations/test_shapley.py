"""Shares are the exact Shapley values of a linear model, near them otherwise, and always add up."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from benison.serving.errors import DataError
from benison.serving.explanations import shapley


def explained(rows, background, model, **options):
    """Drive the generator as a caller does."""
    width = options.pop("classes", ())
    steps = shapley.explain(rows, background, lambda a: shapley.targets(a, width, options.get("positive", "")))
    try:
        answers = model(next(steps))
        while True:
            answers = model(steps.send(answers))
    except StopIteration as end:
        return end.value


def by_enumeration(row, background, model):
    """Return the exact Shapley values: over all subsets of the other columns."""
    names = list(row)

    def value(own):
        mixed = {n: np.full(len(background[n]), row[n]) if n in own else background[n] for n in names}
        return model(mixed)[:, 0].mean()

    worth = {own: value(own) for k in range(len(names) + 1) for own in itertools.combinations(names, k)}
    values = dict.fromkeys(names, 0.0)
    for name in names:
        others = [n for n in names if n != name]
        for own in (own for k in range(len(names)) for own in itertools.combinations(others, k)):
            share = math.factorial(len(own)) * math.factorial(len(others) - len(own)) / math.factorial(len(names))
            values[name] += share * (worth[tuple(n for n in names if n in own or n == name)] - worth[own])
    return values


def draw(columns, rows, seed):
    rng = np.random.default_rng(seed)
    return {f"c{i}": rng.normal(size=rows) for i in range(columns)}


def linear(inputs):
    return sum((i + 1) * values for i, values in enumerate(inputs.values()))[:, None]


def interacting(inputs):
    score = inputs["c0"] * inputs["c1"] + 2 * inputs["c2"] + inputs["c3"] * inputs["c4"] - inputs["c0"] * inputs["c3"]
    return 1 / (1 + np.exp(-score))[:, None]


@pytest.mark.parametrize("columns", [1, 2, 7, 60])
def test_a_linear_model_has_its_exact_shares(columns):
    rows, background = draw(columns, 3, 0), draw(columns, 64, 1)
    result = explained(rows, background, linear)
    for number, explanation in enumerate(result.explanations):
        exact = {n: (i + 1) * (rows[n][number] - background[n].mean()) for i, n in enumerate(rows)}
        assert explanation.shares == pytest.approx(exact, rel=1e-9, abs=1e-9)
    assert result.scored_rows == shapley.count_scored_rows(3, columns, 64)


@pytest.mark.parametrize("copies", [False, True])
def test_the_shares_of_a_model_with_interactions_are_near_those_of_all_subsets(copies):
    rows, background = draw(5, 4, 0), draw(5, 64, 1)
    if copies:
        for table in (rows, background):
            table["c4"] = table["c3"].copy()
    result = explained(rows, background, interacting)
    errors = []
    for number, explanation in enumerate(result.explanations):
        exact = by_enumeration({n: values[number] for n, values in rows.items()}, background, interacting)
        errors += [explanation.shares[name] - exact[name] for name in rows]
    assert np.abs(errors).max() < 0.03  # of probabilities
    assert np.sqrt(np.mean(np.square(errors))) < 0.01


def test_copies_of_a_column_that_a_model_reads_alike_have_equal_shares():
    rows, background = draw(3, 1, 0), draw(3, 64, 1)
    for table in (rows, background):
        table["c1"] = table["c0"].copy()
    shares = explained(rows, background, lambda t: (t["c0"] + t["c1"] - t["c2"])[:, None]).explanations[0].shares
    assert shares["c0"] == pytest.approx(shares["c1"])


@pytest.mark.parametrize("columns", [1, 2, 5, 200])
def test_the_shares_add_up_to_the_answer_minus_the_mean(columns):
    rows, background = draw(columns, 2, 3), draw(columns, 16, 4)
    answer = lambda t: np.tanh(sum(t.values()) * next(iter(t.values())))[:, None].astype(np.float32)  # noqa: E731
    for explanation in explained(rows, background, answer).explanations:
        assert sum(explanation.shares.values()) == pytest.approx(explanation.answer - explanation.mean, abs=1e-12)


def test_the_model_is_called_once_for_many_rows():
    calls = []

    def model(inputs):
        calls.append(len(inputs["c0"]))
        return linear(inputs)

    result = explained(draw(6, 2, 0), draw(6, 64, 1), model)
    assert result.calls == len(calls) == 3
    assert result.scored_rows == sum(calls)


def test_the_decided_class_is_explained_and_of_two_the_positive_one():
    answers = np.array([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]])
    assert shapley.targets(answers, ["a", "b", "c"], "") == ([1, 0], ["b", "a"])
    assert shapley.targets(answers[:, :2], ["no", "yes"], "yes") == ([1, 1], ["yes", "yes"])
    assert shapley.targets(answers[:, :1], [], "") == ([0, 0], ["prediction"] * 2)


def test_texts_missing_cells_and_lists_of_other_lengths_are_put_in_like_numbers():
    background = {"t": np.array([b"x", b""], object), "i": np.array([1, 2]), "l": np.array([[1.0], [2.0]])}
    rows = {"t": np.array([b"y"], object), "i": np.array([-9007199254740991]), "l": np.array([[3.0, 4.0]])}

    def model(inputs):
        sums = np.nansum(inputs["l"], axis=1)
        return (10.0 * (inputs["t"] == b"y") + (inputs["i"] < 0) + sums)[:, None]

    (explanation,) = explained(rows, background, model).explanations
    assert explanation.shares == pytest.approx({"t": 10, "i": 1, "l": 5.5})


def test_an_answer_that_is_no_number_is_an_error():
    with pytest.raises(DataError, match="NaN or infinite"):
        explained(draw(2, 1, 0), draw(2, 4, 1), lambda inputs: linear(inputs) * np.nan)
