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


def test_the_columns_that_are_worth_most_are_shown_with_their_intervals(tmp_path: Path) -> None:
    def losses(*lost: float | None) -> dict[str, dict[str, float | None]]:
        return {
            name: {"lost": value, "low": value and value - 0.1, "high": value and value + 0.1}
            for name, value in zip(("Größe", "[b]", *"cdef"), lost, strict=True)
        }

    models = {"ensemble": losses(0.3, 0.2, 0.0, 0.0, None, None), "deep": losses(0.1, -0.2, 0.0, 0.0, None, None)}
    found = {"metric": "auc", "rows": 40, "models": models, "not_measured": ["g"]}
    (tmp_path / "importance.json").write_text(json.dumps(found))
    output = {"uri": str(tmp_path), "type": "ColumnImportance", "properties": {}}
    node = NodeRun("ColumnImportance", "ColumnImportance", "", outputs={"importances": [output]})
    console = Console(width=200)
    with console.capture() as captured:
        report._importances(Run("id", "birds", tmp_path, 0.0, nodes=[node]), console)
    lines = [line.split() for line in captured.get().splitlines() if line]
    assert " ".join(lines[0]) == "what each column is worth, by shuffling it in 40 rows of test:"
    assert lines[1:4] == [
        ["auc", "lost", "without", "deep", "ensemble"],
        ["Größe", "+0.1000", "+0.3000", "(+0.2000", "to", "+0.4000)"],
        ["[b]", "-0.2000", "+0.2000", "(+0.1000", "to", "+0.3000)"],
    ]
    assert lines[-1][:4] == ["1", "more", "columns", "are"]
    assert lines[-1][-5:] == ["1", "columns", "were", "not", "measured"]


def test_what_walked_trees_cost_is_told(tmp_path: Path) -> None:
    TreeCost(1200, 22, symmetric=False, one_ms=2.512, many_ms=240.1, rows=256).save(tmp_path)
    node = NodeRun(
        "Trainer.mine", "Trainer", "", outputs={"model": [{"uri": str(tmp_path), "type": "Model", "properties": {}}]}
    )
    console = Console(width=200)
    with console.capture() as captured:
        report._tree_costs(Run("id", "birds", tmp_path, 0.0, nodes=[node]), console)
    cost = "1,200 trees of up to 22 levels, walked node by node: 2.5 ms for one row, 240 ms for 256"
    assert captured.get() == f"what mine costs: {cost}\n"
