"""`benison promote` and `benison rollback`: change what is served."""

from __future__ import annotations

import getpass
import os
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Name, Root, load, serving_settings
from benison.pipelines.commands.output import print_warnings
from benison.pipelines.commands.versions import Number, pushed_base
from benison.serving.promotion import access
from benison.serving.promotion.access import Access

if TYPE_CHECKING:
    from pathlib import Path

    from benison.serving.deploy.settings import Serving
    from benison.serving.promotion.history import Change
    from benison.serving.promotion.rollout import ChangeRequest

Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for the record.")]
Servers = Annotated[
    list[str] | None,
    typer.Option(
        "--server", metavar="HOST:PORT", help="gRPC of a server to notify; default: serving.servers of the YAML."
    ),
]
Timeout = Annotated[
    float,
    typer.Option("--timeout", min=1, metavar="SECONDS", help="The longest wait for servers, in each of three steps."),
]
Settle = Annotated[
    float | None,
    typer.Option(
        "--settle",
        min=0,
        metavar="SECONDS",
        help="Pause between steps, for TF Serving that polls models.config; default: serving.settle_s of the YAML.",
    ),
]
Ca = Annotated[
    str,
    typer.Option(
        "--ca",
        metavar="FILE",
        envvar=access.CA,
        help="Speak TLS with servers whose certificates these sign (PEM). Without TLS, the token goes in clear text.",
    ),
]
Certificate = Annotated[
    str,
    typer.Option(
        "--client-certificate", metavar="FILE", envvar=access.CERTIFICATE, help="For servers that require one (PEM)."
    ),
]
Key = Annotated[
    str, typer.Option("--client-key", metavar="FILE", envvar=access.KEY, help="The certificate's private key (PEM).")
]
_TIMEOUT_S = 120.0


