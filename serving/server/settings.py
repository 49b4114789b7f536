"""Settings that TF Serving does not have; they are environment variables, so that one command line works on both."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from benison.serving.errors import UsageError
from benison.serving.server import hosts
from benison.serving.server.engine import RefuseOperations
from benison.serving.server.observing import logs

_DEFAULT_BIND = ("127.0.0.1", "::1")
_LOOPBACK_NAME = "localhost"


@dataclass(frozen=True)
class ServerSettings:
    """The parsed environment variables.

    Attributes:
        bind: addresses to listen on, without a port. Default: both loopback addresses.
        bind_is_explicit: whether the user set them. If not, a default address that the machine lacks is skipped.
        allowed_hosts: names that a request's Host may have besides localhost, as `hosts.canonical_name` returns them.
        admin_token: token that a config reload over TCP must send; over the Unix socket none is needed.
        open_reload: whether everybody may reload the config, if there is no token.
        max_queue: requests that may wait for one version; the next one gets 503 or UNAVAILABLE.
        max_body_bytes: largest request body after decompression.
        max_held_bytes: largest total size of the bodies of unanswered HTTP requests; beyond it, large bodies get 503.
            Likewise of large gRPC messages.
            Default: twice max_body_bytes.
        max_connections: HTTP connections at a time; beyond it, the next one replaces a silent one.
        slow_client_seconds: time in which a request must arrive and a response must be read (seconds).
        drain_seconds: time for accepted requests after SIGTERM (seconds).
        hung_seconds: time after its deadline in which a run must end (seconds); then it counts as hung.
        fast_paths: whether requests may take a faster path, if a check at load showed that its answers are the same.
        plain_models: models whose requests take the plain path anyway; a large model with many signatures loads sooner.
        verify: whether the files of a version are compared with its manifest before it is loaded.
        refuse_ops: the versions that must not reach files, the network or Python; see LoadOptions.
        share_runs: whether requests share runs at all.
        op_libraries: libraries of operations to load at the start.
        follow_links: whether a version, or a file in it, may be a link to a place outside its model's base path.
        log: format of the logs.
        access_log: share of requests that get a log line, from 0 to 1.
    """

    bind: tuple[str, ...] = _DEFAULT_BIND
    bind_is_explicit: bool = False
    allowed_hosts: tuple[str, ...] = ()
    admin_token: str = ""
    open_reload: bool = False
    max_queue: int = 1024
    max_body_bytes: int = 128 << 20
    max_held_bytes: int = 256 << 20
    max_connections: int = 4096
    slow_client_seconds: float = 30.0
    drain_seconds: float = 30.0
    hung_seconds: float = 30.0
    fast_paths: bool = True
    plain_models: frozenset[str] = frozenset()
    verify: bool = True
    refuse_ops: RefuseOperations = "foreign"
    share_runs: bool = True
    op_libraries: tuple[str, ...] = ()
    follow_links: bool = False
    log: logs.LogFormat = "text"
    access_log: float = 0.0

    @property
    def loopback_only(self) -> bool:
        """True if only this machine can reach the server."""
        return all(_is_loopback(address) for address in self.bind)

    @property
    def host_names(self) -> frozenset[str] | None:
        """Names that the Host of an HTTP request may have, as in `hosts`; None for every Host.

        Beyond loopback, names are checked only if the user lists them.
        """
        if not self.loopback_only and not self.allowed_hosts:
            return None
        return frozenset([_LOOPBACK_NAME, *self.allowed_hosts])


def read(environment: Mapping[str, str]) -> ServerSettings:
    """Parse the variables whose names begin with BENISON_.

    Args:
        environment: the environment, by name.

    Raises:
        UsageError: a value is not valid for its variable.
    """
    bind = _names(environment, "BENISON_BIND")
    max_body_bytes = int(_number(environment, "BENISON_MAX_BODY_BYTES", ServerSettings.max_body_bytes))
    return ServerSettings(
        bind=bind or _DEFAULT_BIND,
        bind_is_explicit=bool(bind),
        allowed_hosts=_hosts(environment),
        admin_token=environment.get("BENISON_ADMIN_TOKEN", ""),
        open_reload=_switch(environment, "BENISON_OPEN_RELOAD", default="off"),
        max_queue=int(_number(environment, "BENISON_MAX_QUEUE", ServerSettings.max_queue)),
        max_body_bytes=max_body_bytes,
        max_held_bytes=int(_number(environment, "BENISON_MAX_HELD_BYTES", 2 * max_body_bytes)),
        max_connections=int(_number(environment, "BENISON_MAX_CONNECTIONS", ServerSettings.max_connections)),
        slow_client_seconds=_number(environment, "BENISON_SLOW_CLIENT_SECONDS", ServerSettings.slow_client_seconds),
        drain_seconds=_number(environment, "BENISON_DRAIN_SECONDS", ServerSettings.drain_seconds),
        hung_seconds=_number(environment, "BENISON_HUNG_SECONDS", ServerSettings.hung_seconds),
        fast_paths=_switch(environment, "BENISON_FAST_PATHS"),
        plain_models=frozenset(_names(environment, "BENISON_PLAIN_MODELS")),
        verify=_switch(environment, "BENISON_VERIFY"),
        refuse_ops=_refuse_ops(environment),
        share_runs=_switch(environment, "BENISON_SHARE_RUNS"),
        op_libraries=_names(environment, "BENISON_OP_LIBRARIES"),
        follow_links=_switch(environment, "BENISON_FOLLOW_LINKS", "off"),
        log=_log_format(environment),
        access_log=_share(environment, "BENISON_ACCESS_LOG"),
    )


def _names(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in environment.get(name, "").split(",") if part.strip())


def _hosts(environment: Mapping[str, str]) -> tuple[str, ...]:
    names = []
    for entry in _names(environment, "BENISON_ALLOWED_HOSTS"):
        name = hosts.canonical_name(entry)
        if name is None and not hosts.is_address(entry):
            raise UsageError(
                f"BENISON_ALLOWED_HOSTS: got {entry}, expected whole names as in a URL, such as models.example.org, "
                "without scheme, port and wildcard; IP addresses are always accepted"
            )
        names.append(name or entry)
    return tuple(names)


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


def _log_format(environment: Mapping[str, str]) -> logs.LogFormat:
    text = environment.get("BENISON_LOG", "") or "text"
    for log_format in get_args(logs.LogFormat):
        if text == log_format:
            return log_format
    raise UsageError(f"BENISON_LOG={text}: expected text or json")


def _share(environment: Mapping[str, str], name: str) -> float:
    text = environment.get(name, "") or "0"
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UsageError(f"{name}={text}: expected a share from 0 (no request) to 1 (every request)")
    return value


def _switch(environment: Mapping[str, str], name: str, default: str = "on") -> bool:
    text = environment.get(name, "") or default
    if text not in ("on", "off", "1", "0"):
        raise UsageError(f"{name}={text}: expected on, 1, off or 0")
    return text in ("on", "1")


def _refuse_ops(environment: Mapping[str, str]) -> RefuseOperations:
    if not environment.get("BENISON_REFUSE_OPS", ""):
        return "foreign"
    return "all" if _switch(environment, "BENISON_REFUSE_OPS") else "none"


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return address == _LOOPBACK_NAME
