"""Versions in an object store, in the same layout: STORE/NAME/VERSION/.

An object store has no rename. All files of a version are copied first and compared with the manifest by size and
checksum. `manifest.json` is copied last: a version exists when its manifest does. So a copy that dies leaves no
version, and the next copy continues with the remaining files. Removal starts with the manifest. Only one ROOT may copy
to a store, because two of them would have to agree on numbers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from benison.serving.errors import VersionError
from benison.serving.versions import condition, local, manifest, sets
from benison.serving.versions.local import MANIFEST, Version
from benison.serving.versions.object_store import ObjectStore

if TYPE_CHECKING:
    from benison.serving.versions.manifest import FileRecord, Manifest

# A copy that is still running looks like one that died; no copy takes this long.
_ABANDONED = timedelta(days=1)


@dataclass(frozen=True)
class StoredVersion:
    """A version in a store.

    Attributes:
        number: Its version number.
        url: Its address.
        manifest: What `manifest.json` says.
    """

    number: int
    url: str
    manifest: Manifest


@dataclass(frozen=True)
class Inventory:
    """The versions of a model in a store, by the names and sizes of their files.

    Attributes:
        versions: The whole versions, ascending.
        damaged: The first problem of each other version by its number, ascending: it was changed since it was copied,
            or it lacks a manifest, because its copy died or somebody deleted the manifest.
    """

    versions: tuple[StoredVersion, ...]
    damaged: Mapping[int, str]


def publish(base: Path, number: int, store: str, *, read_back: bool = True) -> list[str]:
    """Copy a version to a store, and before it the members that were pushed with it.

    Files that are in the store already are not copied again, unless they differ. Remains of copies that died are
    removed: those of this version at once, others after a day.

    Args:
        base: ROOT/serving/NAME.
        number: The version's number.
        store: Such as s3://BUCKET/FOLDER.
        read_back: If the store has the version, read its files and compare their content too, not only their sizes.

    Returns:
        The addresses of files that were damaged in the store, and are whole again.

    Raises:
        VersionError: There is no such version here, its files were changed since the push, another version has its
            number in the store, or a file arrived damaged. Except in the third case, it does not exist in the store.
        StoreError: The store cannot be reached or refuses.
    """
    version = sets.get_verified(base, number)
    bucket = ObjectStore(store)
    members = sets.member_versions(version).items()
    parts = (*(local.get(base.with_name(name), pinned) for name, pinned in members), version)
    return [url for part in parts for url in _publish(part, bucket, read_back)]


def inventory(store: str, name: str) -> Inventory:
    """Return the versions of a model in a store; only names and sizes of files are compared.

    Args:
        store: Such as s3://BUCKET/FOLDER.
        name: The model's name.

    Raises:
        StoreError: The store cannot be reached or refuses.
        VersionError: A newer Benison wrote one of the manifests.
    """
    bucket = ObjectStore(store)
    numbers = _numbers(bucket, name)
    sizes = bucket.sizes(name) if numbers else {}
    versions, damaged = [], {}
    for number in numbers:
        own = {key.partition("/")[2]: size for key, size in sizes.items() if key.partition("/")[0] == str(number)}
        stored = _read(bucket, name, number) if MANIFEST in own else None
        if stored is not None and not (problems := _differences(stored, own)):
            versions.append(stored)
        elif own:  # otherwise it is the mark of an empty folder
            damaged[number] = problems[0] if stored else _manifest_problem(bucket, name, number, MANIFEST in own)
    return Inventory(tuple(versions), damaged)


def versions(store: str, name: str) -> list[StoredVersion]:
    """Return the whole versions of a model in a store, ascending; see `inventory`."""
    return list(inventory(store, name).versions)


def verify(version: Version, store: str) -> list[str] | None:
    """Compare the copy of a version in a store, and of its members, with the version here; this reads all files.

    Args:
        version: A whole version.
        store: Such as s3://BUCKET/FOLDER.

    Returns:
        One line per problem, by member and file; None if the store does not have the version.

    Raises:
        StoreError: The store cannot be reached or refuses.
    """
    bucket, base = ObjectStore(store), version.path.parent
    if not bucket.sizes(f"{base.name}/{version.number}"):
        return None
    members = [local.get(base.with_name(name), number) for name, number in sets.member_versions(version).items()]
    return [problem for part in (*members, version) for problem in _problems(part, bucket)]


def find(store: str, name: str, number: int) -> StoredVersion | None:
    """Return a version that exists in a store; None if there is none.

    Raises:
        StoreError: The store cannot be reached or refuses.
        VersionError: A newer Benison wrote its manifest.
    """
    return _read(ObjectStore(store), name, number)


def fetch(base: Path, number: int, store: str) -> Version:
    """Copy a version from a store to ROOT under its own number, and before it the members that were pushed with it.

    Each becomes visible all at once, and only if all its files match the manifest.

    Args:
        base: ROOT/serving/NAME; created if it is missing.
        number: The version's number.
        store: Such as s3://BUCKET/FOLDER.

    Returns:
        The local version, even if it existed before.

    Raises:
        VersionError: There is no such version in the store, a file is damaged, or another version has its number here.
        StoreError: The store cannot be reached or refuses.
    """
    bucket = ObjectStore(store)
    stored = _read(bucket, base.name, number)
    if stored is None and _is_damaged(bucket, base.name, number):
        raise VersionError(
            f"{bucket.url(f'{base.name}/{number}/{MANIFEST}')}: cut or overwritten, so version {number} is damaged in "
            "the store; copy it there again from a ROOT that has it (`benison promote`), or fetch another version"
        )
    if stored is None:
        numbers = ", ".join(str(version.number) for version in _versions(bucket, base.name)) or "none"
        raise VersionError(f"{bucket.url(base.name)}: no version {number}; it has {numbers}")
    with sets.push_lock(base):
        for pin in stored.manifest.fan_out.values():
            _check_below(bucket, pin.model)
            _fetch(bucket, base.with_name(pin.model), pin.version)
        return _fetch(bucket, base, number)


def remove(store: str, name: str, number: int) -> None:
    """Remove a version from a store if it exists; from the first step on it does not.

    Args:
        store: Such as s3://BUCKET/FOLDER.
        name: The model's name.
        number: The version's number.

    Raises:
        StoreError: The store cannot be reached or refuses.
    """
    _remove(ObjectStore(store), f"{name}/{number}")


def _problems(version: Version, bucket: ObjectStore) -> list[str]:
    """Return how the copy of one version differs from the version here."""
    name, prefix = version.path.parent.name, f"{version.path.parent.name}/{version.number}"
    if bucket.read(f"{prefix}/{MANIFEST}") != (version.path / MANIFEST).read_bytes():
        return [f"{bucket.url(prefix)}/{MANIFEST}: missing or changed since the copy"]
    stored = StoredVersion(version.number, bucket.url(prefix), version.manifest)
    if problems := _differences(stored, bucket.sizes(f"{name}/{version.number}")):
        return problems
    return [
        f"{bucket.url(f'{prefix}/{file}')}: changed since the copy"
        for file, record in version.manifest.files.items()
        if bucket.checksum(f"{prefix}/{file}") != record.sha256
    ]


def _differences(stored: StoredVersion, sizes: Mapping[str, int]) -> list[str]:
    """Return how the names and sizes of a copy's files differ from its manifest, sorted by file."""
    expected = {name: record.bytes for name, record in stored.manifest.files.items()}
    problems = dict.fromkeys(expected.keys() - sizes.keys(), "missing")
    problems |= dict.fromkeys(sizes.keys() - expected.keys() - {MANIFEST}, condition.NOT_RECORDED)
    problems |= {
        name: f"{sizes[name]} bytes, expected {size}"
        for name, size in expected.items()
        if name in sizes and sizes[name] != size
    }
    return [f"{stored.url}/{name}: {problem}" for name, problem in sorted(problems.items())]


