"""Numbers of a report can be read in every unit."""

from __future__ import annotations

import pytest

from benison.pipelines.reports import report
from benison.pipelines.reports.tables import figure


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
