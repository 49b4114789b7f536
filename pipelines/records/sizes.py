"""Sizes of files, and how people read them."""

from __future__ import annotations

from pathlib import Path


def on_disk(path: Path) -> int:
    """Of all files in a folder (bytes)."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def readable(size: float) -> str:
    """A number of bytes with a decimal unit, such as `1.2 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