def _publish(version: Version, bucket: ObjectStore, read_back: bool) -> list[str]:
    """Copy one version unless it is whole in the store; return the addresses of files that were damaged there."""
    name, prefix = version.path.parent.name, f"{version.path.parent.name}/{version.number}"
    files = version.manifest.files
    if not files:
        reason = f"no list of files in {MANIFEST}, so it cannot be copied to {bucket.address}"
        raise VersionError(f"{version.path}: {reason}")
    content = (version.path / MANIFEST).read_bytes()
    existing, sizes = bucket.read(f"{prefix}/{MANIFEST}"), bucket.sizes(prefix)
    stored = StoredVersion(version.number, bucket.url(prefix), version.manifest)
    if existing == content and not read_back and not _differences(stored, sizes):
        return []
    if existing not in (None, content) and not _is_damaged(bucket, name, version.number):
        raise VersionError(
            f"{bucket.url(prefix)}: another version has this number, and only one ROOT may copy to a store: "
            "set `serving.store` to another folder for this ROOT"
        )
    _remove_abandoned(bucket, name, version.number)
    replaced = []
    for file, record in files.items():
        key = f"{prefix}/{file}"
        if sizes.get(file) != record.bytes or bucket.checksum(key) != record.sha256:
            bucket.upload(version.path / file, key)
            _check_uploaded(bucket, prefix, file, record)
            replaced.append(bucket.url(key))
    for stray in sizes.keys() - files.keys() - {MANIFEST}:
        bucket.remove(f"{prefix}/{stray}")
        replaced.append(bucket.url(f"{prefix}/{stray}"))
    if existing == content:
        return replaced  # the copy was complete, so they were damaged since
    bucket.write(f"{prefix}/{MANIFEST}", content)
    return []


