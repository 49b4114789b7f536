"""The versions of a pushed model, in TF Serving's layout: BASE/VERSION/, where BASE is ROOT/serving/NAME.

A version is written aside in a folder whose name TF Serving ignores, and made visible by one rename: whoever looks sees
all of it or nothing. From then on it is never changed. Its `manifest.json` says what it is made of.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benison.serving.errors import VersionError
from benison.serving.models_config import LARGEST_VERSION

MANIFEST = "manifest.json"
SAVED_MODEL = "saved_model.pb"
STABLE = "stable"  # the label of what is served
EXTRA = "assets.extra"  # where TensorFlow keeps what is no part of the graph
SCHEMA = f"{EXTRA}/schema.pbtxt"  # what the raw features may be, without the label

# A folder with anything in it is never replaced by a rename: that is what keeps two publishers apart.
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)
_INCOMING = re.compile(r"\.incoming-(?P<pid>[0-9]+)-[0-9a-f]+")


@dataclass(frozen=True)
class Version:
    """One pushed version.

    Attributes:
        number: Its version number, the folder's name.
        path: The folder, a SavedModel.
        manifest: What `manifest.json` says; empty where another tool pushed the version without one.
    """

    number: int
    path: Path
    manifest: Mapping[str, Any]


def publish(
    model_dir: Path,
    base: Path,
    manifest: Mapping[str, Any],
    clock: Callable[[], float] = time.time,
    *,
    beside: Mapping[str, Path] | None = None,
    at_least: int = 0,
) -> Version:
    """Copies a SavedModel into the base and makes it visible as its highest version, all at once.

    Safe against crashes (a half-written version is never visible, and is cleaned up by the next publish) and against
    others who publish at the same time (each gets a version of its own).

    Args:
        model_dir: The SavedModel.
        base: ROOT/serving/NAME; made if missing.
        manifest: What is to be known about the version, as JSON values; NaN and infinity become null. Added to it are
            `version`, `created` (UTC, ISO), `files` (relative path to `sha256` and `bytes`), `bytes` of all of them
            and, unless given, `candidate` (see `checksum`), which `beside` does not change.
        clock: Unix time (seconds). The version number is its whole second, or one above the highest version there is.
        beside: files that go with the model, by their place in the version (relative, with /).
        at_least: no lower version number than this.

    Returns:
        The version, now visible.

    Raises:
        VersionError: `model_dir` is not a SavedModel, the manifest is not JSON, or a file of `beside` would take the
            place of one of the model's own. Nothing became visible.
        OSError: The disk's own trouble. Nothing became visible.
    """
    if not (model_dir / SAVED_MODEL).is_file():
        raise VersionError(f"{model_dir}: no {SAVED_MODEL} in it, so it is not a SavedModel; nothing was pushed")
    manifest = _strict_json(manifest)
    with _incoming_folder(base) as incoming:
        shutil.copytree(model_dir, incoming, copy_function=shutil.copyfile)
        candidate = _files(incoming)
        files = dict(sorted({**candidate, **_add(incoming, beside or {})}.items()))
        size = sum(file["bytes"] for file in files.values())
        manifest = {"candidate": _digest(candidate), **manifest, "files": files, "bytes": size}
        _sync_tree(incoming)
        version = _make_visible(incoming, base, manifest, clock(), at_least)
    _sync(base)
    return version


def restore(base: Path, number: int, fill: Callable[[Path], object]) -> Version:
    """Makes a version that was published before visible here, by its own number, all at once.

    Args:
        base: ROOT/serving/NAME; made if missing.
        number: the version's.
        fill: writes its files and its manifest into an empty folder.

    Returns:
        The version, now visible.

    Raises:
        VersionError: what was written is not as its manifest says, or another version has the number. Nothing became
            visible.
        OSError: The disk's own trouble. Nothing became visible.
    """
    with _incoming_folder(base) as incoming:
        incoming.mkdir()
        fill(incoming)
        version = _read(number, incoming)
        if version is None or version.manifest.get("version") != number:
            raise VersionError(f"{base}: what was brought is not version {number}; nothing was changed")
        if problems := verify(version):
            raise VersionError("\n".join([f"{base}: version {number} is not as it was pushed:", *problems]))
        _sync_tree(incoming)
        _sync(incoming)
        if not _renamed(incoming, base / str(number)):
            raise VersionError(f"{base / str(number)}: another version has this number; nothing was changed")
    _sync(base)
    return Version(number, base / str(number), version.manifest)


def versions(base: Path) -> list[Version]:
    """The complete versions, ascending: with a `saved_model.pb`, and a manifest that can be read if there is one."""
    numbered = sorted(_numbered(base), key=lambda item: item[0])
    return [version for number, path in numbered if (version := _read(number, path)) is not None]


def find(base: Path, number: int) -> Version | None:
    """A complete version by its number; None where there is none."""
    return next((version for version in versions(base) if version.number == number), None)


def next_number(base: Path, at_least: int) -> int:
    """The first number from `at_least` on that is above all versions there are, complete or not."""
    return max([at_least, *(taken + 1 for taken, _ in _numbered(base))])


def remove(version: Version) -> None:
    """Takes a version off the disk; nobody sees half of it."""
    aside = _aside(version.path.parent)
    os.rename(version.path, aside)
    shutil.rmtree(aside)


def clean_leftovers(base: Path) -> None:
    """Removes what a publisher left behind that was killed before it could do so itself."""
    for path in base.iterdir():
        leftover = _INCOMING.fullmatch(path.name)
        if leftover and not _alive(int(leftover["pid"])):
            shutil.rmtree(path, ignore_errors=True)


def identity(version: Version | None) -> str:
    """The version as part of a cache key: `none`, or its number and the checksum of its content."""
    if version is None:
        return "none"
    return f"{version.number}:{version.manifest.get('candidate') or checksum(version.path)}"


def checksum(model_dir: Path) -> str:
    """The SHA-256 (hex) of a SavedModel's content: relative names and bytes, whatever the times and the place.

    A version's own manifest does not count, so a pushed model has the checksum of the candidate that it was; where
    files were pushed beside it, `candidate` in its manifest is that checksum.
    """
    return _digest(_files(model_dir))


def file_checksum(path: Path) -> str:
    """The SHA-256 (hex) of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def verify(version: Version) -> list[str]:
    """What is wrong with a version's files, one line for each, sorted by name; empty if all are as they were pushed."""
    expected = version.manifest.get("files")
    if not isinstance(expected, Mapping):
        return [f"{version.path}: no list of files in {MANIFEST}, so nothing to verify the version against"]
    found = _files(version.path)
    problems = dict.fromkeys(expected.keys() - found.keys(), "missing")
    problems |= dict.fromkeys(found.keys() - expected.keys(), "not in the manifest")
    kept = expected.keys() & found.keys()
    problems |= {name: "changed since the push" for name in kept if expected[name] != found[name]}
    return [f"{version.path / name}: {problem}" for name, problem in sorted(problems.items())]


