"""Finds the versions of a model by TF Serving's rules for folders and policies."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable

from benison.serving.models_config import LARGEST_VERSION, Model, choose
from benison.serving.server.status import Code, RequestError

_FOLLOW_HINT = "BENISON_FOLLOW_LINKS=1 follows such links"
_log = logging.getLogger(__name__)
Listing = frozenset[tuple[str, int, int]]


def aspired_versions(
    model: Model, follow_links: bool = False, refuse: Callable[[str], None] = _log.warning
) -> dict[int, str]:
    """Return the versions that a model's policy selects among the folders that exist now.

    By default, a link that leads out of the base path is not followed: a user who may write there must not make the
    server read other files.

    Args:
        model: the model.
        follow_links: whether a version may be such a link, as KServe's storage initializer makes them.
        refuse: called with a text for each such link that is not followed.

    Returns:
        The path by version; empty if there are no versions.

    Raises:
        OSError: The base path cannot be listed.
    """
    base = os.path.realpath(model.base_path)
    paths: dict[int, str] = {}
    for version, name in numbered_folders(os.listdir(base)).items():
        path = os.path.join(base, name)
        real = os.path.realpath(path)
        if not follow_links and not real.startswith(base + os.sep):
            refuse(f"{path}: leads out of {base}, to {real}; not served; {_FOLLOW_HINT}")
        elif os.path.isdir(path):
            paths[version] = path
    return {version: paths[version] for version in choose(paths, model.policy)}


def check_inside(path: str) -> None:
    """Check that no link in a version's folder leads out of the model's base path.

    Args:
        path: the path of the version's folder, from `aspired_versions`.

    Raises:
        RequestError: PERMISSION_DENIED; the message names the link.
        OSError: A folder cannot be listed.
    """
    base = os.path.dirname(path)
    pending, seen = [path], set()
    while pending:
        entry_path = pending.pop()
        real = os.path.realpath(entry_path)
        if not real.startswith(base + os.sep):
            raise RequestError(
                Code.PERMISSION_DENIED, f"{entry_path}: leads out of {base}, to {real}; not served; {_FOLLOW_HINT}"
            )
        if os.path.isdir(real) and real not in seen:
            seen.add(real)
            pending += [entry.path for entry in os.scandir(real) if entry.is_dir() or entry.is_symlink()]


def listing(path: str) -> Listing:
    """Return the path, size (bytes) and time of the last change (ns) of each file in a version's folder."""
    entries = set()
    for folder, folders, files in os.walk(path):
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in (*files, *links):
            file = os.path.join(folder, name)
            try:
                status = os.stat(file)
            except OSError:  # it was removed meanwhile, or is a link to nothing
                continue
            entries.add((file, status.st_size, status.st_mtime_ns))
    return frozenset(entries)


def numbered_folders(names: Iterable[str]) -> dict[int, str]:
    """Return the folder name by version; if a number has two spellings (`1`, `01`), the last in sort order wins."""
    numbered = {int(name): name for name in sorted(names) if re.fullmatch("[0-9]{1,30}", name, re.ASCII)}
    return {version: name for version, name in numbered.items() if version <= LARGEST_VERSION}
