"""Explanations of predictions on the console: the share of each column in each answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from benison.pipelines.reports.tables import DataTable

if TYPE_CHECKING:
    from benison.serving.explanations.shapley import Explanation
    from benison.serving.predict import ExplanationCost, Prediction

_COLUMNS = 10  # shown of each row; the others are summed up


def show(
    predictions: Sequence[Prediction], rows: Sequence[Mapping[str, Any]], cost: ExplanationCost, console: Console
) -> None:
    """Print the columns of each row by the size of their shares, and what the explanations cost."""
    for number, (prediction, row) in enumerate(zip(predictions, rows, strict=True), start=1):
        if prediction.explanation is not None:
            console.print(f"\nrow {number}: {_sum(prediction.explanation)}", highlight=False, markup=False)
            console.print(_table(prediction.explanation, row))
    console.print(f"\n{cost_line(cost, len(predictions))}", highlight=False, markup=False, soft_wrap=True)


def cost_line(cost: ExplanationCost, rows: int) -> str:
    """Return what explanations cost, in one line."""
    return (
        f"explained {rows} rows against {cost.background_rows} background rows in {cost.seconds:.2f} s, "
        f"by {cost.calls} calls of the model with {cost.scored_rows} rows"
    )


def _sum(explanation: Explanation) -> str:
    name = "answer" if explanation.of == "prediction" else f"probability of {explanation.of}"
    difference = explanation.answer - explanation.mean
    return f"{name} {explanation.answer:.6g} = mean {explanation.mean:.6g} {difference:+.6g}"


def _table(explanation: Explanation, row: Mapping[str, Any]) -> DataTable:
    shares = sorted(explanation.shares.items(), key=lambda item: -abs(item[1]))
    table = DataTable("column", "value", "share")
    for column, share in shares[:_COLUMNS]:
        value = row.get(column)
        table.add_row(column, "" if value is None else str(value)[:40], f"{share:+.4g}")
    if rest := shares[_COLUMNS:]:
        table.add_row(f"{len(rest)} others", "", f"{sum(share for _, share in rest):+.4g}")
    return table
