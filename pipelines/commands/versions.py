"""`benison versions`, `verify` and `diff`: the pushed versions, looked at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Name, Root, served_name, serving_settings

if TYPE_CHECKING:
    from benison.serving.versions.local import Version

Number = Annotated[int, typer.Argument(metavar="VERSION", help="A version's number; `benison versions` lists them.")]


def versions_(
    name: Name,
    root: Root = DEFAULT_ROOT,
    history: Annotated[bool, typer.Option("--history", help="Who changed what is served, when and why.")] = False,
) -> None:
    """The pushed versions: labels, spans, metric, members, sizes, and whether the object store has them."""
    from rich.console import Console

    from benison.pipelines.reports import version_report

    base = pushed_base(name, root)
    if history:
        Console().print(version_report.changes(base))
        return
    store = settings.store if (settings := serving_settings(name)) else None
    if store is None:
        Console().print(version_report.table(base))
        return
    from benison.serving.errors import StoreError
    from benison.serving.versions import local, remote

    try:
        stored = [version.number for version in remote.versions(store, base.name)]
    except StoreError:
        Console().print(version_report.table(base))  # what is here is known all the same
        raise
    Console().print(version_report.table(base, stored))
    elsewhere = sorted({*stored} - {version.number for version in local.versions(base)})
    if elsewhere:
        print(f"only in {store}: {', '.join(map(str, elsewhere))}; `benison fetch {name} VERSION` brings one here")


def fetch(
    name: Name,
    number: Annotated[
        int | None, typer.Argument(metavar="[VERSION]", help="A version's number; default: the highest there.")
    ] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Brings a version here from the object store, `serving.store`; what is served stays so."""
    from benison.serving.errors import UsageError, VersionError
    from benison.serving.promotion import promote
    from benison.serving.versions import remote

    settings, model = serving_settings(name), served_name(name)
    if settings is None or settings.store is None:
        why = f"no YAML of {name} is here" if settings is None else "its YAML names no store"
        raise UsageError(f"{name}: {why}; expected one with `serving.store`, such as s3://BUCKET/models")
    if number is None:
        there = remote.versions(settings.store, model)
        if not there:
            raise VersionError(f"{settings.store}/{model}: no version is there; `benison run {name}` pushes one")
        number = there[-1].number
    base = root.absolute() / "serving" / model
    promote.pin(base)
    version = remote.fetch(base, number, settings.store)
    print(f"{model} {number}: {version.path}")
    print(f"next: benison promote {name} {number} serves it")


def verify(
    name: Name,
    number: Annotated[
        int | None, typer.Argument(metavar="[VERSION]", help="A version's number; default: what is served.")
    ] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Compares a version's files, and its members', with what was pushed."""
    from benison.serving.versions import sets

    base = pushed_base(name, root)
    version = sets.checked(base, served_version(base).number if number is None else number)
    if not version.manifest:
        print(f"{base.name} {version.number}: no manifest, so there is nothing to verify it against")
        return
    print(f"{base.name} {version.number}: {len(version.manifest['files'])} files, all as they were pushed")


def diff(
    name: Name,
    one: Annotated[int, typer.Argument(metavar="A", help="A version's number.")],
    other: Annotated[int, typer.Argument(metavar="B", help="Another one's.")],
    root: Root = DEFAULT_ROOT,
) -> None:
    """Two versions side by side: members, weights, metrics, spans, and what they were made from."""
    from rich.console import Console

    from benison.pipelines.reports import version_report
    from benison.serving.versions import sets

    base = pushed_base(name, root)
    Console().print(version_report.difference(sets.pushed(base, one), sets.pushed(base, other)))


def served_version(base: Path) -> Version:
    """What is served of a model.

    Args:
        base: ROOT/serving/NAME.

    Raises:
        VersionError: nothing is; says what to do.
    """
    from benison.serving.errors import VersionError
    from benison.serving.promotion import labels

    served = labels.served(base)
    if served is None:
        newest = _pushed(base)[-1].number
        raise VersionError(
            f"{base}: version {newest} is pushed, but none is served; `benison promote {base.name} {newest}` serves it"
        )
    return served


def pushed_base(name: str, root: Path) -> Path:
    """ROOT/serving/NAME.

    Raises:
        VersionError: nothing is pushed under that name; names a close one.
    """
    base = root.absolute() / "serving" / served_name(name)
    _pushed(base)
    return base


def _pushed(base: Path) -> list[Version]:
    """The versions; one at the least."""
    from benison.serving.close_names import did_you_mean
    from benison.serving.errors import VersionError
    from benison.serving.versions import local

    found = local.versions(base)
    if not found:
        others = [other.name for other in base.parent.glob("*") if other.is_dir() and local.versions(other)]
        hint = did_you_mean(base.name, others)
        raise VersionError(f"{base}: nothing is pushed yet; `benison run {base.name}` pushes a version{hint}")
    return found
