"""Write a deployment to a folder: all files or none, and never over files that Benison did not write."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from benison.serving.errors import UsageError
from benison.serving.files import atomic_file

MARK = "# Written by `benison deploy"


class _Dumper(yaml.SafeDumper):
    """Readable YAML: text of several lines as a block, and repeated values written out."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write no anchors."""
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Write text of several lines as a block."""
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def heading(command: str) -> str:
    """Return the first line of each file, which shows the next call that it may replace the file.

    Args:
        command: The words after `benison deploy`.
    """
    return f"{MARK} {command}`; the same command writes it again.\n"


def yaml_text(document: Mapping[str, Any]) -> str:
    """Return a document as YAML, with its keys in their order."""
    return yaml.dump(dict(document), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


def write(folder: Path, files: Mapping[str, str], obsolete: frozenset[str] = frozenset()) -> None:
    """Write files.

    All files are complete on disk before the first is renamed to its final name.

    Args:
        folder: The folder; it is created if it is missing.
        files: Text by relative path.
        obsolete: Files of an earlier call to delete, unless they are among `files`.

    Raises:
        UsageError: A file that `benison deploy` did not write has one of these names; nothing was written.
        OSError: The disk failed.
    """
    foreign = [path for name in sorted(files) if _foreign(path := folder / name)]
    if foreign:
        raise UsageError(
            f"{foreign[0]}: already exists and was not written by `benison deploy`; "
            "give another folder, or move the file"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    incoming = Path(tempfile.mkdtemp(prefix=f".{folder.name}.incoming-", dir=folder.parent))
    try:
        for name, text in files.items():
            (incoming / name).parent.mkdir(parents=True, exist_ok=True)
            atomic_file.write_synced(incoming / name, text)
            (incoming / name).chmod(0o644)  # a container of another user reads some of them; none holds a secret
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if (folder / name).parent != folder:
                (folder / name).parent.chmod(0o755)
            os.replace(incoming / name, folder / name)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    for name in obsolete - files.keys():
        if (folder / name).is_file() and not _foreign(folder / name):
            (folder / name).unlink()


def _foreign(path: Path) -> bool:
    """Return True if something exists here that `benison deploy` did not write."""
    if not path.is_file():
        return path.exists()
    with path.open(encoding="utf-8", errors="replace") as file:
        return not file.readline().startswith(MARK)
