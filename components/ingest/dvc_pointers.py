"""Pointers of DVC: `FILE.dvc` names a file or a folder by the MD5 of its content. DVC itself is not needed.

The content is read in the workspace, or else in DVC's cache, in the layout of DVC 3 (`files/md5/ab/cdef…`) or the one
before (`ab/cdef…`). It is compared with the pointer's MD5 in any case. A file in the cache has no name, so it is read
under its own name by a link in `.dvc/tmp/benison`.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from benison.serving.errors import DataError, UsageError
from benison.serving.files import atomic_file

SUFFIX = ".dvc"
_FOLDER = ".dir"  # ends the MD5 of a folder, which is that of the list of its files
_LINKS = ("tmp", "benison")  # under .dvc, which git ignores
_BLOCK = 1 << 20  # bytes


@dataclass(frozen=True)
class Tracked:
    """A file that a pointer names.

    Attributes:
        path: where its content is.
        md5: MD5 of its content, as DVC has it.
        pointer: the `.dvc` file.
    """

    path: str
    md5: str
    pointer: str


def is_pointer(path: str | Path) -> bool:
    """Return True if a path is that of a pointer."""
    return str(path).endswith(SUFFIX)


def read(pointer: str | Path) -> list[Tracked]:
    """Return the files that a pointer names, sorted by name; their content is as the pointer says.

    Raises:
        DataError: it is no pointer, or a file is missing or has other content; the message says what to do.
    """
    pointer = Path(os.path.abspath(pointer))
    document, legacy = _document(pointer), False
    tracked: list[Tracked] = []
    for out in document["outs"]:
        md5, path = _text(pointer, out, "md5"), pointer.parent / document.get("wdir", ".") / _text(pointer, out, "path")
        legacy = out.get("hash") != "md5"  # before DVC 3, line ends of texts were made equal first
        where = Path(os.path.abspath(path))
        if md5.endswith(_FOLDER):
            tracked += _folder(pointer, where, md5, legacy)
        else:
            tracked.append(_file(pointer, where, md5, legacy))
    return sorted(tracked, key=lambda file: file.path)


def write(file: Path) -> Path:
    """Write the pointer of a file, as `dvc add` does: keep the content in DVC's cache, and let git ignore the file.

    Returns:
        The pointer.

    Raises:
        UsageError: the file is in no DVC project.
    """
    file = Path(os.path.abspath(file))
    repository = _repository(file)
    if repository is None:
        raise UsageError(f"{file}: is in no DVC project (no folder above it has .dvc); run `dvc init` there first")
    md5 = md5_of(file)
    cached = _cache(repository) / "files" / "md5" / md5[:2] / md5[2:]
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        aside = cached.with_name(f".{cached.name}.{os.getpid()}")
        shutil.copyfile(file, aside)
        os.chmod(aside, 0o444)  # as DVC protects its cache
        os.replace(aside, cached)
    out = {"md5": md5, "size": file.stat().st_size, "hash": "md5", "path": file.name}
    pointer = file.with_name(file.name + SUFFIX)
    atomic_file.write(pointer, yaml.safe_dump({"outs": [out]}, sort_keys=False, allow_unicode=True))
    ignored, line = file.with_name(".gitignore"), f"/{file.name}"
    lines = ignored.read_text().splitlines() if ignored.is_file() else []
    if line not in lines:
        atomic_file.write(ignored, "\n".join([*lines, line]) + "\n")
    return pointer


def md5_of(file: Path, *, legacy: bool = False) -> str:
    """Return the MD5 of a file's content (hex); with `legacy`, of a text with LF line ends, as before DVC 3."""
    state = file.stat()
    return _md5(str(file), legacy, state.st_size, state.st_mtime_ns, state.st_ino)


