"""An ensemble that is pushed with its members: a set of versions, the ensemble's own and one of each member's.

Each member is a model of its own, NAME-MEMBER, in a folder beside the ensemble's. The ensemble's manifest makes the
set: its `fan_out` says which version of which model each member is. It becomes visible last, so that nobody sees an
ensemble that lacks a member. A push that dies before leaves members that no manifest names; the next push removes them.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from benison.serving.errors import VersionError
from benison.serving.versions import local
from benison.serving.versions.local import Version

FAN_OUT = "fan_out"
MEMBER_OF = "member_of"


@dataclass(frozen=True)
class Candidate:
    """What is to become a version; see `versions.publish`.

    Attributes:
        model: the SavedModel.
        manifest: what is to be known of it.
        beside: files that go with it, by their place in the version.
    """

    model: Path
    manifest: Mapping[str, Any]
    beside: Mapping[str, Path] = field(default_factory=dict)


def publish(
    ensemble: Candidate,
    base: Path,
    members: Mapping[str, Candidate] | None = None,
    clock: Callable[[], float] = time.time,
) -> Version:
    """Publishes an ensemble, and its members before it where they are to be models of their own.

    All of them get the same number, and one set is published at a time. What an earlier push left behind is removed.

    Args:
        ensemble: the fused model.
        base: ROOT/serving/NAME.
        members: what is published as NAME-MEMBER, by member; none where the ensemble is one model.
        clock: see `versions.publish`.

    Returns:
        The ensemble's version; `fan_out` in its manifest holds `model` and `version` by member.

    Raises:
        VersionError: as `versions.publish`, and where NAME or NAME-MEMBER is the name of another model. No ensemble
            became visible.
    """
    homes = {member: member_base(base, member) for member in members or {}}
    with push_lock(base):
        _refuse_others(base, None)
        for home in homes.values():
            _refuse_others(home, base.name)
        remove_orphans(base)
        now = clock()  # once: while the members are copied the seconds go on
        number = max(local.next_number(home, int(now)) for home in (base, *homes.values()))
        put = partial(local.publish, clock=lambda: now, at_least=number)
        try:
            pins = {}
            for member, candidate in (members or {}).items():
                of = {**candidate.manifest, MEMBER_OF: base.name}
                made = put(candidate.model, homes[member], of, beside=candidate.beside)
                pins[member] = {"model": homes[member].name, "version": made.number}
            manifest = {**ensemble.manifest, FAN_OUT: pins} if pins else ensemble.manifest
            return put(ensemble.model, base, manifest, beside=ensemble.beside)
        except BaseException:  # a full disk must not stay full of what nobody can use
            remove_orphans(base)
            raise


def member_base(base: Path, member: str) -> Path:
    """Where the versions of an ensemble's member are: ROOT/serving/NAME-MEMBER."""
    return base.with_name(f"{base.name}-{member}")


def remove_orphans(base: Path) -> list[Version]:
    """Removes the versions of members that no version of their ensemble names; returns what they were.

    Args:
        base: the ensemble's, ROOT/serving/NAME.
    """
    named = {
        (pin["model"], pin["version"])
        for version in local.versions(base)
        for pin in version.manifest.get(FAN_OUT, {}).values()
    }
    orphans = []
    for home in _neighbours(base):
        local.clean_leftovers(home)
        orphans += [
            version
            for version in local.versions(home)
            if version.manifest.get(MEMBER_OF) == base.name and (home.name, version.number) not in named
        ]
    for orphan in orphans:
        local.remove(orphan)
    return orphans


@contextmanager
def push_lock(base: Path) -> Iterator[None]:
    """One push at a time, for another's members look like orphans until its ensemble is visible.

    Args:
        base: ROOT/serving/NAME.
    """
    base.parent.mkdir(parents=True, exist_ok=True)
    with (base.parent / f".{base.name}.push.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def pins(version: Version | None) -> dict[str, int]:
    """The versions of the members that were pushed with an ensemble, by the members' models."""
    fan_out = version.manifest.get(FAN_OUT, {}) if version else {}
    return {pin["model"]: pin["version"] for pin in fan_out.values()}


def checked(base: Path, number: int) -> Version:
    """A version that is there and, with its members, as it was pushed.

    Args:
        base: ROOT/serving/NAME.
        number: the version's.

    Raises:
        VersionError: it is not; names the files.
    """
    version = pushed(base, number)
    members = [pushed(base.with_name(name), pinned) for name, pinned in pins(version).items()]
    # A version without a manifest is another tool's: there is nothing to verify it against.
    problems = [problem for one in (version, *members) if one.manifest for problem in local.verify(one)]
    if problems:
        raise VersionError("\n".join([f"{base.name}: version {number} is not as it was pushed:", *problems]))
    return version


def pushed(base: Path, number: int) -> Version:
    """A version that is there.

    Args:
        base: ROOT/serving/NAME.
        number: the version's.

    Raises:
        VersionError: it is not; names those that are.
    """
    version = local.find(base, number)
    if version is None:
        there = ", ".join(str(version.number) for version in local.versions(base)) or "none"
        raise VersionError(f"{base}: no version {number}; there are {there}")
    return version


def _neighbours(base: Path) -> list[Path]:
    if not base.parent.is_dir():
        return []
    return [path for path in base.parent.iterdir() if path.name.startswith(f"{base.name}-") and path.is_dir()]


def _refuse_others(base: Path, owner: str | None) -> None:
    """Keeps two models of one name apart: a pipeline `birds-deep` and the member `deep` of `birds`."""
    for version in local.versions(base):
        theirs = version.manifest.get(MEMBER_OF)
        if theirs != owner:
            what = f"a member of {theirs}" if theirs else "a model of its own"
            wanted = f"a member of {owner}" if owner else "a model of its own"
            raise VersionError(
                f"{version.path}: this is {what}, and {base.name} was to be {wanted}; nothing was pushed: "
                "rename the pipeline or the member, or set `serving.fan_out: false`"
            )