def promote(
    name: Name,
    number: Number,
    label: Annotated[Literal["stable", "canary"], typer.Option("--label", help="The label to give it.")] = "stable",
    why: Why = "",
    server: Servers = None,
    timeout: Timeout = _TIMEOUT_S,
    settle: Settle = None,
    ca: Ca = "",
    client_certificate: Certificate = "",
    client_key: Key = "",
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Promote it although its run compared it with another version than the served one, or although the "
            "object store serves another one.",
        ),
    ] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Promote a version: serve it as NAME, or with --label canary as NAME-canary beside it."""
    from benison.pipelines.reports import index_page
    from benison.serving.promotion import promote as promotion

    base = pushed_base(name, root)
    settings = _settings(name, base, server, settle)
    tls = Access(ca=ca, certificate=client_certificate, key=client_key)
    _copy_to_store(base, number, settings)
    change = promotion.promote(base, number, _request(why, timeout, settings, tls, force=force), label=label)
    _print_change(base.name, change)
    _tell_trackers(name, base, change)
    index_page.refresh(root.absolute())


def rollback(
    name: Name,
    to: Annotated[
        int | None, typer.Option("--to", metavar="VERSION", help="Default: the version that was stable before.")
    ] = None,
    canary: Annotated[bool, typer.Option("--canary", help="Stop serving the canary; NAME does not change.")] = False,
    republish: Annotated[
        bool,
        typer.Option(
            "--republish", help="Publish it once more, as the highest number, for servers that ignore models.config."
        ),
    ] = False,
    why: Why = "",
    server: Servers = None,
    timeout: Timeout = _TIMEOUT_S,
    settle: Settle = None,
    ca: Ca = "",
    client_certificate: Certificate = "",
    client_key: Key = "",
    root: Root = DEFAULT_ROOT,
) -> None:
    """Roll back: serve an earlier version again."""
    from benison.pipelines.reports import index_page
    from benison.serving.errors import StoreError, UsageError
    from benison.serving.promotion import promote as promotion

    if canary and (republish or to is not None):
        raise UsageError("rollback: --canary cannot be combined with --to or --republish; it only removes the canary")
    base = pushed_base(name, root)
    settings = _settings(name, base, server, settle)
    tls = Access(ca=ca, certificate=client_certificate, key=client_key)
    request = _request(why, timeout, settings, tls)
    if canary:
        change = promotion.withdraw(base, request)
    else:
        number = to if to is not None else _previous(base)
        if republish:
            copy = promotion.republish(base, number, who=request.who, why=why)
            print(f"version {number} of {base.name} is published again as version {copy.number}: {copy.path}")
            number = copy.number
            _copy_to_store(base, number, settings)
        try:
            change = promotion.rollback(base, request, number)
        except StoreError as error:
            # A rollback must work while the store does not.
            print(f"warning: {error}")
            print(
                f"other ROOTs of the store keep its version; when it is back: benison promote {name} {number} --force"
            )
            change = promotion.rollback(base, replace(request, store=None), number)
        else:
            _warn_of_copy(base, number, settings)
    _print_change(base.name, change)
    _tell_trackers(name, base, change)
    index_page.refresh(root.absolute())


def _settings(name: str, base: Path, servers: list[str] | None, settle_s: float | None) -> Serving:
    """Return `serving:` of the pipeline's YAML, if there is one, with the command line's values in it.

    If neither names a server, those that `benison serve` runs for this ROOT are notified.
    """
    from benison.pipelines.quiet import quieten
    from benison.serving.deploy.settings import Serving

    quieten()  # the client of a server imports TensorFlow
    from benison.serving.promotion import local_servers

    settings = serving_settings(name)
    if not servers and not (settings and (settings.servers or settings.settle_s)) and not settle_s:
        servers = list(local_servers.sockets(base.parent))
    if settings is None and not servers:
        print(f"no YAML of {name} here, so no server is notified; name servers with --server, or give the YAML's path")
    options = {"servers": tuple(servers) if servers else None, "settle_s": settle_s}
    overrides = {key: value for key, value in options.items() if value is not None}
    return (settings or Serving()).model_copy(update=overrides)


def _request(why: str, timeout_s: float, settings: Serving, tls: Access, *, force: bool = False) -> ChangeRequest:
    from benison.serving.promotion.rollout import ChangeRequest

    return ChangeRequest(
        _user(),
        why,
        tuple(settings.servers),
        timeout_s,
        settings.settle_s,
        store=settings.store,
        force=force,
        access=replace(tls, token=os.environ.get(access.TOKEN, "")),
    )


def _copy_to_store(base: Path, number: int, settings: Serving) -> None:
    """Copy a version to the store, if there is one: the push may have died before its copy was complete."""
    from benison.serving.versions import remote

    if settings.store:
        for url in remote.publish(base, number, settings.store):
            print(f"it was damaged in the store, and is whole again: {url}")


def _previous(base: Path) -> int:
    """Return the version to roll back to; say which versions are skipped."""
    from benison.serving.promotion import promote as promotion

    previous = promotion.previous(base)
    for line in previous.damaged:
        print(line)
    return previous.number


def _warn_of_copy(base: Path, number: int, settings: Serving) -> None:
    """Say if the store's copy of a version is not whole; other ROOTs and servers may read it."""
    from benison.serving.errors import StoreError
    from benison.serving.versions import remote

    if not settings.store:
        return
    try:
        there = remote.inventory(settings.store, base.name)
    except StoreError as error:
        print(f"warning: {error}")
        return
    if number not in {version.number for version in there.versions}:
        problem = there.damaged.get(number, f"{settings.store}/{base.name}: no version {number}")
        print(f"warning: {problem}; `benison promote {base.name} {number}` copies it there again")


def _print_change(name: str, change: Change) -> None:
    if change.before == change.to:
        print(f"{name}: version {change.to} is {change.label} already")
    elif change.to is None:
        print(f"{name}: version {change.before} is no longer {change.label}")
    else:
        replaced = "" if change.before is None else f", in place of {change.before}"
        print(f"{name}: version {change.to} is {change.label}{replaced}")
    for server in change.servers:
        print(f"served by {server}")
    if not change.servers:
        print("written to models.config; servers that poll it follow")


def _tell_trackers(name: str, base: Path, change: Change) -> None:
    """Tell the trackers in the pipeline's YAML, if there is one, that a label has moved."""
    from benison.pipelines import config_file
    from benison.pipelines.tracking import sending
    from benison.serving.errors import UsageError

    try:
        config_file.find(name)
    except UsageError:  # as on a machine that only serves
        return
    print_warnings(sending.after_change(base, change, load(name, None, check_data=False)))


def _user() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # in a container, for example, the user may have no name
        name = f"user {os.getuid()}"
    return f"{name}@{socket.gethostname()}"
