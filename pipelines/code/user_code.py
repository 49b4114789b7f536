"""The user's code that a node runs: a hash of the functions, and of what the YAML declares that they read."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from benison.components.ingest import data_files
from benison.pipelines.code import fingerprint
from benison.serving.files import checksum


@dataclass(frozen=True)
class UserCode:
    """Functions of a user, and what they read.

    Attributes:
        functions: references `/path/file.py:function`.
        files: absolute paths or patterns of files, see `data_files.find`.
        env: names of environment variables.
    """

    functions: tuple[str, ...]
    files: tuple[str, ...] = ()
    env: tuple[str, ...] = ()

    def hash(self) -> str:
        """Hash the code, the versions of the packages that it imports, and the values of what it reads now.

        Returns:
            SHA-256, hex.

        Raises:
            UsageError: a function does not exist.
            DataError: a declared file does not exist.
        """
        functions = (reference.rpartition(":") for reference in self.functions)
        parts = [fingerprint.code(Path(file), function) for file, _, function in functions]
        parts += map(_hash_files, self.files)
        parts += [f"{name}={checksum.of_text(os.environ[name]) if name in os.environ else None}" for name in self.env]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _hash_files(pattern: str) -> str:
    """Hash the files of a pattern by their contents and their paths below the folder that holds all of them."""
    files = data_files.find(pattern)
    folder = os.path.commonpath([os.path.dirname(file) for file in files])
    return "".join(f"{os.path.relpath(file, folder)}:{checksum.of_file(Path(file))}\n" for file in files)
