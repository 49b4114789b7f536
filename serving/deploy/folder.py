"""Writing a deployment into a folder: all of it or nothing, and over nobody else's files."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from benison.serving.errors import UsageError

MARK = "# Written by `benison deploy"


class _Dumper(yaml.SafeDumper):
    """YAML as people write it: lines of text as lines, and the same value written out each time."""

    def ignore_aliases(self, data: Any) -> bool:
        """No anchors."""
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Text of several lines line by line."""
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def heading(command: str) -> str:
    """The first line of each file, by which the next call knows that the file may be replaced.

    Args:
        command: what comes after `benison deploy`.
    """
    return f"{MARK} {command}`, which writes it anew.\n"


def yaml_text(document: Mapping[str, Any]) -> str:
    """A document as YAML, in its own order."""
    return yaml.dump(dict(document), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


def write(folder: Path, files: Mapping[str, str], obsolete: frozenset[str] = frozenset()) -> None:
    """Writes files by relative path.

    All are complete on disk before the first one is put in its place, each by one rename.

    Args:
        folder: made if missing.
        files: text by path.
        obsolete: files of an earlier call that are gone if they are not among `files`.

    Raises:
        UsageError: a file of that name is there that is not ours; nothing was written.
        OSError: the disk's own trouble.
    """
    foreign = [path for name in sorted(files) if _foreign(path := folder / name)]
    if foreign:
        raise UsageError(
            f"{foreign[0]}: is there already and was not written by `benison deploy`; "
            "give another folder, or move it away"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.incoming-", dir=folder.parent))
    try:
        for name, text in files.items():
            _write_synced(aside / name, text)
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(aside / name, folder / name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    for name in obsolete - files.keys():
        if (folder / name).is_file() and not _foreign(folder / name):
            (folder / name).unlink()


def _foreign(path: Path) -> bool:
    """Whether something is there that `benison deploy` did not write."""
    if not path.is_file():
        return path.exists()
    with path.open(encoding="utf-8", errors="replace") as file:
        return not file.readline().startswith(MARK)


def _write_synced(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
