"""The header by which each answer names the version that gave it: `x-benison-version: NAME/VERSION`.

`benison lineage NAME/VERSION` leads from there to the run, the code and the files. gRPC sends it as trailing metadata.
"""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

from benison.serving.versions.condition import MANIFEST

NAME = "x-benison-version"
Headers = tuple[tuple[str, str], ...]


def headers(model: str, number: int, folder: str) -> Headers:
    """Return the header of a version's answers.

    Args:
        model: the name under which it is served.
        number: the version number.
        folder: the version's folder; the name in its manifest is used, since a server may give it another one.
    """
    try:
        manifest = json.loads((Path(folder) / MANIFEST).read_bytes())
        name = manifest["name"]
    except (OSError, ValueError, LookupError, TypeError):  # a model of another tool
        name = ""
    # A name may have characters that a header must not have.
    return ((NAME, f"{quote(name if name and isinstance(name, str) else model, safe='')}/{number}"),)
