"""Numbers as the text of a file or a request gives them: the one answer for training data and for predictions."""

from __future__ import annotations

import math
import re

_FLOAT32_MAX = 3.4028234663852886e38
_CODE = re.compile("0[0-9]+")


def is_code(cell: str) -> bool:
    """Return True if a cell of digits has a leading zero, as zip codes and ids do: 02134 is not 2134."""
    return _CODE.fullmatch(cell.strip()) is not None


def normalize_number(cell: str, decimal: str) -> str:
    """Return a number in Python's notation, with a decimal point.

    Raises:
        ValueError: Python would read the cell as a number, but the file does not mean this number.
    """
    # Python reads 1_000 as a number, but no CSV uses that; with decimal commas, 1.234 may be a thousand.
    if "_" in cell or (decimal != "." and "." in cell):
        raise ValueError(cell)
    return cell.replace(decimal, ".")


def whole_number(value: str | float, decimal: str = ".") -> int:
    """Convert a number or its text to an int64.

    Raises:
        ValueError: It is not whole, or not an int64.
    """
    whole = int(normalize_number(value, decimal)) if isinstance(value, str) else int(value)
    if not -(2**63) <= whole < 2**63 or (not isinstance(value, str) and whole != value):
        raise ValueError(value)
    return whole


def finite_number(value: str | float, decimal: str = ".") -> float:
    """Convert a number or its text to a float that float32 can represent.

    Raises:
        ValueError: It is not a number, or NaN, or infinite as float32.
    """
    number = float(normalize_number(value, decimal)) if isinstance(value, str) else float(value)
    if not math.isfinite(number) or abs(number) > _FLOAT32_MAX:
        raise ValueError(value)
    return number
