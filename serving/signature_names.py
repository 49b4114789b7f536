"""Names of raw features in a model's signatures, whose arguments must be valid names of TensorFlow operations."""

from __future__ import annotations

import re
from collections.abc import Iterable


def argument_names(columns: Iterable[str]) -> dict[str, str]:
    """Return the name of each column in the signatures `raw` and `members`.

    A name of letters, digits, '_' and '.' does not change. In other names, such as `sepal length (cm)`, a character
    that TensorFlow refuses becomes '_', and one beyond ASCII its code point, so that different columns stay different.

    Returns:
        Argument by column. If names differ only in case, which TensorFlow ignores, all but one get a number.
    """
    names: dict[str, str] = {}
    taken: set[str] = set()
    # Plain names come first, so that no other column takes theirs.
    for column in sorted(columns, key=lambda column: (_plain(column) != column, column)):
        name, count = _plain(column), 1
        while name.lower() in taken:
            count += 1
            name = f"{_plain(column)}_{count}"
        taken.add(name.lower())
        names[column] = name
    return names


def _plain(column: str) -> str:
    name = re.sub(r"[^\x00-\x7f]", lambda match: f"u{ord(match[0]):x}", column)
    name = re.sub(r"[^A-Za-z0-9_.]", "_", name)
    return name if re.match("[A-Za-z0-9.]", name) else f"x{name}"