@contextmanager
def _incoming_folder(base: Path) -> Iterator[Path]:
    """A folder that is still to be made, whose name nobody takes for a version; it is gone again where that fails."""
    base.mkdir(parents=True, exist_ok=True)
    _sync(base.parent)
    clean_leftovers(base)
    incoming = _aside(base)
    try:
        yield incoming
    except BaseException:  # an interrupt, too, must not leave a model's worth of disk behind
        shutil.rmtree(incoming, ignore_errors=True)
        raise


def _add(incoming: Path, beside: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Copies what goes with the model, and describes it as `_files` does."""
    added = {}
    for name, source in beside.items():
        target = incoming / name
        if target.exists() or name == MANIFEST:
            raise VersionError(f"{name}: the model has a file of that name already; nothing was pushed")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        added[name] = _described(target)
    return added


def _make_visible(incoming: Path, base: Path, manifest: Mapping[str, Any], now: float, at_least: int) -> Version:
    """Renames the finished folder to the next free version number, and tries the next one if another was faster."""
    created = datetime.fromtimestamp(now, timezone.utc).isoformat(timespec="seconds")
    number = max(int(now), at_least)
    while True:
        number = next_number(base, number)
        manifest = {**manifest, "version": number, "created": created}
        _write_synced(incoming / MANIFEST, json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False) + "\n")
        _sync(incoming)
        if _renamed(incoming, base / str(number)):
            return Version(number, base / str(number), manifest)
        number += 1


def _renamed(incoming: Path, place: Path) -> bool:
    """Makes a finished folder a version; False where its number is taken."""
    try:
        os.rename(incoming, place)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        return False
    return True


def _strict_json(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest as any JSON reader will see it; NaN, which JSON lacks, becomes None."""
    try:
        data = json.loads(json.dumps(manifest), parse_constant=lambda _: None)
    except (TypeError, ValueError) as error:
        raise VersionError(f"the manifest cannot be written as JSON ({error}); nothing was pushed") from error
    return dict(data)


def _numbered(base: Path) -> Iterable[tuple[int, Path]]:
    """What TF Serving would take for a version, complete or not: (number, path), in no order."""
    if not base.is_dir():
        return []
    named = [path for path in base.iterdir() if re.fullmatch("[0-9]+", path.name)]
    return [(int(path.name), path) for path in named if int(path.name) <= LARGEST_VERSION]


def _read(number: int, path: Path) -> Version | None:
    """The version in a folder; None if it is not complete."""
    if not (path / SAVED_MODEL).is_file():
        return None
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Version(number, path, {})
    except (OSError, ValueError):
        return None
    return Version(number, path, manifest) if isinstance(manifest, dict) else None


def _files(model_dir: Path) -> dict[str, dict[str, Any]]:
    """Relative path (with /) to `sha256` and `bytes` of every file but the manifest, sorted."""
    # Links are followed, because the copy of a model holds what they point to.
    paths = (Path(folder, name) for folder, _, names in os.walk(model_dir, followlinks=True) for name in names)
    named = sorted((path.relative_to(model_dir).as_posix(), path) for path in paths)
    return {name: _described(path) for name, path in named if name != MANIFEST}


def _described(path: Path) -> dict[str, Any]:
    return {"sha256": file_checksum(path), "bytes": path.stat().st_size}


def _digest(files: Mapping[str, Mapping[str, Any]]) -> str:
    content = [[name, file["sha256"]] for name, file in sorted(files.items())]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _aside(base: Path) -> Path:
    """A name that nobody takes for a version, and that tells whose it is."""
    return base / f".incoming-{os.getpid()}-{uuid.uuid4().hex}"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        _sync(path)


def _sync(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on disk: a rename may be there before the data otherwise."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
