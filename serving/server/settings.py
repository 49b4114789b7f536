"""What is Benison's own, by environment: TF Serving has no such flags, so that one command line works on both."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from serving.errors import UsageError

_DEFAULT_BIND = ("127.0.0.1", "::1")


@dataclass(frozen=True)
class Settings:
    """The environment, parsed.

    Attributes:
        bind: addresses to listen on, without port. Default: both loopbacks.
        bind_given: whether the user named them; of the defaults one may be missing on a machine.
        admin_token: who reloads the config must show it; empty: nobody can, unless bound to loopback only.
        max_queue: requests that may wait for one version; the next is answered 503 / UNAVAILABLE.
        max_body_bytes: of one request, unpacked.
        max_connections: HTTP connections at a time; the next is closed at once.
        slow_client_seconds: within which a request must have arrived, or an answer been taken.
        drain_seconds: after SIGTERM, for the requests that were accepted.
    """

    bind: tuple[str, ...] = _DEFAULT_BIND
    bind_given: bool = False
    admin_token: str = ""
    max_queue: int = 1024
    max_body_bytes: int = 128 << 20
    max_connections: int = 4096
    slow_client_seconds: float = 30.0
    drain_seconds: float = 30.0

    @property
    def loopback_only(self) -> bool:
        """Whether nobody but this machine can reach the server."""
        return all(_is_loopback(address) for address in self.bind)


def read(environment: Mapping[str, str]) -> Settings:
    """Parses BENISON_BIND, BENISON_ADMIN_TOKEN, BENISON_MAX_QUEUE and the other limits.

    Raises:
        UsageError: a value is not of its kind.
    """
    bind = tuple(part.strip() for part in environment.get("BENISON_BIND", "").split(",") if part.strip())
    return Settings(
        bind=bind or _DEFAULT_BIND,
        bind_given=bool(bind),
        admin_token=environment.get("BENISON_ADMIN_TOKEN", ""),
        max_queue=int(_number(environment, "BENISON_MAX_QUEUE", Settings.max_queue)),
        max_body_bytes=int(_number(environment, "BENISON_MAX_BODY_BYTES", Settings.max_body_bytes)),
        max_connections=int(_number(environment, "BENISON_MAX_CONNECTIONS", Settings.max_connections)),
        slow_client_seconds=_number(environment, "BENISON_SLOW_CLIENT_SECONDS", Settings.slow_client_seconds),
        drain_seconds=_number(environment, "BENISON_DRAIN_SECONDS", Settings.drain_seconds),
    )


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise UsageError(f"{name}={text}: expected a number above 0")
    return value


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address == "localhost"
