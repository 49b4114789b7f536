"""Reads JSON as TF Serving does: NaN and infinity, base64, and the form of values in messages."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from typing import Any

import orjson

from benison.serving.server.status import invalid

_MAX_EXCERPT = 256  # characters
# The memory of what a sign of JSON begins, in bytes: a number, an entry of a dict, a dict, a list, half of a string.
_OBJECT_BYTES = {b",": 40, b":": 72, b"{": 250, b"[": 90, b'"': 28}
_BASE64 = str.maketrans("-_", "+/", " \t\n\v\f\r")
# A quote, an escape, or Inf, which Python's parser does not know. No match is long: a pattern of whole strings would
# try every quote of a string that is not closed as its start. Each begins with a sign of its own, so the rest of the
# text is skipped at once.
_QUOTE_ESCAPE_INF = re.compile(r'"|\\.|Inf(?!\w)', re.DOTALL)


def parse(body: bytes | bytearray) -> dict[str, Any]:
    """Parse the JSON object of a request.

    NaN, Infinity, -Infinity, Inf and -Inf are numbers. Text after the object is ignored.

    Raises:
        RequestError: The body is not a JSON object.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = _parse_leniently(body)
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {excerpt(document)} Is not object")
    return document


def memory(body: bytes | bytearray) -> int:
    """Return an upper bound of the memory of a document as Python objects, without making them (bytes)."""
    characters = 1 if body.isascii() and b"\\u" not in body else 4
    return len(body) * characters + sum(body.count(sign) * size for sign, size in _OBJECT_BYTES.items())


def signature_name(document: Mapping[str, Any]) -> str:
    """Return the request's `signature_name`; empty if there is none.

    Raises:
        RequestError: It is not a string.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {excerpt(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def is_base64(value: Any) -> bool:
    """Return whether a value is {"b64": "…"}, which stands for bytes and not for an object."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def decode_base64(value: Mapping[str, Any]) -> bytes:
    """Return the bytes of {"b64": "…"} as absl does: either alphabet, with or without padding and line breaks.

    Raises:
        RequestError: It is not valid base64.
    """
    if not is_base64(value):
        raise invalid(f"JSON Value: {excerpt(value)} not formatted correctly for base64 data")
    text = value["b64"].translate(_BASE64).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid("Unable to base64 decode") from None


def type_name(value: Any) -> str:
    """Return the name of a JSON value's type in messages."""
    names = {type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return str(value) if isinstance(value, bool) else names[type(value)]


def excerpt(value: Any) -> str:
    """Return a value as messages show it, truncated."""
    text = ""
    for part in json.JSONEncoder(ensure_ascii=False).iterencode(value):
        text += part
        if len(text) >= _MAX_EXCERPT:  # the value may be a body of 100 MB
            break
    return text[:_MAX_EXCERPT]


def _with_infinity(text: str) -> str:
    """Write every Inf outside strings as Infinity."""
    if "Inf" not in text:
        return text
    in_string = False

    def written(match: re.Match[str]) -> str:
        nonlocal in_string
        token = match[0]
        if token == '"':
            in_string = not in_string
        return "Infinity" if token == "Inf" and not in_string else token

    return _QUOTE_ESCAPE_INF.sub(written, text)


def _float(text: str) -> float:
    """Return a number as RapidJSON does, which refuses one that no double can hold.

    Raises:
        RequestError: The number is too big.
    """
    value = float(text)
    if math.isinf(value):
        raise invalid(f"JSON Parse error: Number too big to be stored in double: {text[:_MAX_EXCERPT]}")
    return value


def _int(text: str) -> int:
    """Return a whole number; see `_float`."""
    _float(text)
    return int(text)


def _parse_leniently(body: bytes | bytearray) -> Any:
    try:
        text = body.decode("utf-8-sig")
        text = _with_infinity(text).lstrip()
        document = json.JSONDecoder(parse_float=_float, parse_int=_int).raw_decode(text)[0]
        if "\\ud" in text.lower():
            json.dumps(document, ensure_ascii=False).encode()  # half a surrogate pair cannot be encoded
        return document
    except UnicodeEncodeError:
        raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from None
    except UnicodeDecodeError as error:
        raise invalid(f"JSON Parse error: Invalid encoding in string. at offset: {error.start}") from None
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from None
    except (RecursionError, ValueError):  # ValueError: a number of thousands of digits
        raise invalid("JSON Parse error: too deep or too long a value") from None
