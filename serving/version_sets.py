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

from serving import versions
from serving.errors import VersionError
from serving.versions import Version

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
    with alone(base):
        _refuse_others(base, None)
        for home in homes.values():
            _refuse_others(home, base.name)
        remove_orphans(base)
        now = clock()  # once: while the members are copied the seconds go on
        number = max(versions.next_number(home, int(now)) for home in (base, *homes.values()))
        put = partial(versions.publish, clock=lambda: now, at_least=number)
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
        for version in versions.versions(base)
        for pin in version.manifest.get(FAN_OUT, {}).values()
    }
    orphans = []
    for home in _neighbours(base):
        versions.clean_leftovers(home)
        orphans += [
            version
            for version in versions.versions(home)
            if version.manifest.get(MEMBER_OF) == base.name and (home.name, version.number) not in named
        ]
    for orphan in orphans:
        versions.remove(orphan)
    return orphans


@contextmanager
def alone(base: Path) -> Iterator[None]:
    """One push at a time, for another's members look like orphans until its ensemble is visible.

    Args:
        base: ROOT/serving/NAME.
    """
    base.parent.mkdir(parents=True, exist_ok=True)
    with (base.parent / f".{base.name}.push.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _neighbours(base: Path) -> list[Path]:
    if not base.parent.is_dir():
        return []
    return [path for path in base.parent.iterdir() if path.name.startswith(f"{base.name}-") and path.is_dir()]


def _refuse_others(base: Path, owner: str | None) -> None:
    """Keeps two models of one name apart: a pipeline `birds-deep` and the member `deep` of `birds`."""
    for version in versions.versions(base):
        theirs = version.manifest.get(MEMBER_OF)
        if theirs != owner:
            what = f"a member of {theirs}" if theirs else "a model of its own"
            wanted = f"a member of {owner}" if owner else "a model of its own"
            raise VersionError(
                f"{version.path}: this is {what}, and {base.name} was to be {wanted}; nothing was pushed: "
                "rename the pipeline or the member, or set `serving.fan_out: false`"
            )
