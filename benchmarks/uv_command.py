"""The `uv` command of the benchmarks."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def find_uv(root: Path = ROOT) -> str:
    """Return the uv on PATH, else the one that `make setup` installed.

    Args:
        root: folder of the project, in which setup installs uv as `.uv/bin/uv`.

    Raises:
        SystemExit: neither exists.
    """
    installed = root / ".uv" / "bin" / "uv"
    command = shutil.which("uv") or shutil.which(str(installed))
    if command is None:
        raise SystemExit(f"uv is not on PATH and not at {installed}; run `make setup`, or name one with --uv")
    return command
