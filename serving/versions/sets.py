"""An ensemble that is pushed with its members: a set of versions, the ensemble's and one per member.

Each member is a model of its own, NAME-MEMBER, in a folder beside the ensemble's. `fan_out` in the ensemble's manifest
names the member versions of the set. The ensemble becomes visible last, so that nobody sees one that lacks a member. A
push that dies earlier leaves members that no manifest names; the next push deletes them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benison.serving.errors import VersionError
from benison.serving.files import file_lock
from benison.serving.versions import condition, local
from benison.serving.versions.condition import Condition
from benison.serving.versions.local import Version

if TYPE_CHECKING:
    from benison.serving.versions.manifest import Manifest


@dataclass(frozen=True)
class Candidate:
    """A model to publish; see `local.publish`.

    Attributes:
        model: The SavedModel.
        manifest: What is known about it.
        beside: Files to add to it, by their path in the version.
    """

    model: Path
    manifest: Manifest
    beside: Mapping[str, Path] = field(default_factory=dict)


def publish(
    ensemble: Candidate,
    base: Path,
    members: Mapping[str, Candidate] | None = None,
    clock: Callable[[], float] = time.time,
) -> Version:
    """Publish an ensemble, and before it its members if they are models of their own.

    All of them get the same number, and only one set is published at a time. The remains of earlier pushes are deleted.

    Args:
        ensemble: The fused model.
        base: ROOT/serving/NAME.
        members: The models to publish as NAME-MEMBER, by member; none if the ensemble is one model.
        clock: See `local.publish`.

    Returns:
        The ensemble's version; `fan_out` in its manifest holds the members' models and versions.

    Raises:
        VersionError: As `local.publish`, or another model has the name NAME or NAME-MEMBER. No ensemble became visible.
    """
    from benison.serving.versions.manifest import PinnedMember

    member_bases = {member: member_base(base, member) for member in members or {}}
    with push_lock(base):
        _check_owner(base, None)
        for folder in member_bases.values():
            _check_owner(folder, base.name)
        remove_orphans(base)
        now = clock()  # read once, because copying the members takes seconds
        number = max(local.next_number(folder, int(now)) for folder in (base, *member_bases.values()))
        publish_one = partial(local.publish, clock=lambda: now, at_least=number)
        try:
            fan_out = {}
            for member, candidate in (members or {}).items():
                manifest = candidate.manifest.model_copy(update={"member_of": base.name})
                version = publish_one(candidate.model, member_bases[member], manifest, beside=candidate.beside)
                fan_out[member] = PinnedMember(model=member_bases[member].name, version=version.number)
            pinned = {"fan_out": fan_out} if fan_out else {}
            manifest = ensemble.manifest.model_copy(update=pinned)
            return publish_one(ensemble.model, base, manifest, beside=ensemble.beside)
        except BaseException:  # a full disk must not stay full of members that nobody can use
            remove_orphans(base)
            raise


def member_base(base: Path, member: str) -> Path:
    """Return the folder of a member's versions: ROOT/serving/NAME-MEMBER."""
    return base.with_name(f"{base.name}-{member}")


def remove_orphans(base: Path) -> list[Version]:
    """Delete the member versions that no version of their ensemble names, and return them.

    Args:
        base: The ensemble's, ROOT/serving/NAME.
    """
    pinned = {pin for version in local.all_versions(base) for pin in member_versions(version).items()}
    orphans = []
    for folder in _member_folders(base):
        local.clean_leftovers(folder)
        orphans += [
            version
            for version in local.versions(folder)
            if version.manifest.member_of == base.name and (folder.name, version.number) not in pinned
        ]
    for orphan in orphans:
        local.remove(orphan)
    return orphans


@contextmanager
def push_lock(base: Path) -> Iterator[None]:
    """Allow one push at a time: until its ensemble is visible, another push's members look like orphans.

    Args:
        base: ROOT/serving/NAME.
    """
    base.parent.mkdir(parents=True, exist_ok=True)
    with file_lock.hold(base.parent / f".{base.name}.push.lock"):
        yield


def member_versions(version: Version | None) -> dict[str, int]:
    """Return the versions of the members that were pushed with an ensemble, by model (NAME-MEMBER)."""
    if version is None:
        return {}
    if not version.condition.is_damaged:
        return {pin.model: pin.version for pin in version.manifest.fan_out.values()}
    # Its manifest may be gone, but all versions of a set have the same number.
    base = version.path.parent
    members = ((folder.name, local.find(folder, version.number)) for folder in _member_folders(base))
    return {name: member.number for name, member in members if member and member.manifest.member_of == base.name}


def get_verified(base: Path, number: int) -> Version:
    """Return a version after comparing all its files, and those of its members, with their manifests.

    A foreign version has nothing to compare with, and is returned as it is; its `condition` says so.

    Args:
        base: ROOT/serving/NAME.
        number: The version's number.

    Returns:
        The version; its `condition` has the cost of reading it and its members.

    Raises:
        VersionError: A version is missing or damaged; the message names the files.
    """
    version = local.get(base, number)
    members = [local.get(base.with_name(name), pinned) for name, pinned in member_versions(version).items()]
    states = [condition.check(part.path) for part in (version, *members)]
    problems = [problem for state in states for problem in state.problems]
    problems += [
        f"{member.path / local.MANIFEST}: missing, and {base.name} {number} was pushed with this member"
        for member, state in zip(members, states[1:], strict=True)
        if state.kind == "foreign"
    ]
    if problems:
        raise local.damage(base, number, problems)
    total = Condition(
        states[0].kind,
        files=sum(state.files for state in states),
        bytes=sum(state.bytes for state in states),
        seconds=sum(state.seconds for state in states),
    )
    return replace(version, condition=total)


def _member_folders(base: Path) -> list[Path]:
    if not base.parent.is_dir():
        return []
    return [path for path in base.parent.iterdir() if path.name.startswith(f"{base.name}-") and path.is_dir()]


def _check_owner(base: Path, owner: str | None) -> None:
    """Keep two models of the same name apart: a pipeline `birds-deep` and the member `deep` of `birds`."""
    for version in local.versions(base):
        current = version.manifest.member_of
        if current != owner:
            existing = f"a member of {current}" if current else "a model of its own"
            expected = f"a member of {owner}" if owner else "a model of its own"
            raise VersionError(
                f"{version.path}: this is {existing}, and {base.name} should be {expected}; nothing was pushed: "
                "rename the pipeline or the member, or set `serving.fan_out: false`"
            )
