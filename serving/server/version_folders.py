"""Which versions of a model are there: TF Serving's rules for folders and policies."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable

from benison.serving.models_config import LARGEST_VERSION, Model, choose
from benison.serving.server.status import Code, RequestError

_log = logging.getLogger(__name__)


def aspired(model: Model) -> dict[int, str]:
    """The versions that a model's policy wants, as its folder is now.

    A link that leads out of the base path is not followed: whoever may write there must not make the server read
    elsewhere.

    Returns:
        Path by version; empty where there is none.

    Raises:
        OSError: the base path cannot be listed.
    """
    base = os.path.realpath(model.base_path)
    found: dict[int, str] = {}
    for version, name in versions(os.listdir(base)).items():
        path = os.path.join(base, name)
        if not os.path.realpath(path).startswith(base + os.sep):
            _log.warning("%s: leads out of %s; not served", path, base)
        elif os.path.isdir(path):
            found[version] = path
    return {version: found[version] for version in choose(found, model.policy)}


def check_inside(path: str) -> None:
    """Makes sure that a version has no file, linked from wherever within it, that lies outside the model's base path.

    Args:
        path: of the version's folder, as `aspired` returns it.

    Raises:
        RequestError: PERMISSION_DENIED, naming the link.
        OSError: a folder cannot be listed.
    """
    base = os.path.dirname(path)
    waiting, seen = [path], set()
    while waiting:
        place = waiting.pop()
        real = os.path.realpath(place)
        if not real.startswith(base + os.sep):
            raise RequestError(Code.PERMISSION_DENIED, f"{place}: leads out of {base}, to {real}; not served")
        if os.path.isdir(real) and real not in seen:
            seen.add(real)
            waiting += [entry.path for entry in os.scandir(real) if entry.is_dir() or entry.is_symlink()]


def versions(names: Iterable[str]) -> dict[int, str]:
    """Name of the folder by version; of two spellings of a number (`1`, `01`) the last in order counts."""
    numbered = {int(name): name for name in sorted(names) if re.fullmatch("[0-9]{1,30}", name, re.ASCII)}
    return {version: name for version, name in numbered.items() if version <= LARGEST_VERSION}
