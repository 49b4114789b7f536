"""Numbers as the text of a file or a request gives them: the one answer for training data and for predictions.

A number has a `form`: the decimal sign, or one of `AMOUNTS`. An amount keeps the number that is written: 36 % is 36.
"""

from __future__ import annotations

import math
import re
from functools import cache

FLOAT32_MAX = 3.4028234663852886e38
# The forms of amounts: the characters between groups of digits, and the decimal sign. Only a column that a config names
# is read so, because 1,234 is a thousand in one file and a little more than one in another.
AMOUNTS = {
    "1,234.5": (",", "."),
    "1.234,5": (".", ","),
    "1 234.5": (" \u00a0\u2009\u202f", "."),
    "1 234,5": (" \u00a0\u2009\u202f", ","),
    "1'234.5": ("'\u2019", "."),
    "1'234,5": ("'\u2019", ","),
    "1234.5": ("", "."),
    "1234,5": ("", ","),
}
_CODES = "AUD BRL CAD CHF CNY CZK DKK EUR GBP HKD HUF ILS INR JPY KRW MXN NOK NZD PLN RUB SEK SGD TRY USD ZAR"
_CURRENCY = rf"[$€£¥₹₽₩₺₪₫₴₦₱฿¢]|[A-Z]{{0,2}}\$|{'|'.join(_CODES.split())}|kr\.?|zł|Fr\.|Rs\.?"
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"  # a number with a decimal point, as a regular expression
CODE = "0[0-9]+"
_ZEROS = re.compile(r"(?<=[0-9])\.0*(?=\s*$)")  # after the decimal point
THOUSANDS = r"[-+]?[1-9]\d{0,2},\d{3}"  # a comma that may be between thousands; 0,537 has none


class PointNumber(str):
    """The text of a number from a file whose numbers have a type, such as JSON: its form is always `.`."""

    __slots__ = ()


def is_code(cell: str) -> bool:
    """Return True if a cell of digits has a leading zero, as zip codes and ids do: 02134 is not 2134."""
    return re.fullmatch(CODE, cell.strip()) is not None


def normalize_number(cell: str, form: str = ".") -> str:
    """Return a number in Python's notation, with a decimal point.

    Args:
        cell: The text.
        form: The decimal sign, `.` or `,`; or one of `AMOUNTS`, for a column of amounts.

    Raises:
        ValueError: Python would read the cell as a number, but the file does not mean this number; or the cell is not
            an amount of this form.
    """
    if isinstance(cell, PointNumber):
        form = "."
    if form in AMOUNTS:
        return _amount(cell, form)
    # Python reads 1_000 as a number, but no CSV uses that; with decimal commas, 1.234 may be a thousand.
    if "_" in cell or (form != "." and "." in cell):
        raise ValueError(cell)
    return cell.replace(form, ".")


def _amount(cell: str, form: str) -> str:
    match = _amount_pattern(form).fullmatch(cell.strip())
    if match is None or len(signs := [sign for sign in match.group("before", "between", "after") if sign]) > 1:
        raise ValueError(cell)
    negative = bool(match["open"]) + (signs[0] in "-\N{MINUS SIGN}" if signs else 0)
    if bool(match["open"]) != bool(match["close"]) or negative > 1:
        raise ValueError(cell)
    separators, decimal = AMOUNTS[form]
    digits = match["number"].translate({ord(separator): None for separator in separators}).replace(decimal, ".")
    return f"{'-' if negative else ''}{digits}"


@cache
def _amount_pattern(form: str) -> re.Pattern[str]:
    """Return the pattern of an amount, such as -$1,200.50, (1,200), 37 % CHF 12.50 or 5.-."""
    separators, decimal = (re.escape(characters) for characters in AMOUNTS[form])
    whole = r"\d+"
    if separators:  # the last group has three digits; the others have three, or two as in 12,34,567 (India)
        group = f"[{separators}]"
        whole = rf"(?:[1-9]\d{{0,2}}(?:{group}\d{{3}})+|[1-9]\d?(?:{group}\d{{2}})+{group}\d{{3}}|\d+)"
    number = rf"(?P<number>(?:{whole}(?:{decimal}\d*)?|{decimal}\d+)(?:[eE][-+]?\d+)?)(?:(?<={decimal})[-–—]{{1,2}})?"
    sign, space, currency = "[-+\N{MINUS SIGN}]?", r"\s?", f"(?:{_CURRENCY})?"
    return re.compile(
        rf"(?P<open>\(?)(?P<before>{sign}){currency}{space}(?P<between>{sign}){number}"
        rf"(?P<after>(?<=\d)-)?{space}(?:{_CURRENCY}|%)?(?P<close>\)?)",
        re.ASCII,
    )


def whole_number(value: str | float, form: str = ".", *, zeros: bool = False) -> int:
    """Convert a number or its text to an int64.

    Args:
        value: The number or the text.
        form: See `normalize_number`.
        zeros: Whether a text may have zeros after its decimal sign: pandas writes 3 as 3.0 beside missing values.

    Raises:
        ValueError: It is not whole, or not an int64.
    """
    if isinstance(value, PointNumber) and not value.lstrip("-").isdigit():  # 5.0 is whole where numbers have a type
        value = float(value)
    if isinstance(value, str):
        text = normalize_number(value, form)
        whole = int(_ZEROS.sub("", text) if zeros else text)
    else:
        whole = int(value)
    if not -(2**63) <= whole < 2**63 or (not isinstance(value, str) and whole != value):
        raise ValueError(value)
    return whole


def is_infinite(cell: str) -> bool:
    """Return True if a text is an infinite number, as Python and pandas read it: inf, -Infinity, 1e400."""
    try:
        return "_" not in cell and math.isinf(float(cell))
    except ValueError:
        return False


def is_too_large(cell: str) -> bool:
    """Return True if a text is a finite number that float32 cannot represent, such as 1e39."""
    try:
        return "_" not in cell and FLOAT32_MAX < abs(float(cell)) < math.inf
    except ValueError:
        return False


def finite_number(value: str | float, form: str = ".") -> float:
    """Convert a number or its text to a float that float32 can represent.

    Raises:
        ValueError: It is not a number, or NaN, or infinite as float32.
    """
    number = float(normalize_number(value, form)) if isinstance(value, str) else float(value)
    if not math.isfinite(number) or abs(number) > FLOAT32_MAX:
        raise ValueError(value)
    return number
