"""Numbers as a file or a request writes them."""

from __future__ import annotations

import pytest

from benison.serving.number_text import finite_number, whole_number


@pytest.mark.parametrize(
    ("form", "cell", "number"),
    [
        ("1,234.5", "1,200", 1200),
        ("1,234.5", "-$1,200.50", -1200.5),
        ("1,234.5", "($1,200.5)", -1200.5),
        ("1,234.5", "12,34,567", 1234567),  # lakhs
        ("1,234.5", " 36 % ", 36),
        ("1,234.5", "-.5", -0.5),
        ("1.234,5", "1.200,50 €", 1200.5),
        ("1 234,5", "1 200\u202f345,5", 1200345.5),
        ("1'234.5", "CHF 5’717.-", 5717),
        ("1234,5", "88,6", 88.6),
        ("1234.5", "\N{MINUS SIGN}5", -5),
        ("1234.5", "5-", -5),
        ("1234.5", "1e5", 1e5),
        ("1234.5", "965", 965),
    ],
)
def test_an_amount_is_the_number_that_is_written(form, cell, number):
    assert finite_number(cell, form) == number
    assert finite_number(number, form) == number  # a request may send the number itself


@pytest.mark.parametrize(
    ("form", "cell"),
    [
        *[("1,234.5", cell) for cell in ("1,2", "12,3456", "1,200,", "0,123", "1.200,5", "", "$", "%", "--5", "5 kg")],
        *[("1234.5", cell) for cell in ("1,200", "(5", "5)", "(-5)", "1_000", "nan", "inf", "0x1f", "٣")],
        ("1.234,5", "1234.5"),
        (".", "$5"),
        (",", "1.200,5"),
    ],
)
def test_a_text_that_is_no_amount_of_the_form_is_refused(form, cell):
    with pytest.raises(ValueError):  # noqa: PT011
        finite_number(cell, form)


@pytest.mark.parametrize(("text", "form"), [("3.0", "."), ("+3.", "."), (" 3.00 ", "."), ("3,0", ",")])
def test_a_whole_number_may_have_zeros_after_its_decimal_sign(text, form):
    assert whole_number(text, form, zeros=True) == 3
    with pytest.raises(ValueError, match="3"):
        whole_number(text, form)


@pytest.mark.parametrize("text", ["3.5", ".0", "-", "1e3", "3.0.0", "nan"])
def test_zeros_after_the_decimal_sign_follow_digits(text):
    with pytest.raises(ValueError, match="invalid literal"):
        whole_number(text, zeros=True)


def test_a_whole_amount_is_a_whole_number():
    assert whole_number("$9,007,199,254,740,993", "1,234.5") == 2**53 + 1
    with pytest.raises(ValueError, match="5"):
        whole_number("$5.50", "1,234.5")
