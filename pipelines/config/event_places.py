"""Places for OpenLineage events: a file, or the address of an endpoint."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from benison.serving.addresses import without_secrets

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # two letters or more: C:/ is a drive


def is_address(place: str) -> bool:
    """Return True if a place is an address, and not a file."""
    return _SCHEME.match(place) is not None


def fault(place: str) -> str:
    """Return why events cannot go to a place, without its secrets; '' if they can."""
    if not is_address(place):
        return ""
    expected = "expected a file or http(s)://HOST[:PORT][/PATH]"
    try:
        parts = urlsplit(place)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:  # such as a port that is no number
        return f"got a malformed address, {expected}"
    if parts.scheme not in ("http", "https"):
        return f"got {without_secrets(place)!r}, {expected}"
    if "@" in place or "?" in place or "#" in place:
        return (
            "got an address with a password or a query in it, expected one without; set the environment variable "
            "OPENLINEAGE_API_KEY"
        )
    return "" if has_host else f"got {without_secrets(place)!r}, {expected}"