@lru_cache(maxsize=1024)  # several readers ask for the same file in one process
def _md5(file: str, legacy: bool, *_state: int) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with open(file, "rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block.replace(b"\r\n", b"\n") if legacy else block)
    return digest.hexdigest()


def _document(pointer: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(pointer.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{pointer}: no such file") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{pointer}: not a pointer of DVC: {error}") from None
    outs = document.get("outs") if isinstance(document, dict) else None
    if not isinstance(outs, list) or not outs or not all(isinstance(out, dict) for out in outs):
        raise DataError(f"{pointer}: not a pointer of DVC; expected YAML with `outs`, as `dvc add FILE` writes it")
    return dict(document)


def _text(pointer: Path, out: dict[str, Any], key: str) -> str:
    value = out.get(key)
    if not isinstance(value, str) or not value or (key == "md5" and len(value.removesuffix(_FOLDER)) != 32):
        raise DataError(f"{pointer}: outs: {key}: got {value!r}, expected text, as `dvc add FILE` writes it")
    return value


def _file(pointer: Path, where: Path, md5: str, legacy: bool) -> Tracked:
    if where.is_file():
        if not _is_equal(where, md5, legacy):
            raise DataError(
                f"{where}: its content is not that of {pointer} (md5 {md5}). Restore it with `dvc checkout`, or take "
                f"it over with `dvc add {where.name}`"
            )
        return Tracked(str(where), md5, str(pointer))
    for cached in _cached(pointer, md5):
        if not _is_equal(cached, md5, legacy):
            raise DataError(f"{cached}: is damaged: its md5 is not {md5}; remove it and run `dvc pull {pointer.name}`")
        return Tracked(str(_named(pointer, cached, md5, where.name)), md5, str(pointer))
    raise _missing(pointer, where)


def _folder(pointer: Path, where: Path, md5: str, legacy: bool) -> list[Tracked]:
    listed = next(_cached(pointer, md5), None)
    if listed is None and not where.is_dir():
        raise _missing(pointer, where)
    if listed is None:  # only the workspace has it
        entries = _entries(where)
        if _list_md5(entries) != md5:
            raise DataError(
                f"{where}: its files are not those of {pointer} (md5 {md5}). Restore them with `dvc checkout`, or take "
                f"them over with `dvc add {where.name}`"
            )
    else:
        try:
            entries = [{"md5": str(entry["md5"]), "relpath": str(entry["relpath"])} for entry in _json(listed)]
        except (ValueError, LookupError, TypeError):
            raise DataError(f"{listed}: is damaged; remove it and run `dvc pull {pointer.name}`") from None
        if _list_md5(entries) != md5:
            raise DataError(f"{listed}: is damaged: its md5 is not {md5}; remove it and run `dvc pull {pointer.name}`")
    return [_file(pointer, where / entry["relpath"], entry["md5"], legacy) for entry in entries]


def _entries(folder: Path) -> list[dict[str, str]]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [{"md5": md5_of(file), "relpath": file.relative_to(folder).as_posix()} for file in files]


def _list_md5(entries: Sequence[dict[str, str]]) -> str:
    """Return the MD5 of a folder by DVC's rule: that of its list of files as JSON, sorted by path."""
    text = json.dumps(sorted(entries, key=lambda entry: entry["relpath"].split("/")), sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + _FOLDER


def _json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _is_equal(file: Path, md5: str, legacy: bool) -> bool:
    return md5_of(file) == md5 or (legacy and md5_of(file, legacy=True) == md5)


def _cached(pointer: Path, md5: str) -> Iterator[Path]:
    """Yield the places of a content in DVC's cache that exist."""
    repository = _repository(pointer)
    if repository is not None:
        cache = _cache(repository)
        for place in (cache / "files" / "md5" / md5[:2] / md5[2:], cache / md5[:2] / md5[2:]):
            if place.is_file():
                yield place


def _repository(path: Path) -> Path | None:
    return next((parent for parent in path.parents if (parent / ".dvc").is_dir()), None)


def _cache(repository: Path) -> Path:
    """Return DVC's cache: `cache.dir` of .dvc/config.local or .dvc/config, relative to it, else .dvc/cache."""
    for name in ("config.local", "config"):
        parser = configparser.ConfigParser(interpolation=None, strict=False)
        try:
            parser.read(repository / ".dvc" / name, encoding="utf-8")
        except (configparser.Error, ValueError):
            continue
        if folder := parser.get("cache", "dir", fallback=""):
            return Path(os.path.abspath(repository / ".dvc" / Path(folder).expanduser()))
    return repository / ".dvc" / "cache"


def _named(pointer: Path, cached: Path, md5: str, name: str) -> Path:
    """Return a link to a file of the cache that has the file's own name: its ending says which format it has."""
    repository = _repository(pointer)
    assert repository is not None  # the cache was found in it
    link = repository.joinpath(".dvc", *_LINKS, md5, name)
    if not link.is_file():
        try:
            link.parent.mkdir(parents=True, exist_ok=True)
            aside = link.with_name(f".{name}.{os.getpid()}")
            aside.unlink(missing_ok=True)
            aside.symlink_to(cached)
            os.replace(aside, link)
        except OSError as error:
            raise DataError(
                f"{link}: cannot be written ({error.strerror}); run `dvc checkout {pointer.name}`"
            ) from None
    return link


def _missing(pointer: Path, where: Path) -> DataError:
    return DataError(
        f"{where}: is neither in the workspace nor in DVC's cache, as {pointer.name} names it; get it with "
        f"`dvc pull {pointer.name}` in {pointer.parent}"
    )
