"""Numbers as text in reports."""

from __future__ import annotations

_ROUNDING = 1e-12  # anything smaller is a zero that was rounded


def figure(value: float | None, *others: float | None, sign: str = "") -> str:
    """Return a number with four decimals, or with significant digits where four decimals show none, or far too many.

    Args:
        value: the number; "-" stands for None.
        others: numbers beside it, which get the same form.
        sign: "+" to show a plus sign too.
    """
    if value is None:
        return "-"
    largest = max(abs(number) for number in (value, *others) if number is not None)
    form = ".6g" if largest >= 1e7 else ".2g" if _ROUNDING < largest < 0.0005 else ".4f"
    text = f"{value:{sign}{form}}"
    return text if float(text) else text.replace("-", sign)


def with_interval(middle: float | None, low: float | None, high: float | None, sign: str = "+") -> str:
    """Return a number and its interval; "-" if there is none."""
    if middle is None:
        return "-"
    # Two equal metrics may differ in the last bit.
    numbers = [None if number is None else round(number, 12) + 0.0 for number in (middle, low, high)]
    shown = [figure(number, *numbers, sign=sign) for number in numbers]
    return shown[0] if low is None else f"{shown[0]} ({shown[1]} to {shown[2]})"


def percent(share: float) -> str:
    """Return a share in percent, such as 12.3 %; small shares keep a digit that is not 0."""
    if 0 < share < 0.001:
        return f"{share * 100:.2g} %"
    return f"{share * 100:.1f} %"


def count(number: float) -> str:
    """Return a whole number with spaces between thousands."""
    return f"{round(number):,}".replace(",", "\u202f")


def short(number: float | None) -> str:
    """Return a number of any size with four significant digits; "-" for None."""
    if number is None:
        return "-"
    if 1e4 <= abs(number) < 1e9:
        return count(number)
    if number and (abs(number) >= 1e9 or abs(number) < 1e-4):
        return f"{number:.3e}"
    return f"{number:.4g}"


def seconds(value: float | None) -> str:
    """Return seconds, from a minute on with minutes; "-" for None."""
    if value is None:
        return "-"
    return f"{value:.1f} s" if value < 60 else f"{int(value // 60)} min {value % 60:02.0f} s"
