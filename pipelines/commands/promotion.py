"""`benison promote` and `rollback`: what is served is changed."""

from __future__ import annotations

import getpass
import os
import socket
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Name, Root, serving_settings
from benison.pipelines.commands.versions import Number, pushed_base

if TYPE_CHECKING:
    from pathlib import Path

    from benison.serving.deploy.settings import Serving
    from benison.serving.promotion.history import Change

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
    float | None,
    typer.Option(
        "--settle",
        min=0,
        metavar="SECONDS",
        help="Between steps, for TF Servings that poll models.config untold; default: serving.settle_s of the YAML.",
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
    settle: Settle = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Has a version served: as NAME, or with --label canary as NAME-canary beside it."""
    from benison.serving.promotion import promote as promotion

    base, settings = pushed_base(name, root), _settings(name, server, settle)
    _copy(base, number, settings)
    change = promotion.promote(
        base, number, label=label, servers=settings.servers,
        who=_user(), why=why, timeout_s=timeout, settle_s=settings.settle_s,
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
    settle: Settle = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Has an earlier version served again."""
    from benison.serving.errors import UsageError
    from benison.serving.promotion import promote as promotion

    if canary and (republish or to is not None):
        raise UsageError("rollback: --canary goes with neither --to nor --republish; it takes the canary away")
    base, settings = pushed_base(name, root), _settings(name, server, settle)
    who, servers, settle_s = _user(), settings.servers, settings.settle_s
    if canary:
        change = promotion.withdraw(base, servers=servers, who=who, why=why, timeout_s=timeout, settle_s=settle_s)
    else:
        number = to if to is not None else promotion.previous(base)
        if republish:
            again = promotion.republish(base, number, who=who, why=why)
            print(f"version {number} of {base.name} is version {again.number}, too: {again.path}")
            number = again.number
            _copy(base, number, settings)
        change = promotion.rollback(
            base, number, servers=servers, who=who, why=why, timeout_s=timeout, settle_s=settle_s
        )
    _tell(base.name, change)


def _settings(name: str, servers: list[str] | None, settle_s: float | None) -> Serving:
    """`serving:` of the pipeline's YAML, where that is found; what is named on the command line comes before it."""
    from benison.pipelines.quiet import quieten
    from benison.serving.deploy.settings import Serving

    quieten()  # the client of a server imports TensorFlow
    found = serving_settings(name)
    if found is None and not servers:
        print(f"no YAML of {name} is here, so no server is told; name them by --server, or give the YAML's path")
    given = {"servers": tuple(servers) if servers else None, "settle_s": settle_s}
    return (found or Serving()).model_copy(update={key: value for key, value in given.items() if value is not None})


def _copy(base: Path, number: int, settings: Serving) -> None:
    """Sees to it that servers that read the store find the version; a push may have died on its way there."""
    from benison.serving.versions import remote

    if settings.store:
        remote.publish(base, number, settings.store)


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
