"""Reading text protos from files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benison.serving.errors import UsageError


def read(path: str, message: Any, *, unknown_fields: bool = False) -> Any:
    """Fill a message from a text proto file, and return it.

    Args:
        path: The file.
        message: An empty message.
        unknown_fields: Ignore fields that the message lacks.

    Raises:
        UsageError: The file cannot be read or is not such a message; the error names the line.
    """
    from google.protobuf import text_format

    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error.strerror if isinstance(error, OSError) else 'not UTF-8'}") from None
    try:
        return text_format.Parse(text, message, allow_unknown_field=unknown_fields)
    except text_format.ParseError as error:
        raise UsageError(f"{path}: not a text proto {message.DESCRIPTOR.name}: {error}") from None
