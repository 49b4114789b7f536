"""The versions of a pushed model in TF Serving's layout: BASE/VERSION/, where BASE is ROOT/serving/NAME.

A version is written to a folder whose name TF Serving ignores and becomes visible by one rename, so that readers see
all of it or nothing. After that it is never changed. Its `manifest.json` says what it is made of.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.serving import missing_values
from benison.serving.errors import VersionError
from benison.serving.files import atomic_file
from benison.serving.files import checksum as checksums
from benison.serving.models_config import LARGEST_VERSION
from benison.serving.versions import condition, pushes
from benison.serving.versions.condition import Condition

if TYPE_CHECKING:
    # The model server imports this module for its names of files, and must not spend its start on pydantic.
    from benison.serving.versions.manifest import FileRecord, Manifest

MANIFEST = condition.MANIFEST
SAVED_MODEL = "saved_model.pb"
LITE = "model.tflite"  # the same model for TensorFlow Lite, where TF Serving looks for it
STABLE = "stable"  # the label of the version that is served
EXTRA = "assets.extra"  # where TensorFlow keeps files that are not part of the graph
MEMBERS = f"{EXTRA}/members"  # NAME.npz: the numbers that a member consists of, if its kind gives them
SCHEMA = f"{EXTRA}/schema.pbtxt"  # schema of the raw features, without the label

# A rename never replaces a folder that has anything in it, so two publishers cannot take the same number.
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)
_INCOMING = re.compile(r"\.incoming-(?P<pid>[0-9]+)-[0-9a-f]+")


@dataclass(frozen=True)
class Version:
    """A pushed version.

    Attributes:
        number: Its version number, which is the folder's name.
        path: The folder, a SavedModel.
        manifest: What `manifest.json` says; an empty manifest if another tool pushed the version without one, or if it
            is damaged.
        condition: Whole, damaged or foreign by the names and sizes of its files; `condition.check` reads them too.
    """

    number: int
    path: Path
    manifest: Manifest = field(repr=False, hash=False)
    condition: Condition = field(default=Condition("whole"), repr=False, compare=False)

    @property
    def missing_values(self) -> dict[str, Any]:
        """The value that stands for a missing cell, by input of the signature `raw`; required inputs have none.

        It is empty for a version of an older Benison or of another tool, which does not say so.

        Raises:
            VersionError: The file that names them is broken.
        """
        return missing_values.markers(missing_values.read_inputs(self.path) or {})

    @property
    def arguments(self) -> dict[str, str]:
        """The input of the signature `raw` of each column; empty for a version that does not say so.

        Raises:
            VersionError: The file that names them is broken.
        """
        return missing_values.arguments(missing_values.read_inputs(self.path) or {})


def publish(
    model_dir: Path,
    base: Path,
    manifest: Manifest,
    clock: Callable[[], float] = time.time,
    *,
    beside: Mapping[str, Path] | None = None,
    at_least: int = 0,
) -> Version:
    """Copy a SavedModel into the base and make it visible as the highest version, all at once.

    A crash never leaves a visible half of a version; the next call removes its files. Processes that publish at the
    same time get different numbers.

    Args:
        model_dir: The SavedModel.
        base: ROOT/serving/NAME; created if it is missing.
        manifest: What is known about the version. NaN and infinity become null. `format`, `version`, `created`,
            `files`, `bytes`, `inputs` and `packed` are added; `candidate` too, unless it is set (see `checksum`;
            `beside` does not change it).
        clock: Unix time (seconds). The version number is its whole second, or one above the highest existing version.
        beside: Files to add to the model, by their path in the version (relative, with /).
        at_least: The lowest allowed version number.

    Returns:
        The version, now visible.

    Raises:
        VersionError: `model_dir` is not a SavedModel, the manifest is not JSON, or a file of `beside` would replace one
            of the model's own. Nothing became visible.
        OSError: The disk failed. Nothing became visible.
    """
    from benison.serving.versions.manifest import FORMAT, Manifest

    if not (model_dir / SAVED_MODEL).is_file():
        raise VersionError(f"{model_dir}: no {SAVED_MODEL} in it, so it is not a SavedModel; nothing was pushed")
    keys = _strict_json(manifest.to_dict())
    with _incoming_folder(base) as incoming:
        shutil.copytree(model_dir, incoming, copy_function=shutil.copyfile)
        model_files = _files(incoming)
        files = dict(sorted({**model_files, **_add(incoming, beside or {})}.items()))
        written = {
            "files": {name: record.to_dict() for name, record in files.items()},
            "bytes": sum(record.bytes for record in files.values()),
            "format": FORMAT,
            **({"inputs": inputs} if (inputs := missing_values.read_inputs(model_dir)) else {}),
            **({"packed": packed} if (packed := missing_values.read_packed(model_dir)) else {}),
        }
        manifest = Manifest.model_validate({"candidate": _digest(model_files), **keys, **written})
        _sync_tree(incoming)
        version = _make_visible(incoming, base, manifest, clock(), at_least)
    atomic_file.sync(base)
    return version


def install(base: Path, number: int, fill: Callable[[Path], object]) -> Version:
    """Make a version that was published elsewhere visible here under its own number, all at once.

    It replaces a damaged copy of itself.

    Args:
        base: ROOT/serving/NAME; created if it is missing.
        number: The version's number.
        fill: Writes the version's files and its manifest into an empty folder.

    Returns:
        The version, now visible.

    Raises:
        VersionError: The written files differ from the manifest, another version has the number, or the version was
            published here with another manifest. Nothing became visible.
        OSError: The disk failed. Nothing became visible.
    """
    with _incoming_folder(base) as incoming:
        incoming.mkdir()
        fill(incoming)
        state = condition.check(incoming)
        if state.is_damaged:
            raise VersionError("\n".join([f"{base}: version {number} is not as it was pushed:", *state.problems]))
        version = _read(number, incoming)
        if version is None or version.manifest.version != number:
            raise VersionError(f"{base}: the copied files are not version {number}; nothing was changed")
        _sync_tree(incoming)
        atomic_file.sync(incoming)
        digest = checksums.of_file(incoming / MANIFEST)
        existing = find(base, number, damaged=True)
        is_same = digest in (pushes.manifests(base, number) or {digest})
        if existing is None and not is_same:
            raise VersionError(
                f"{base / pushes.FILE}: version {number} was published here with another {MANIFEST} than the copy has, "
                "so the copy was changed; nothing was changed here"
            )
        if existing is not None and is_same and condition.check(existing.path).is_damaged:
            remove(existing)
        if not (base / str(number)).exists():
            pushes.append(base, number, digest, _iso(time.time()))
        if not _rename(incoming, base / str(number)):
            raise VersionError(f"{base / str(number)}: another version has this number; nothing was changed")
    atomic_file.sync(base)
    return Version(number, base / str(number), version.manifest)


def versions(base: str | Path) -> list[Version]:
    """Return the usable versions, ascending: those that are not damaged.

    Args:
        base: ROOT/serving/NAME. If it does not exist, there are no versions.

    Raises:
        VersionError: A newer Benison wrote one of the manifests.
    """
    return [version for version in all_versions(base) if not version.condition.is_damaged]


def all_versions(base: str | Path) -> list[Version]:
    """Return the versions, ascending, including damaged ones; see `versions`."""
    numbered = sorted(_numbered(Path(base)), key=lambda item: item[0])
    return [version for number, path in numbered if (version := _read(number, path)) is not None]


def find(base: Path, number: int, *, damaged: bool = False) -> Version | None:
    """Return a version by its number; None if there is none.

    Args:
        base: ROOT/serving/NAME.
        number: The version's number.
        damaged: Return it even if it is damaged.
    """
    same = (_read(number, path) for taken, path in _numbered(base) if taken == number)
    version = next((version for version in same if version is not None), None)
    return None if version is not None and version.condition.is_damaged and not damaged else version


def get(base: Path, number: int) -> Version:
    """Return a version by its number.

    Args:
        base: ROOT/serving/NAME.
        number: The version's number.

    Raises:
        VersionError: There is no such version, or it is damaged; the message lists the existing ones, or the problems.
    """
    version = find(base, number, damaged=True)
    if version is None:
        numbers = ", ".join(str(version.number) for version in versions(base)) or "none"
        raise VersionError(f"{base}: no version {number}; it has {numbers}")
    if version.condition.is_damaged:
        raise damage(base, number, version.condition.problems)
    return version


def damage(base: Path, number: int, problems: Iterable[str]) -> VersionError:
    """Return the error of a damaged version.

    Args:
        base: ROOT/serving/NAME.
        number: The version's number.
        problems: One line each.
    """
    return VersionError(
        "\n".join([
            f"{base.name}: version {number} is not as it was pushed:",
            *problems,
            f"It is damaged, so it is neither promoted nor loaded. Copy it again from the store "
            f"(`benison fetch {base.name} {number}`), or use another version.",
        ])
    )  # fmt: skip


def read_manifest(path: Path) -> Manifest:
    """Return the manifest in a version's folder; an empty one if there is none.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not a JSON object.
        VersionError: A newer Benison wrote it, or it does not follow its own format.
    """
    from benison.serving.versions import manifest

    try:
        content = (path / MANIFEST).read_text(encoding="utf-8")
    except FileNotFoundError:
        return manifest.Manifest()
    return manifest.parse(content, str(path / MANIFEST))


def next_number(base: Path, at_least: int) -> int:
    """Return the first number from `at_least` on that is above all versions, complete or not."""
    return max([at_least, *(taken + 1 for taken, _ in _numbered(base))])


def remove(version: Version) -> None:
    """Delete a version; readers see all of it or nothing."""
    hidden = _hidden_folder(version.path.parent)
    os.rename(version.path, hidden)
    shutil.rmtree(hidden)


def clean_leftovers(base: Path) -> None:
    """Delete the unfinished folders of publishers that were killed."""
    for path in base.iterdir():
        leftover = _INCOMING.fullmatch(path.name)
        if leftover and not _is_running(int(leftover["pid"])):
            shutil.rmtree(path, ignore_errors=True)


def identity(version: Version | None) -> str:
    """Return the version as part of a cache key: `none`, or its number and the checksum of its content."""
    if version is None:
        return "none"
    return f"{version.number}:{version.manifest.candidate or checksum(version.path)}"


def checksum(model_dir: Path) -> str:
    """Return the SHA-256 (hex) of a SavedModel's relative file names and bytes; its own manifest does not count.

    Two exports of the same model have different bytes; `versions.content` compares what they compute.
    """
    return _digest(_files(model_dir))


def verify(version: Version) -> list[str]:
    """Compare a version's files with its manifest.

    Returns:
        One line per problem, sorted by file name; empty if all files are as they were pushed.
    """
    state = condition.check(version.path)
    if state.kind == "foreign":
        return [f"{version.path}: no list of files in {MANIFEST}, so nothing to verify the version against"]
    return list(state.problems)


@contextmanager
def _incoming_folder(base: Path) -> Iterator[Path]:
    """Yield the path of a folder to create, which no reader takes for a version; delete it if the block fails."""
    base.mkdir(parents=True, exist_ok=True)
    atomic_file.sync(base.parent)
    clean_leftovers(base)
    incoming = _hidden_folder(base)
    try:
        yield incoming
    except BaseException:  # an interrupt must not leave a model's worth of disk behind either
        shutil.rmtree(incoming, ignore_errors=True)
        raise


def _add(incoming: Path, beside: Mapping[str, Path]) -> dict[str, FileRecord]:
    """Copy the files that go with the model; return their records."""
    added = {}
    for name, source in beside.items():
        target = incoming / name
        if target.exists() or name == MANIFEST:
            raise VersionError(f"{name}: the model has a file of that name already; nothing was pushed")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        added[name] = _record(target)
    return added


def _make_visible(incoming: Path, base: Path, manifest: Manifest, now: float, at_least: int) -> Version:
    """Rename the finished folder to the next free version number; try the following one if another process took it."""
    created = _iso(now)
    number = max(int(now), at_least)
    while True:
        number = next_number(base, number)
        manifest = manifest.model_copy(update={"version": number, "created": created})
        atomic_file.write_synced(incoming / MANIFEST, manifest.to_json())
        atomic_file.sync(incoming)
        pushes.append(base, number, checksums.of_file(incoming / MANIFEST), created)
        if _rename(incoming, base / str(number)):
            return Version(number, base / str(number), manifest)
        number += 1


def _rename(incoming: Path, target: Path) -> bool:
    """Rename a finished folder to a version; return False if the number is taken."""
    try:
        os.rename(incoming, target)
    except OSError as error:
        if error.errno not in _TAKEN:
            raise
        return False
    return True


def _strict_json(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys as a JSON reader will see them; NaN, which strict JSON lacks, becomes None."""
    try:
        data = json.loads(json.dumps(keys), parse_constant=lambda _: None)
    except (TypeError, ValueError) as error:
        raise VersionError(f"the manifest cannot be written as JSON ({error}); nothing was pushed") from error
    return dict(data)


