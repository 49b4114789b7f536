"""Addresses for messages and logs: scheme, host, port and path, never a user, a password or a query."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"""[A-Za-z][A-Za-z0-9+.-]*://[^\s"<>]*[^\s"<>',;:)]""")
_PLACE = re.compile(r"[^:]*(?::\d*)?|\[[^\]]*\](?::\d*)?")  # host and port


def without_secrets(address: str) -> str:
    """Return an address without user, password, query and fragment.

    A password may have a `/`, `?` or `#` that is not encoded. If it is not clear where such an address has its host,
    only the scheme is left. What is no address comes back as it is.
    """
    scheme, mark, rest = address.partition("://")
    if not mark:
        return address
    place = re.split(r"[/?#]", rest, maxsplit=1)[0]
    path = re.split(r"[?#]", rest[len(place) :], maxsplit=1)[0]
    host = place.rpartition("@")[2]
    is_clear = "@" in place or ":" not in place or "@" not in rest
    return f"{scheme}://{host}{path}" if is_clear and _PLACE.fullmatch(host) else f"{scheme}://..."


def hide_secrets(text: str) -> str:
    """Return a text in which every address is without secrets."""
    return _ADDRESS.sub(lambda found: without_secrets(found[0]), text)
