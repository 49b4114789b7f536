"""A scheduled node says which earlier node's outputs are missing, and which one refused the model."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from benison.pipelines.records.runs import NodeRun
from benison.pipelines.scheduled_node import (
    _skipped,
    producers,
    refuse_missing_checks,
    refuse_missing_outputs,
    refuse_old_outputs,
)
from benison.serving.errors import UsageError


def record(name: str, state: str, reason: str = "") -> NodeRun:
    return NodeRun(name, name, "log", state, reason=reason)


def channel(producer: str, *contexts: str) -> Any:
    queries = [SimpleNamespace(type=SimpleNamespace(name=name)) for name in contexts]
    return SimpleNamespace(producer_node_query=SimpleNamespace(id=producer), context_queries=queries)


def test_a_node_needs_the_producers_of_its_inputs_in_this_run_and_of_the_optional_ones_too() -> None:
    inputs = {
        "examples": SimpleNamespace(min_count=1, channels=[channel("Gen", "pipeline", "pipeline_run")]),
        "hyperparameters": SimpleNamespace(min_count=0, channels=[channel("Tuner", "pipeline", "pipeline_run")]),
        "earlier": SimpleNamespace(min_count=1, channels=[channel("Trainer", "pipeline")]),
    }
    assert producers(SimpleNamespace(inputs=SimpleNamespace(inputs=inputs))) == ["Gen", "Tuner"]


@pytest.mark.parametrize(
    ("state", "words"), [("waiting", "has not run"), ("not_run", "has not run"), ("failed", "has failed")]
)
def test_a_producer_without_outputs_is_named_with_what_to_do(state: str, words: str) -> None:
    with pytest.raises(UsageError, match=rf"^the outputs of Gen are missing, because Gen {words} .*clear Gen"):
        refuse_missing_outputs(["Gen"], {"Gen": record("Gen", state)})


@pytest.mark.parametrize("state", ["complete", "cached", "not_blessed"])
def test_a_producer_that_has_run_is_not_refused(state: str) -> None:
    refuse_missing_outputs(["Gen", "OfAnotherRun"], {"Gen": record("Gen", state)})


@pytest.mark.parametrize(
    ("state", "words"), [("waiting", "has not run"), ("not_run", "has not run"), ("invalid", "has failed")]
)
def test_a_check_that_did_not_pass_is_named_with_its_reason(state: str, words: str) -> None:
    records = {"Gen": record("Gen", "complete"), "Gate": record("Gate", state, "'fare': 17 % are missing")}
    with pytest.raises(UsageError, match=rf"^Gate {words} in this run \('fare': 17 % are missing\), and this node may"):
        refuse_missing_checks(["Gen", "Gate"], records)


@pytest.mark.parametrize("state", ["complete", "cached", "not_blessed", "skipped", "running"])
def test_a_check_that_has_run_is_not_refused(state: str) -> None:
    refuse_missing_checks(["Gate", "OfAnotherRun"], {"Gate": record("Gate", state)})


UPSTREAM = {
    "Gen": [],
    "Trainer": ["Gen"],
    "Builder": ["Trainer"],
    "Blessing": ["Builder"],
    "Pusher": ["Builder", "Blessing"],
}


@pytest.mark.parametrize(
    ("turns", "node", "fault"),
    [
        ([1, 2, 3, 4, 5], "Pusher", None),
        ([1, 2, 6, 7, 8], "Pusher", None),  # Builder was cleared with its downstream tasks
        (
            [1, 2, 6, 4, 7],
            "Pusher",
            "of Blessing are out of date, because Builder ran again after it in this run; clear Builder with",
        ),
        ([1, 6, 3, 4, 7], "Blessing", "of Builder are out of date, because Trainer ran again after it"),
        ([1, 6, 3, 4, 7], "Pusher", "of Builder are out of date, because Trainer ran again after it"),
        ([6, 2, 3, 4, 7], "Trainer", None),
        ([0, 0, 0, 0, 1], "Pusher", None),  # an earlier release recorded no turns
    ],
)
def test_no_node_runs_on_outputs_that_were_made_before_their_own_inputs(
    turns: list[int], node: str, fault: str | None
) -> None:
    records = {name: record(name, "complete") for name in UPSTREAM}
    for name, turn in zip(UPSTREAM, turns, strict=True):
        records[name].turn = turn
    with pytest.raises(UsageError, match=fault) if fault else contextlib.nullcontext():
        refuse_old_outputs(UPSTREAM, node, records)


def test_a_skipped_node_names_the_node_that_refused_the_model_however_far_it_is() -> None:
    nodes = {
        name: SimpleNamespace(upstream_nodes=upstream)
        for name, upstream in {"Blessing": ["Gone"], "Validator": ["Blessing"], "Pusher": ["Validator"]}.items()
    }
    records = {"Blessing": record("Blessing", "not_blessed", "auc 0.5"), "Validator": record("Validator", "skipped")}
    result, more = _skipped("its condition does not hold", nodes, "Pusher", records)
    assert (result.state, result.reason, more) == (
        "skipped",
        "Blessing refused the model: auc 0.5",
        {"because": "Blessing"},
    )
    result, more = _skipped("its condition does not hold", nodes, "Blessing", records)
    assert (result.reason, more) == ("its condition does not hold", {})
