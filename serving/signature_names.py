"""How a raw feature is called in a model's signatures, whose arguments are named as TensorFlow's operations are."""

from __future__ import annotations

import re
from collections.abc import Iterable


def argument_names(columns: Iterable[str]) -> dict[str, str]:
    """The name of each column in the signatures `raw` and `members`.

    A name of letters, digits, '_' and '.' stays as it is. In any other, such as `sepal length (cm)`, what TensorFlow
    does not take becomes '_', and letters beyond ASCII their number, so that two columns in the same script stay two.

    Returns:
        Argument by column; names that differ in no more than case, which TensorFlow takes for the same, get a number.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    # Plain names first: no other column may take theirs.
    for column in sorted(columns, key=lambda column: (_plain(column) != column, column)):
        name, count = _plain(column), 1
        while name.lower() in taken:
            count += 1
            name = f"{_plain(column)}_{count}"
        taken.add(name.lower())
        names[column] = name
    return names


def _plain(column: str) -> str:
    name = re.sub(r"[^\x00-\x7f]", lambda found: f"u{ord(found[0]):x}", column)
    name = re.sub(r"[^A-Za-z0-9_.]", "_", name)
    return name if re.match("[A-Za-z0-9.]", name) else f"x{name}"
