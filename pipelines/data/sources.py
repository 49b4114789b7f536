"""Data files written by a pipeline's `data.source`: once per ROOT, and again if its code or what it reads changed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benison.components import user_code
from benison.pipelines.code import reads, watching
from benison.pipelines.config import csv_paths
from benison.serving.files import file_lock

if TYPE_CHECKING:
    from benison.pipelines.config import Pipeline

_STAMP = ".benison-source.json"


def files_pattern(config: Pipeline, root: Path) -> str:
    """Return the pipeline's files as an absolute path or glob pattern; call its source first if they are not written.

    Args:
        config: the pipeline's config.
        root: ROOT.
    """
    pattern = config.data.csv or config.data.tfrecord or ""
    if config.data.source is None:
        return csv_paths.located(pattern)
    return str(_ensure_written(config, root / "data" / config.name) / pattern)


def written_pattern(config: Pipeline, root: Path) -> str | None:
    """Return the same as `files_pattern`, but None if the source would have to be called first."""
    folder = root / "data" / config.name
    if config.data.source is not None and not _is_written(folder / _STAMP, _key(config)):
        return None
    pattern = config.data.csv or config.data.tfrecord or ""
    return csv_paths.located(pattern) if config.data.source is None else str(folder / pattern)


def _key(config: Pipeline) -> dict[str, str]:
    return {"source": config.data.source or "", "code": config.user_code("data.source").hash()}


def _ensure_written(config: Pipeline, folder: Path) -> Path:
    """Call the source unless its current code has written the folder; the folder appears complete or not at all."""
    source, key = config.data.source or "", _key(config)
    if _is_written(folder / _STAMP, key):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with file_lock.hold(folder.with_name(f".{folder.name}.lock")):
        if _is_written(folder / _STAMP, key):  # by another process, just now
            return folder
        _remove_rests(folder)  # of a process that was killed
        temporary = folder.with_name(f".{folder.name}.new")
        temporary.mkdir()
        try:
            with watching.watched():
                user_code.load(source)(temporary)
            (temporary / _STAMP).write_text(json.dumps({**key, "reads": reads.OF_PROCESS.record([str(temporary)])}))
            if folder.exists():
                os.replace(folder, folder.with_name(f".{folder.name}.old"))
            os.replace(temporary, folder)
        finally:
            _remove_rests(folder)
    return folder


def _remove_rests(folder: Path) -> None:
    for rest in folder.parent.glob(f".{folder.name}.*"):
        if rest.is_dir():
            shutil.rmtree(rest, ignore_errors=True)


def _is_written(stamp: Path, key: Mapping[str, str]) -> bool:
    """Return whether a stamp has this key, and what the source read then is as it was."""
    if not stamp.is_file():
        return False
    written = json.loads(stamp.read_text())
    recorded = written.pop("reads", None)
    return written == key and recorded is not None and not reads.difference(recorded)
