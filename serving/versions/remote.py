"""Versions on an object store, in the same layout: STORE/NAME/VERSION/.

An object store has no rename. All files of a version go there first, each compared with the manifest by size and
checksum; `manifest.json` goes last, and is what makes the version exist. So a copy that dies leaves no version, and the
next one goes on from what is there. Removed is the manifest first. One ROOT copies to a store: two would have to agree
on numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path, PurePosixPath
from typing import Any

from benison.serving.errors import VersionError
from benison.serving.versions import local, sets
from benison.serving.versions.local import MANIFEST, Version
from benison.serving.versions.object_store import ObjectStore

# A copy that is under way looks like one that died; none takes that long.
_LEFT_BEHIND = timedelta(days=1)


@dataclass(frozen=True)
class Stored:
    """A version on a store.

    Attributes:
        number: its version number.
        url: its address.
        manifest: what `manifest.json` says.
    """

    number: int
    url: str
    manifest: Mapping[str, Any]


def publish(base: Path, number: int, store: str) -> None:
    """Copies a version to a store, and the members that were pushed with it before it.

    What is there already is not copied again. What copies that died left behind is removed: at once where they were of
    this version, else after a day.

    Args:
        base: ROOT/serving/NAME.
        number: the version's.
        store: such as s3://BUCKET/FOLDER.

    Raises:
        VersionError: no such version here, its files were changed since the push, another version has its number
            there, or a file arrived damaged. It does not exist there then, except in the third case.
        StoreError: the store cannot be asked or refuses.
    """
    version = sets.checked(base, number)
    there = ObjectStore(store)
    members = sets.pins(version).items()
    for one in (*(sets.pushed(base.with_name(name), pinned) for name, pinned in members), version):
        _publish(one, there)


def versions(store: str, name: str) -> list[Stored]:
    """The versions of a model that exist on a store, ascending.

    Args:
        store: such as s3://BUCKET/FOLDER.
        name: the model's.

    Raises:
        StoreError: the store cannot be asked or refuses.
    """
    return _versions(ObjectStore(store), name)


def find(store: str, name: str, number: int) -> Stored | None:
    """A version that exists on a store; None where it does not.

    Raises:
        StoreError: the store cannot be asked or refuses.
    """
    return _read(ObjectStore(store), name, number)


def fetch(base: Path, number: int, store: str) -> Version:
    """Brings a version here, by its own number, and before it the members that were pushed with it.

    Each becomes visible at once, and only if all its files are as the manifest says.

    Args:
        base: ROOT/serving/NAME; made if missing.
        number: the version's.
        store: such as s3://BUCKET/FOLDER.

    Returns:
        The version here, also where it was here before.

    Raises:
        VersionError: no such version there, a file is damaged, or another version has its number here.
        StoreError: the store cannot be asked or refuses.
    """
    there = ObjectStore(store)
    stored = _read(there, base.name, number)
    if stored is None:
        numbers = ", ".join(str(one.number) for one in _versions(there, base.name)) or "none"
        raise VersionError(f"{there.url(base.name)}: no version {number}; there are {numbers}")
    with sets.push_lock(base):
        for pin in stored.manifest.get(sets.FAN_OUT, {}).values():
            _check_below(there, pin["model"])
            _fetch(there, base.with_name(pin["model"]), pin["version"])
        return _fetch(there, base, number)


def remove(store: str, name: str, number: int) -> None:
    """Takes a version off a store, if it is there; it does not exist from the first step on.

    Args:
        store: such as s3://BUCKET/FOLDER.
        name: the model's.
        number: the version's.

    Raises:
        StoreError: the store cannot be asked or refuses.
    """
    _remove(ObjectStore(store), f"{name}/{number}")


def _publish(version: Version, there: ObjectStore) -> None:
    """Copies one version, unless it is there."""
    name, place = version.path.parent.name, f"{version.path.parent.name}/{version.number}"
    if not version.manifest.get("files"):
        raise VersionError(f"{version.path}: no list of files in {MANIFEST}, so it cannot be copied to {there.address}")
    manifest = (version.path / MANIFEST).read_bytes()
    known = there.read(f"{place}/{MANIFEST}")
    if known == manifest:
        return
    if known is not None:
        raise VersionError(
            f"{there.url(place)}: another version has this number; one ROOT copies to a store: "
            "give this one a folder of its own in `serving.store`"
        )
    _clear_leftovers(there, name, version.number)
    sizes = there.sizes(place)
    for file, described in version.manifest["files"].items():
        key = f"{place}/{file}"
        if sizes.get(file) != described["bytes"] or there.checksum(key) != described["sha256"]:
            there.upload(version.path / file, key)
            _check_arrived(there, place, file, described)
    for stray in sizes.keys() - version.manifest["files"].keys():
        there.remove(f"{place}/{stray}")
    there.write(f"{place}/{MANIFEST}", manifest)


def _check_arrived(there: ObjectStore, place: str, file: str, described: Mapping[str, Any]) -> None:
    key = f"{place}/{file}"
    size, digest = there.sizes(place).get(file), there.checksum(key)
    if (size, digest) != (described["bytes"], described["sha256"]):
        raise VersionError(
            f"{there.url(key)}: {size} bytes with the checksum {digest[:12]} arrived, and {described['bytes']} with "
            f"{described['sha256'][:12]} were sent; the next copy sends it again"
        )


def _fetch(there: ObjectStore, base: Path, number: int) -> Version:
    """Brings one version here, unless it is here."""
    stored = _read(there, base.name, number)
    if stored is None:
        raise VersionError(f"{there.url(f'{base.name}/{number}')}: no {MANIFEST} there, so there is no such version")
    here = local.find(base, number)
    if here is not None and here.manifest == stored.manifest:
        return here

    def fill(folder: Path) -> None:
        for file in (*stored.manifest["files"], MANIFEST):
            _check_below(there, file)
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            there.download(f"{base.name}/{number}/{file}", folder / file)

    return local.restore(base, number, fill)


def _check_below(there: ObjectStore, place: str) -> None:
    """Whoever may write to the store must not choose where files go on this machine."""
    if PurePosixPath(place).is_absolute() or ".." in PurePosixPath(place).parts:
        raise VersionError(f"{there.address}: a manifest names {place!r}, which is no place below a version")


def _versions(there: ObjectStore, name: str) -> list[Stored]:
    return [stored for number in _numbers(there, name) if (stored := _read(there, name, number)) is not None]


def _numbers(there: ObjectStore, name: str) -> list[int]:
    """What has a version's name, whether it exists or not; ascending."""
    return sorted(int(one) for one in there.names(name) if re.fullmatch("[0-9]+", one, re.ASCII))


def _read(there: ObjectStore, name: str, number: int) -> Stored | None:
    content = there.read(f"{name}/{number}/{MANIFEST}")
    if content is None:
        return None
    try:
        manifest = json.loads(content)
    except ValueError:
        return None
    ours = isinstance(manifest, dict) and isinstance(manifest.get("files"), dict)
    return Stored(number, there.url(f"{name}/{number}"), manifest) if ours else None


def _clear_leftovers(there: ObjectStore, name: str, but: int) -> None:
    """Removes what copies left behind that died longer than a day ago."""
    for number in _numbers(there, name):
        place = f"{name}/{number}"
        if number == but or there.read(f"{place}/{MANIFEST}") is not None:
            continue
        written = [there.modified(f"{place}/{file}") for file in there.sizes(place)]
        if written and max(written) < datetime.now(timezone.utc) - _LEFT_BEHIND:
            _remove(there, place)


def _remove(there: ObjectStore, place: str) -> None:
    there.remove(f"{place}/{MANIFEST}")
    for file in there.sizes(place):
        there.remove(f"{place}/{file}")
