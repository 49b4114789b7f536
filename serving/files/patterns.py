"""Folders that TensorFlow and Beam would read as patterns."""

from __future__ import annotations

import glob
from pathlib import Path

from benison.serving.errors import UsageError


def check_root(root: Path) -> None:
    """Raise UsageError for a ROOT with a `*`, `?` or `[` in its absolute path.

    Beam finds artifacts, and TensorFlow finds the variables of a model, by patterns that begin with this path. Neither
    can quote it.
    """
    if glob.has_magic(str(root.absolute())):
        raise UsageError(
            f"{root.absolute()}: the path of ROOT must not contain any of * ? [, because Beam and TensorFlow read it "
            "as a pattern; choose another folder with --root or BENISON_ROOT, or give it a link to this one whose path "
            "has none of them, and always use that link"
        )
