"""Sizes of folders, and sizes as text."""

from __future__ import annotations

from pathlib import Path


def folder_size(path: Path) -> int:
    """Return the total size of all files in a folder, in bytes."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def format_size(size: float) -> str:
    """Return a number of bytes with a decimal unit, such as `1.2 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
