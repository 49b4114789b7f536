"""Find what a run of a pipeline depends on, each by its content, without TFX and without importing the user's code.

The result holds at least what the cache keys of the nodes hold: the config, Benison's own code, the versions of all
installed packages, the schema, the data, what is served, and the user's code with the files and variables that the YAML
declares. `run_lineage` compares the rest: what the nodes wrote, and what the user's code was seen to read.

All files are read each time. A size with a time stamp proves nothing, because both can be set; and the time of the last
change of a file's entry (`ctime`) is wrong on some network disks, after a step of the clock, and for files that are
mapped into memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.components.ingest import data_files
from benison.pipelines.config import AROUND_RUNS
from benison.pipelines.data import sources, spans
from benison.serving.files import checksum
from benison.serving.promotion import labels
from benison.serving.versions import local, sets

if TYPE_CHECKING:
    from benison.pipelines.config import Pipeline

_METADATA = {".dist-info": "METADATA", ".egg-info": "PKG-INFO"}  # the file with a package's version, by its folder
# Of the config: no node depends on them.
_FORMAT_KEYS = frozenset({"description"}) | AROUND_RUNS


class Changing(Exception):
    """Something cannot be compared, or changes at this moment."""


class FilesRead:
    """Hashes files, and tells later whether one of them was written since: even with the same content and size."""

    def __init__(self) -> None:
        self.states: dict[str, tuple[int, ...]] = {}

    def hash(self, file: str | Path) -> str:
        """Return the checksum of a file's content."""
        self.states.setdefault(str(file), _state(str(file)))
        return checksum.of_file(Path(file))

    def refuse_changed(self) -> None:
        """Check all files again.

        Raises:
            Changing: one of them was written since it was hashed.
        """
        for file, state in self.states.items():
            if _state(file) != state:
                raise Changing(f"{file} changed")


def surroundings(config: Pipeline, files: FilesRead) -> Iterator[tuple[str, Any]]:
    """Yield what does not change while nodes run, by name: Python, Benison's code, packages, the schema.

    Args:
        config: the pipeline's config.
        files: the files that are read are added to it.
    """
    yield "python", sys.version
    yield (
        "config",
        {
            name: checksum.of_text(json.dumps(value))
            for name, value in config.model_dump(mode="json", exclude=set(_FORMAT_KEYS)).items()
        },
    )
    yield "schema", files.hash(config.schema_path) if config.schema_path.is_file() else None
    yield "benison", own_code(files)
    yield "packages", _packages(files)


def inputs(config: Pipeline, root: Path, span: str | None, files: FilesRead) -> Iterator[tuple[str, Any]]:
    """Yield all that a run depends on, by name; the cheapest first, so that a comparison can end early.

    Args:
        config: the pipeline's config.
        root: ROOT.
        span: the value of `--span`.
        files: the files that are read are added to it.

    Raises:
        Changing: the data is not written yet, or there are new spans.
        BenisonError: such as a damaged version, or a missing file.
    """
    yield "root", str(root)
    yield from surroundings(config, files)
    yield "data", _data(config, root, span, files)
    yield "served", _served(root / "serving" / config.name)
    yield "code", code(config)


def code(config: Pipeline) -> dict[str, str]:
    """Return the hash of the user's code at each key of the YAML.

    Raises:
        BenisonError: such as a missing file.
    """
    return {key: config.user_code(key).hash() for key in config.references}


def in_words(names: Iterable[str]) -> list[str]:
    """Return names of inputs, as `whole_run.differences` yields them, in the words of a user; sorted.

    What a run itself changes, the served version, is left out.
    """
    words = set()
    for name in names:
        kind, _, part = name.partition(".")
        if kind in ("config", "code"):
            words.add(f"{part} in the YAML" if kind == "config" else f"code of {part}")
        elif kind == "packages":
            words.add(f"package {os.path.splitext(part)[0]}")
        elif kind == "data":
            words.add("window" if part == "window" else f"data of span {part}" if part.strip("0") else "data")
        elif kind != "served":
            words.add({"python": "Python", "benison": "Benison", "root": "ROOT"}.get(kind, kind))
    if "data" in words:  # other files are other data
        words.discard("data of span files")
    return sorted(word.replace("data of span files", "files of the data") for word in words)


def users_functions(config: Pipeline) -> set[str]:
    """Return the hashes of the user's functions that nodes can have; see `cache_key.hash_functions`."""
    return {"", *(config.user_code(*keys).hash() for keys in config.called.values() if keys)}


def _state(file: str) -> tuple[int, ...]:
    try:
        facts = os.stat(file)
    except OSError:
        return ()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def own_code(files: FilesRead) -> str:
    """Hash all modules of Benison; in a clone they change without a new version."""
    digest = hashlib.sha256()
    top = Path(__file__).parents[2]
    modules = (
        Path(parent, name)
        for parent, _, names in os.walk(top, followlinks=True)  # a clone has links to its folders
        for name in names
        if name.endswith(".py")
    )
    for file in sorted(modules):
        digest.update(f"{file.relative_to(top)}\0{files.hash(file)}\0".encode())
    return digest.hexdigest()


def _packages(files: FilesRead) -> dict[str, str]:
    """Return a hash of the metadata of each installed package, by the name of its folder, which has the version."""
    packages: dict[str, str] = {}
    folders = dict.fromkeys(Path(os.path.abspath(entry)) for entry in sys.path)
    # setuptools puts a folder of its own on the path when somebody imports it.
    for folder in (folder for folder in folders if "site-packages" not in folder.parent.parts):
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            if metadata := _METADATA.get(os.path.splitext(name)[1]):
                path = os.path.join(folder, name, metadata)
                packages.setdefault(name, files.hash(path) if os.path.isfile(path) else "")
    return packages


def _data(config: Pipeline, root: Path, span: str | None, files: FilesRead) -> dict[str, Any]:
    """Return the window, and by span (0 without spans) the data as the driver of ExampleGen fingerprints it."""
    pattern = sources.written_pattern(config, root)
    if pattern is None:
        raise Changing("the source has to write the data")
    if config.spans is None:
        if span is not None:
            raise Changing("a span of a pipeline without spans")
        names = data_files.find(pattern)
        return {"window": [], "files": list(names), "0": data_files.of_contents((f, files.hash(f)) for f in names)}
    if config.data.csv is not None:
        known = {*(s.number for s in spans.all_spans(root, config.name)), *spans.gone(root, config.name)}
        if any(number not in known for number, _ in data_files.numbered(pattern)):
            raise Changing("there are new spans")
    window = spans.window(config, root, span)
    landed = spans.content_hashes(root, config.name, window)
    found = {n: data_files.find(spans.pattern(root, config.name).replace(data_files.SPAN, n)) for n in landed}
    return {
        "window": list(window),
        # A landed span never changes; its hash is the one recorded on landing, as in the key of the cache.
        **{n: data_files.of_contents((file, landed[n]) for file in names) for n, names in found.items()},
    }


def _served(base: Path) -> dict[str, str] | None:
    """Return the identity of the served version, whose files and members are whole."""
    version = labels.served(base)
    if version is None:
        return None
    version = sets.get_verified(base, version.number)
    manifest = version.path / local.MANIFEST
    return {
        "number": str(version.number),
        "identity": local.identity(version),
        "manifest": checksum.of_file(manifest) if manifest.is_file() else "",
    }
