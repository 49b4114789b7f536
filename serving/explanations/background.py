"""The background of a version: a sample of its rows of `train`, which explanations compare a row with.

`assets.extra/background.json` has the values of each input of the signature `raw`; null is not a number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.serving.errors import VersionError

if TYPE_CHECKING:
    import numpy as np

FILE = "background.json"
PLACE = f"assets.extra/{FILE}"
ROWS = 64  # the default of `serving.background`
MOST_ROWS = 256
_FORMAT = 1
_TYPES = {"O": "string", "f": "float32", "i": "int64"}  # TensorFlow's type by NumPy's kind


def write(file: Path, inputs: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write rows.

    Args:
        file: the file.
        inputs: values [rows] or [rows, n] by input of `raw`; text is bytes in an object array.
    """
    content = {name: {"type": _TYPES[values.dtype.kind], "values": _plain(values)} for name, values in inputs.items()}
    text = json.dumps({"format": _FORMAT, "inputs": content}, allow_nan=False, sort_keys=True)
    file.write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> dict[str, np.ndarray[Any, Any]] | None:
    """Read the rows of a version; None if it has none.

    Returns:
        Values by input of `raw`, as for `write`.

    Raises:
        VersionError: The file is broken, or a newer Benison wrote it.
    """
    file = folder / PLACE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["format"] > _FORMAT:
            raise VersionError(f"{file}: a newer Benison wrote format {content['format']}; update Benison to read it")
        return {name: _array(column["type"], column["values"]) for name, column in content["inputs"].items()} or None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise VersionError(f"{file}: not a sample of rows ({error}); the version is damaged: push it again") from None


def _plain(values: np.ndarray[Any, Any]) -> Any:
    """Return values as JSON data."""

    def cell(value: Any) -> Any:
        if isinstance(value, list):
            return [cell(part) for part in value]
        if isinstance(value, bytes):
            return value.decode("utf-8", "surrogateescape")
        return None if value != value or value in (float("inf"), float("-inf")) else value

    return [cell(value) for value in values.tolist()]


def _array(dtype: str, values: Any) -> np.ndarray[Any, Any]:
    import numpy as np

    if dtype == "string":
        shape = (len(values), len(values[0])) if values and isinstance(values[0], list) else (len(values),)
        array = np.empty(shape, object)
        flat = [text for row in values for text in row] if len(shape) == 2 else values
        array.ravel()[:] = [text.encode("utf-8", "surrogateescape") for text in flat]
        return array
    return np.array(values, {"float32": np.float32, "int64": np.int64}[dtype])  # NumPy reads None as NaN
