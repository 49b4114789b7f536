"""What is Benison's own, by environment: TF Serving has no such flags, so that one command line works on both."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from benison.serving.errors import UsageError
from benison.serving.server.observing import logs

_DEFAULT_BIND = ("127.0.0.1", "::1")


@dataclass(frozen=True)
class ServerSettings:
    """The environment, parsed.

    Attributes:
        bind: addresses to listen on, without port. Default: both loopbacks.
        bind_given: whether the user named them; of the defaults one may be missing on a machine.
        admin_token: who reloads the config must show it; empty: nobody can, unless bound to loopback only.
        max_queue: requests that may wait for one version; the next is answered 503 / UNAVAILABLE.
        max_body_bytes: of one request, unpacked.
        max_held_bytes: of all bodies together that HTTP clients sent and that are not answered yet; beyond, large ones
            are answered 503.
        max_connections: HTTP connections at a time; the next is closed at once.
        slow_client_seconds: within which a request must have arrived, or an answer been taken.
        drain_seconds: after SIGTERM, for the requests that were accepted.
        fast_paths: whether requests may go a faster way than the plain one, once it was seen to answer alike.
        log: the form of the logs.
        access_log: the share of requests that get a line in them; 0 for none.
    """

    bind: tuple[str, ...] = _DEFAULT_BIND
    bind_given: bool = False
    admin_token: str = ""
    max_queue: int = 1024
    max_body_bytes: int = 128 << 20
    max_held_bytes: int = 1 << 30
    max_connections: int = 4096
    slow_client_seconds: float = 30.0
    drain_seconds: float = 30.0
    fast_paths: bool = True
    log: logs.Form = "text"
    access_log: float = 0.0

    @property
    def loopback_only(self) -> bool:
        """Whether nobody but this machine can reach the server."""
        return all(_is_loopback(address) for address in self.bind)


def read(environment: Mapping[str, str]) -> ServerSettings:
    """Parses BENISON_BIND, BENISON_ADMIN_TOKEN, BENISON_MAX_QUEUE and the other limits.

    Raises:
        UsageError: a value is not of its kind.
    """
    bind = tuple(part.strip() for part in environment.get("BENISON_BIND", "").split(",") if part.strip())
    return ServerSettings(
        bind=bind or _DEFAULT_BIND,
        bind_given=bool(bind),
        admin_token=environment.get("BENISON_ADMIN_TOKEN", ""),
        max_queue=int(_number(environment, "BENISON_MAX_QUEUE", ServerSettings.max_queue)),
        max_body_bytes=int(_number(environment, "BENISON_MAX_BODY_BYTES", ServerSettings.max_body_bytes)),
        max_held_bytes=int(_number(environment, "BENISON_MAX_HELD_BYTES", ServerSettings.max_held_bytes)),
        max_connections=int(_number(environment, "BENISON_MAX_CONNECTIONS", ServerSettings.max_connections)),
        slow_client_seconds=_number(environment, "BENISON_SLOW_CLIENT_SECONDS", ServerSettings.slow_client_seconds),
        drain_seconds=_number(environment, "BENISON_DRAIN_SECONDS", ServerSettings.drain_seconds),
        fast_paths=_switch(environment, "BENISON_FAST_PATHS"),
        log=_log_form(environment),
        access_log=_share(environment, "BENISON_ACCESS_LOG"),
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


def _log_form(environment: Mapping[str, str]) -> logs.Form:
    given = environment.get("BENISON_LOG", "") or "text"
    for form in get_args(logs.Form):
        if given == form:
            return form
    raise UsageError(f"BENISON_LOG={given}: expected text or json")


def _share(environment: Mapping[str, str], name: str) -> float:
    text = environment.get(name, "") or "0"
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f"{name}={text}: expected a share from 0 (no request) to 1 (every one)")
    return value


def _switch(environment: Mapping[str, str], name: str) -> bool:
    text = environment.get(name, "") or "on"
    if text not in ("on", "off"):
        raise UsageError(f"{name}={text}: expected on or off")
    return text == "on"


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address == "localhost"
