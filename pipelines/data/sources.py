"""Data files written by a pipeline's `data.source` function: once per ROOT, and again if the function changed."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from benison.components import user_code
from benison.pipelines.code import reads
from benison.pipelines.code.code_reference import Code
from benison.pipelines.config import csv_paths

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


def _ensure_written(config: Pipeline, folder: Path) -> Path:
    """Call the source unless its current code wrote the folder already; the folder appears complete or not at all."""
    source = config.data.source or ""
    stamp = json.dumps({"source": source, "code": config.user_code(Code.of(source)).hash()})
    if (folder / _STAMP).is_file() and (folder / _STAMP).read_text() == stamp:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    temporary.mkdir()
    try:
        with reads.watched():
            user_code.load(source)(temporary)
        (temporary / _STAMP).write_text(stamp)
        if folder.exists():
            os.replace(folder, folder.with_name(f".{folder.name}.old.{uuid.uuid4().hex}"))
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for old in folder.parent.glob(f".{folder.name}.old.*"):
            shutil.rmtree(old, ignore_errors=True)
    return folder