def _check_uploaded(bucket: ObjectStore, prefix: str, file: str, record: FileRecord) -> None:
    key = f"{prefix}/{file}"
    size, digest = bucket.sizes(prefix).get(file), bucket.checksum(key)
    if (size, digest) != (record.bytes, record.sha256):
        raise VersionError(
            f"{bucket.url(key)}: {size} bytes with the checksum {digest[:12]} arrived, expected {record.bytes} bytes "
            f"with {record.sha256[:12]}; the next copy sends the file again"
        )


def _fetch(bucket: ObjectStore, base: Path, number: int) -> Version:
    """Copy one version to ROOT unless it exists there."""
    stored = _read(bucket, base.name, number)
    if stored is None:
        raise VersionError(f"{bucket.url(f'{base.name}/{number}')}: no {MANIFEST}, so there is no such version")
    existing = local.find(base, number)
    if existing and existing.manifest == stored.manifest and not condition.check(existing.path).is_damaged:
        return existing

    def download(folder: Path) -> None:
        for file in (*stored.manifest.files, MANIFEST):
            _check_below(bucket, file)
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            bucket.download(f"{base.name}/{number}/{file}", folder / file)

    return local.install(base, number, download)


def _check_below(bucket: ObjectStore, path: str) -> None:
    """Refuse paths outside the version: who may write to the store must not choose where files go on this machine."""
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise VersionError(f"{bucket.address}: a manifest names {path!r}, which is not a path below a version")


def _versions(bucket: ObjectStore, name: str) -> list[StoredVersion]:
    return [stored for number in _numbers(bucket, name) if (stored := _read(bucket, name, number)) is not None]


def _numbers(bucket: ObjectStore, name: str) -> list[int]:
    """Return the numbers of a model's versions, whether they are complete or not; ascending."""
    return sorted(int(folder) for folder in bucket.names(name) if re.fullmatch("[0-9]+", folder, re.ASCII))


def _read(bucket: ObjectStore, name: str, number: int) -> StoredVersion | None:
    content = bucket.read(f"{name}/{number}/{MANIFEST}")
    if content is None:
        return None
    url = bucket.url(f"{name}/{number}")
    try:
        stored = manifest.parse(content, f"{url}/{MANIFEST}")
    except ValueError:
        return None
    return StoredVersion(number, url, stored) if stored.files else None


def _manifest_problem(bucket: ObjectStore, name: str, number: int, exists: bool) -> str:
    problem = "cut or overwritten" if exists else "missing; the copy did not end, or somebody deleted the file"
    return f"{bucket.url(f'{name}/{number}/{MANIFEST}')}: {problem}"


def _is_damaged(bucket: ObjectStore, name: str, number: int) -> bool:
    """Return True if there is a manifest, but not that of a version."""
    return bucket.read(f"{name}/{number}/{MANIFEST}") is not None and _read(bucket, name, number) is None


def _remove_abandoned(bucket: ObjectStore, name: str, except_number: int) -> None:
    """Remove the remains of copies that died more than a day ago."""
    for number in _numbers(bucket, name):
        prefix = f"{name}/{number}"
        if number == except_number or bucket.read(f"{prefix}/{MANIFEST}") is not None:
            continue
        modified = [bucket.modified(f"{prefix}/{file}") for file in bucket.sizes(prefix)]
        if modified and max(modified) < datetime.now(timezone.utc) - _ABANDONED:
            _remove(bucket, prefix)


def _remove(bucket: ObjectStore, prefix: str) -> None:
    bucket.remove(f"{prefix}/{MANIFEST}")
    for file in bucket.sizes(prefix):
        bucket.remove(f"{prefix}/{file}")
