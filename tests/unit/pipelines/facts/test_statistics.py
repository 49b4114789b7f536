"""Test the distributions that the report draws."""

from benison.pipelines.drawings import data
from benison.pipelines.facts.statistics import Column, histograms


def _column(bins: list[tuple[float, float, float]]) -> Column:
    return Column("q\"uo'te\\", "number", 10, 0, mean=1.0, low=0.0, high=8.0, bins=bins)


def test_histograms_keep_the_buckets_of_each_split() -> None:
    columns = {"train": _column([(0.0, 4.0, 9.0), (4.0, 8.0, 1.0)]), "test": _column([(1.0, 3.0, 10.0)])}
    assert histograms(columns) == {"train": [(0.0, 4.0, 0.9), (4.0, 8.0, 0.1)], "test": [(1.0, 3.0, 1.0)]}


def test_a_chart_draws_the_buckets_and_calls_them_approximate() -> None:
    chart = data.distribution({"train": _column([(0.0, 4.0, 9.0), (4.0, 8.0, 1.0)])})
    assert chart is not None
    assert [(row["x"], row["y"]) for row in chart.spec["data"]["values"]] == [(0.0, 0.9), (4.0, 0.1), (8.0, 0.1)]
    assert chart.note.startswith("Approximate: 2 buckets")


def test_no_title_of_a_tooltip_is_the_name_of_a_column() -> None:
    chart = data.distribution({"train": Column("q\"uo'te\\", "text", 10, 0, unique=1, values=[("a", 10)])})
    assert chart is not None
    assert [tip.get("title") for tip in chart.spec["encoding"]["tooltip"]] == ["value", None, None]
