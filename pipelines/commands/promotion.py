"""`benison promote` and `rollback`: what is served is changed."""

from __future__ import annotations

import getpass
import os
import socket
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.commands.arguments import DEFAULT_ROOT, Name, Root
from pipelines.commands.versions import Number, pushed_base

if TYPE_CHECKING:
    from serving.history import Change

Why = Annotated[str, typer.Option("--why", help="For the record.")]
Servers = Annotated[
    list[str] | None,
    typer.Option(
        "--server", metavar="HOST:PORT", help="gRPC of a server to be told; default: serving.servers of the YAML."
    ),
]
Timeout = Annotated[
    float, typer.Option("--timeout", min=1, metavar="SECONDS", help="For the servers, at each of three steps.")
]
Settle = Annotated[
    float,
    typer.Option(
        "--settle", min=0, metavar="SECONDS", help="Between steps, for TF Servings that poll models.config untold."
    ),
]
_TIMEOUT_S = 120.0


def promote(
    name: Name,
    number: Number,
    label: Annotated[Literal["stable", "canary"], typer.Option("--label", help="Which label it gets.")] = "stable",
    why: Why = "",
    server: Servers = None,
    timeout: Timeout = _TIMEOUT_S,
    settle: Settle = 0.0,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Has a version served: as NAME, or with --label canary as NAME-canary beside it."""
    from serving import promotion

    base = pushed_base(name, root)
    change = promotion.promote(
        base, number, label=label, servers=_servers(name, server),
        who=_user(), why=why, timeout_s=timeout, settle_s=settle,
    )  # fmt: skip
    _tell(base.name, change)


def rollback(
    name: Name,
    to: Annotated[
        int | None, typer.Option("--to", metavar="VERSION", help="Default: what was stable before the present one.")
    ] = None,
    canary: Annotated[bool, typer.Option("--canary", help="Take the canary away, and leave NAME as it is.")] = False,
    republish: Annotated[
        bool,
        typer.Option(
            "--republish", help="Push it once more, as the highest number, for servers that know no models.config."
        ),
    ] = False,
    why: Why = "",
    server: Servers = None,
    timeout: Timeout = _TIMEOUT_S,
    settle: Settle = 0.0,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Has an earlier version served again."""
    from serving import promotion
    from serving.errors import UsageError

    if canary and (republish or to is not None):
        raise UsageError("rollback: --canary goes with neither --to nor --republish; it takes the canary away")
    base, servers, who = pushed_base(name, root), _servers(name, server), _user()
    if canary:
        change = promotion.withdraw(base, servers=servers, who=who, why=why, timeout_s=timeout, settle_s=settle)
    else:
        number = to if to is not None else promotion.previous(base)
        if republish:
            again = promotion.republish(base, number, who=who, why=why)
            print(f"version {number} of {base.name} is version {again.number}, too: {again.path}")
            number = again.number
        change = promotion.rollback(base, number, servers=servers, who=who, why=why, timeout_s=timeout, settle_s=settle)
    _tell(base.name, change)


def _servers(name: str, given: list[str] | None) -> tuple[str, ...]:
    """Those that are named on the command line, or else in the pipeline's YAML, where that is found."""
    from pipelines import config_file
    from pipelines.commands.arguments import load
    from pipelines.quiet import quieten
    from serving.errors import UsageError

    quieten()  # the client of a server imports TensorFlow
    if given:
        return tuple(given)
    try:
        config_file.find(name)
    except UsageError:
        print(f"no YAML of {name} is here, so no server is told; name them by --server, or give the YAML's path")
        return ()
    return load(name, None, check_data=False).serving.servers


def _tell(name: str, change: Change) -> None:
    if change.before == change.to:
        print(f"{name}: version {change.to} is {change.label} already")
    elif change.to is None:
        print(f"{name}: version {change.before} is no {change.label} any longer")
    else:
        before = "" if change.before is None else f", in place of {change.before}"
        print(f"{name}: version {change.to} is {change.label}{before}")
    for server in change.servers:
        print(f"served so by {server}")
    if not change.servers:
        print("written to models.config; servers that poll it follow")


def _user() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # of a container, say, whose user has no name
        name = f"user {os.getuid()}"
    return f"{name}@{socket.gethostname()}"
