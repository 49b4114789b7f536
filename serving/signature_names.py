"""Names of columns in a model's signatures, whose arguments must be names that TensorFlow and Python accept.

This is the only place that chooses such names. A model says in `assets.extra/raw_inputs.json` which column each input
is (`benison.serving.missing_values`), so that every reader uses the names that were chosen at export.
"""

from __future__ import annotations

import itertools
import keyword
import re
from collections.abc import Iterable

# TensorFlow calls Python functions with the arguments as keywords, so a keyword of Python or `self` fails.
RESERVED = frozenset([*keyword.kwlist, "self"])
_EXAMPLES = ("examples", "serialized_examples", "input_examples")


def argument_names(columns: Iterable[str], others: Iterable[str] = ()) -> dict[str, str]:
    """Return the name of each column in the signatures `raw` and `members`, or of each feature in `transformed`.

    A name that begins with a letter and has only letters, digits and '_' (of ASCII) does not change, except a reserved
    one such as `class`. In other names, such as `sepal length (cm)`, other characters become '_', and one beyond ASCII
    its code point, so that different columns usually stay different.

    Args:
        columns: The columns.
        others: Other columns of the same data, such as the label.

    Returns:
        Argument by column. If names differ only in case, which TensorFlow ignores, all but one get a number. An
        argument that differs from its column is not the name of any other column, so that a name in a request means
        one column only.
    """
    columns = sorted(columns, key=lambda column: (_safe(column) != column, column))
    names: dict[str, str] = {}
    taken: set[str] = set()
    reserved = {name.lower() for name in (*columns, *others)}
    # Names that do not change come first, so that no other column takes theirs.
    for column in columns:
        safe = _safe(column)
        name, count = safe, 1
        while name.lower() in taken or (name != column and name.lower() in reserved):
            count += 1
            name = f"{safe}_{count}"
        taken.add(name.lower())
        names[column] = name
    return names


def examples_name(columns: Iterable[str]) -> str:
    """Return the name of the input with serialised tf.Examples: `examples`, unless a column has this name.

    TFMA feeds a column to an input of the same name; the model would then read the column's values as tf.Examples.

    Args:
        columns: All columns of the data.
    """
    taken = frozenset(columns)
    numbered = (f"{_EXAMPLES[0]}_{count}" for count in itertools.count(2))
    return next(name for name in itertools.chain(_EXAMPLES, numbered) if name not in taken)


def _safe(column: str) -> str:
    name = re.sub(r"[^\x00-\x7f]", lambda match: f"u{ord(match[0]):x}", column)
    name = re.sub(r"[^A-Za-z0-9_]", "_", name)
    if not re.match("[A-Za-z]", name):
        return f"x{name}" if name.startswith("_") else f"x_{name}"
    return f"x_{name}" if name in RESERVED else name
