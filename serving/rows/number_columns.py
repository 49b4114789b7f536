"""Columns of text as numbers, at once, in the grammar of `number_text`; it decides what is not clear here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benison.serving.missing_values import MISSING_INTEGER
from benison.serving.number_text import FLOAT32_MAX, NUMBER


def floats(texts: Any, decimal: str = ".") -> NDArray[np.float64]:
    """Return texts as numbers that float32 can represent; NaN if a text is not clearly one.

    Args:
        texts: an Arrow array of text.
        decimal: the decimal sign, a point or a comma.
    """
    plain = texts
    if decimal != ".":
        pointed = pc.match_substring(texts, ".")
        plain = pc.replace_substring(texts, decimal, ".")
    try:
        numbers = pc.cast(plain, pa.float64()).to_numpy(zero_copy_only=False).copy()
    except pa.ArrowInvalid:
        plain = pc.replace_substring_regex(pc.utf8_trim_whitespace(plain), r"^\+", "")
        plain = pc.if_else(pc.match_substring_regex(plain, f"^{NUMBER}$"), plain, pa.scalar(None, pa.string()))
        numbers = pc.cast(plain, pa.float64()).to_numpy(zero_copy_only=False).copy()
    if decimal != ".":
        numbers[pointed.to_numpy(zero_copy_only=False)] = np.nan
    numbers[~(np.abs(numbers) <= FLOAT32_MAX)] = np.nan
    return numbers


def integers(texts: Any) -> Any:
    """Return texts as an Arrow array of int64; None unless all clearly are such numbers, such as 3 or 3.0.

    Args:
        texts: an Arrow array of text.
    """
    try:
        numbers = pc.cast(texts, pa.int64())
    except pa.ArrowInvalid:
        texts = pc.replace_substring_regex(texts, r"^([-+]?[0-9]+)\.0*$", r"\1")
        try:
            numbers = pc.cast(texts, pa.int64())
        except pa.ArrowInvalid:
            return None
    hexadecimal = pc.match_substring(texts, "x", ignore_case=True)  # Arrow reads 0x1f
    odd = pc.any(pc.or_(pc.equal(numbers, MISSING_INTEGER), hexadecimal)).as_py()
    return None if odd else numbers
