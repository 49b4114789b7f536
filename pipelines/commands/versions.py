"""`benison versions`, `fetch`, `verify` and `diff`: list, copy, check and compare pushed versions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benison.pipelines.commands.arguments import DEFAULT_ROOT, Name, Root, served_name, serving_settings
from benison.pipelines.commands.output import console

if TYPE_CHECKING:
    from benison.serving.versions.local import Version

Verify = Annotated[
    bool,
    typer.Option(
        "--verify/--no-verify", help="Compare all files with the manifest first, and refuse a damaged version."
    ),
]
Number = Annotated[int, typer.Argument(metavar="VERSION", help="A version's number; `benison versions` lists them.")]


def versions_(
    name: Name,
    root: Root = DEFAULT_ROOT,
    history: Annotated[
        bool, typer.Option("--history", help="Show the changes of the served version: when, who and why.")
    ] = False,
) -> None:
    """List the pushed versions: label, time, spans, metric, members, size, and whether the object store has them.

    `damaged` stands for a version that is not as it was pushed, `foreign` for one that Benison did not push. Only the
    names and sizes of files are compared here; `benison verify` reads them.
    """
    from benison.pipelines.reports import version_report

    base = pushed_base(name, root)
    if history:
        console().print(version_report.changes(base))
        return
    store = settings.store if (settings := serving_settings(name)) else None
    if store is None:
        console().print(version_report.table(base))
        _print_damage(base)
        return
    from benison.serving.errors import StoreError
    from benison.serving.versions import local, remote

    try:
        there = remote.inventory(store, base.name)
    except StoreError:
        console().print(version_report.table(base))  # the local versions are known anyway
        _print_damage(base)
        raise
    stored = [version.number for version in there.versions]
    console().print(
        version_report.table(base, {**dict.fromkeys(stored, "yes"), **dict.fromkeys(there.damaged, "damaged")})
    )
    _print_damage(base)
    _print_shared(store, base)
    for number, problem in there.damaged.items():
        print(f"damaged in the store: {problem}; `benison promote {name} {number}` copies it there again from here")
    only_stored = sorted({*stored} - {version.number for version in local.all_versions(base)})
    if only_stored:
        numbers = ", ".join(map(str, only_stored))
        print(f"only in {store}: {numbers}; `benison fetch {name} VERSION` copies one to this machine")


def fetch(
    name: Name,
    numbers: Annotated[
        list[int] | None,
        typer.Argument(metavar="VERSION", help="Numbers of versions; default: the highest in the store."),
    ] = None,
    store: Annotated[
        str | None, typer.Option("--store", metavar="PLACE", help="Default: serving.store of the YAML.")
    ] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Copy versions from the object store `serving.store` to ROOT; what is served does not change."""
    from benison.serving.errors import UsageError, VersionError
    from benison.serving.promotion import promote
    from benison.serving.versions import remote

    settings, model = None if store else serving_settings(name), served_name(name)
    store = store or (settings.store if settings else None)
    if store is None:
        reason = f"no YAML of {name} here" if settings is None else "its YAML names no store"
        raise UsageError(f"{name}: {reason}; expected one with `serving.store`, such as s3://BUCKET/models, or --store")
    if not numbers:
        stored = remote.versions(store, model)
        if not stored:
            raise VersionError(f"{store}/{model}: no versions; `benison run {name}` pushes one")
        numbers = [stored[-1].number]
    base = root.absolute() / "serving" / model
    promote.pin(base)
    for number in numbers:
        version = remote.fetch(base, number, store)
        print(f"{model} {number}: {version.path}")
    print(f"next: benison promote {name} {numbers[-1]} serves it")


