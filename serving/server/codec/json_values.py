"""JSON as TF Serving reads it: NaN and infinity, base64, and how messages show a value."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any

import orjson

from benison.serving.server.status import invalid

_DEBUG_CHARACTERS = 256
# Bare Inf, which Python's parser lacks; strings are matched first, and kept.
_INF = re.compile(r'"(?:[^"\\]|\\.)*"|\bInf\b')


def parse(body: bytes) -> dict[str, Any]:
    """A request's JSON object. NaN, Infinity, -Infinity, Inf and -Inf are numbers; what follows the object is ignored.

    Raises:
        RequestError: it is no JSON object.
    """
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = _parse_leniently(body)
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {shown(document)} Is not object")
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """The request's `signature_name`; empty if there is none.

    Raises:
        RequestError: it is no text.
    """
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name


def is_base64(value: Any) -> bool:
    """Whether a value is {"b64": "…"}, which is bytes and no object."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def decoded(value: Mapping[str, Any]) -> bytes:
    """The bytes of {"b64": "…"}, in either alphabet, with or without padding, as absl reads them."""
    if not is_base64(value):
        raise invalid(f"JSON Value: {shown(value)} not formatted correctly for base64 data")
    text = value["b64"].translate({ord("-"): "+", ord("_"): "/"}).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid("Unable to base64 decode") from None


def type_name(value: Any) -> str:
    """A JSON value's type, as messages call it."""
    names = {type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return str(value) if isinstance(value, bool) else names[type(value)]


def shown(value: Any) -> str:
    """A value as messages show it, cut short."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (RecursionError, ValueError):
        text = type_name(value)
    return text[:_DEBUG_CHARACTERS]


def _parse_leniently(body: bytes) -> Any:
    try:
        text = body.decode("utf-8-sig")
        text = _INF.sub(lambda match: "Infinity" if match[0] == "Inf" else match[0], text).lstrip()
        document = json.JSONDecoder().raw_decode(text)[0]
        if "\\ud" in text.lower():
            json.dumps(document, ensure_ascii=False).encode()  # half a surrogate pair cannot be
        return document
    except UnicodeEncodeError:
        raise invalid("JSON Parse error: The surrogate pair in string is invalid.") from None
    except UnicodeDecodeError as error:
        raise invalid(f"JSON Parse error: Invalid encoding in string. at offset: {error.start}") from None
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from None
    except (RecursionError, ValueError):  # ValueError: a number of thousands of digits
        raise invalid("JSON Parse error: too deep or too long a value") from None
