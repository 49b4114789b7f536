"""The Host header of an HTTP request: an IP address, or a name that the server must know.

A page that a browser has open may let its own name point to this server, and then read the server's answers (DNS
rebinding). The browser sends that name as the Host. An address cannot be rebound, so every address is accepted.
"""

from __future__ import annotations

import ipaddress
import re
import socket

_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::\d*)?")
_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_IPV4 = re.compile(r"[0-9a-fx.]+")  # 127.0.0.1, and shorter or hexadecimal spellings, which browsers take for addresses


def is_accepted(host: bytes, names: frozenset[str]) -> bool:
    """Return True if a Host header is an IP address or one of the names, with or without a port.

    Args:
        host: the value of the header.
        names: as `canonical_name` returns them.
    """
    parts = _HOST.fullmatch(host.decode("latin-1").strip(" \t"))
    return parts is not None and (is_address(parts[1]) or canonical_name(parts[1]) in names)


def is_address(host: str) -> bool:
    """Return True for an IPv4 address in any spelling, or an IPv6 address in brackets."""
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return host.endswith("]")
    address = host.lower().removesuffix(".")
    if not _IPV4.fullmatch(address):
        return False
    try:
        socket.inet_aton(address)
    except OSError:
        return False
    return True


def canonical_name(host: str) -> str | None:
    """Return a name in lower case without the dot of the root at its end; None if it is not a name."""
    name = host.lower().removesuffix(".")
    return name if _NAME.fullmatch(name) else None