def verify(
    name: Name,
    number: Annotated[
        int | None, typer.Argument(metavar="VERSION", help="A version's number; default: the served version.")
    ] = None,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Compare a version's files, and its members', with what was pushed, here and in the object store."""
    from benison.serving.errors import VersionError
    from benison.serving.versions import remote, sets

    base = pushed_base(name, root)
    version = served_version(base) if number is None else sets.get_verified(base, number)
    if version.condition.kind == "foreign":
        raise VersionError(
            f"{base.name} {version.number}: foreign: Benison did not push it, and it has no manifest with a list of "
            "files, so it cannot be verified"
        )
    count = len(version.manifest.files)
    print(f"{base.name} {version.number}: {count} files, all as they were pushed ({check_line(version)})")
    store = settings.store if (settings := serving_settings(name)) else None
    if store is None:
        return
    problems = remote.verify(version, store)
    if problems:
        raise VersionError(
            "\n".join([f"{store}: the copy of {base.name} {version.number} is damaged:", *problems])
            + f"\n`benison promote {name} {version.number}` copies it there again"
        )
    print(f"{store}: {'the same' if problems is not None else 'not there'}")


def diff(
    name: Name,
    left: Annotated[int, typer.Argument(metavar="A", help="A version's number.")],
    right: Annotated[int, typer.Argument(metavar="B", help="Another version's number.")],
    root: Root = DEFAULT_ROOT,
) -> None:
    """Compare two versions: members, weights, metrics, spans, and what they were made from."""
    from benison.pipelines.quiet import quieten
    from benison.pipelines.reports import version_report
    from benison.serving.versions import local

    base = pushed_base(name, root)
    quieten()  # models are read with TensorFlow if their hashes differ
    console().print(version_report.difference(local.get(base, left), local.get(base, right)))


def served_version(base: Path, *, verify: bool = True) -> Version:
    """Return the served version of a model.

    Args:
        base: ROOT/serving/NAME.
        verify: Compare all its files, and its members', with their manifests; see `sets.get_verified`.

    Raises:
        VersionError: No version is served, or it is damaged; the message says what to do.
    """
    from benison.serving.errors import VersionError
    from benison.serving.promotion import labels
    from benison.serving.versions import sets

    served = labels.served(base, damaged=not verify)
    if served is not None:
        return sets.get_verified(base, served.number) if verify else served
    newest = _pushed(base)[-1].number
    raise VersionError(
        f"{base}: version {newest} is pushed, but none is served; `benison promote {base.name} {newest}` serves it"
    )


def pushed_base(name: str, root: Path) -> Path:
    """Return ROOT/serving/NAME.

    Raises:
        VersionError: Nothing is pushed under that name; the message suggests a close one.
    """
    base = root.absolute() / "serving" / served_name(name)
    _pushed(base)
    return base


def check_line(version: Version) -> str:
    """Return what verifying a version compared and how long it took; that of a foreign version compares nothing."""
    if version.condition.kind == "foreign":
        return "foreign: Benison did not push it, so there is nothing to verify it against"
    return version.condition.cost()


def _print_damage(base: Path) -> None:
    """Print the first problem of each damaged version."""
    from benison.serving.versions import local

    for version in local.all_versions(base):
        if version.condition.is_damaged:
            others = len(version.condition.problems) - 1
            print(f"damaged: {version.condition.problems[0]}{f' (and {others} more)' if others else ''}")


def _print_shared(store: str, base: Path) -> None:
    """Print what the object store serves, if this ROOT serves another version."""
    from benison.serving import models_config
    from benison.serving.promotion import labels, shared_stable

    ours = labels.served_versions(models_config.read(base.parent), base).stable
    address = f"{store}/{base.name}/{shared_stable.FILE}"
    if reason := shared_stable.difference(address, base.name, shared_stable.read(store, base.name), ours):
        print(reason)


def _pushed(base: Path) -> list[Version]:
    """Return the pushed versions, including damaged ones; at least one."""
    from benison.serving.close_names import did_you_mean
    from benison.serving.errors import VersionError
    from benison.serving.versions import local

    versions = local.all_versions(base)
    if not versions:
        others = [other.name for other in base.parent.glob("*") if other.is_dir() and local.versions(other)]
        hint = did_you_mean(base.name, others)
        raise VersionError(f"{base}: nothing is pushed yet; `benison run {base.name}` pushes a version{hint}")
    return versions