def _numbered(base: Path) -> Iterable[tuple[int, Path]]:
    """Return the folders that TF Serving takes for versions, complete or not: (number, path), in no order."""
    if not base.is_dir():
        return []
    named = [path for path in base.iterdir() if re.fullmatch("[0-9]+", path.name)]
    return [(int(path.name), path) for path in named if int(path.name) <= LARGEST_VERSION]


def _read(number: int, path: Path) -> Version | None:
    """Return the version in a folder; None if there is none, because no push to this folder was completed."""
    from benison.serving.versions.manifest import Manifest

    if not path.is_dir():
        return None
    state = condition.look(path)
    if state.is_damaged:
        return Version(number, path, Manifest(), state)
    if not (path / SAVED_MODEL).is_file():
        return None
    try:
        return Version(number, path, read_manifest(path), state)
    except (OSError, ValueError) as error:
        return Version(number, path, Manifest(), Condition("damaged", (f"{path / MANIFEST}: {error}",)))


def _files(model_dir: Path) -> dict[str, FileRecord]:
    """Return the record of every file but the manifest, sorted by relative path (with /)."""
    return {name: _record(path) for name, path in condition.file_paths(model_dir).items()}


def _record(path: Path) -> FileRecord:
    from benison.serving.versions.manifest import FileRecord

    return FileRecord(sha256=checksums.of_file(path), bytes=path.stat().st_size)


def _digest(files: Mapping[str, FileRecord]) -> str:
    return checksums.of_text(json.dumps([[name, record.sha256] for name, record in sorted(files.items())]))


def _iso(seconds: float) -> str:
    """Return a Unix time (seconds) as UTC in ISO's format."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")


def _hidden_folder(base: Path) -> Path:
    """Return a new name that no reader takes for a version and that names its process."""
    return base / f".incoming-{os.getpid()}-{uuid.uuid4().hex}"


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        atomic_file.sync(path)
