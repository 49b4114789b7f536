"""Numbers of a report can be read in every unit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from benison.components.train.tree_cost import TreeCost
from benison.pipelines.drawings.numbers import figure
from benison.pipelines.records.runs import NodeRun, Run
from benison.pipelines.reports import report


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0.0000"),
        (0.8889, "0.8889"),
        (110.04049, "110.0405"),
        (4.21e-7, "4.2e-07"),
        (-3e-5, "-3e-05"),
        (2.5e25, "2.5e+25"),
        (7.6e-17, "0.0000"),
        (-0.0, "0.0000"),
    ],
)
def test_a_figure_has_digits_whatever_its_unit_is(value: float | None, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(
    ("gain", "text"),
    [
        ((0.0005, -0.0053, 0.0072), "+0.0005 (-0.0053 to +0.0072)"),
        ((2e-7, -1e-8, 3e-7), "+2e-07 (-1e-08 to +3e-07)"),
        ((1e-17, -1e-17, 1e-17), "+0.0000 (+0.0000 to +0.0000)"),
        ((0.1, None, None), "+0.1000"),
        ((None, None, None), "-"),
    ],
)
def test_a_gain_and_its_interval_have_one_form(gain: tuple[float | None, ...], text: str) -> None:
    assert report._gain(dict(zip(("gain", "low", "high"), gain, strict=True))) == text


def test_the_columns_that_a_member_looks_at_most_are_named(tmp_path: Path) -> None:
    (tmp_path / "importances.json").write_text(json.dumps({"Größe": 0.7, "[b]": 0.2, "c": 0.1, "d": 0.0}))
    model = {"uri": str(tmp_path), "type": "Model", "properties": {}}
    node = NodeRun("Trainer.trees", "Trainer", "", outputs={"model": [model]})
    console = Console(width=200)
    with console.capture() as captured:
        report._importances(Run("id", "birds", tmp_path, 0.0, nodes=[node]), console)
    assert captured.get() == "what trees looks at: Größe 70%, [b] 20%, c 10%\n"


def test_what_walked_trees_cost_is_told(tmp_path: Path) -> None:
    (tmp_path / "importances.json").write_text("{}")
    TreeCost(1200, 22, symmetric=False, one_ms=2.512, many_ms=240.1, rows=256).save(tmp_path)
    node = NodeRun(
        "Trainer.mine", "Trainer", "", outputs={"model": [{"uri": str(tmp_path), "type": "Model", "properties": {}}]}
    )
    console = Console(width=200)
    with console.capture() as captured:
        report._importances(Run("id", "birds", tmp_path, 0.0, nodes=[node]), console)
    cost = "1,200 trees of up to 22 levels, walked node by node: 2.5 ms for one row, 240 ms for 256"
    assert captured.get() == f"what mine looks at: nothing\nwhat mine costs: {cost}\n"
