"""Data that a pipeline's own function writes: once per ROOT, anew where the function changed, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from benison.components import user_code
from benison.pipelines.code import fingerprint
from benison.pipelines.code.code_reference import Code
from benison.pipelines.config import csv_paths

if TYPE_CHECKING:
    from benison.pipelines.config import Data, Pipeline

_STAMP = ".benison-source.json"


def files_pattern(config: Pipeline, root: Path) -> str:
    """The pipeline's files as an absolute path or glob pattern; lets its source write them where that is due.

    Args:
        config: the pipeline's config.
        root: ROOT.
    """
    given = config.data.csv or config.data.tfrecord or ""
    if config.data.source is None:
        return csv_paths.pattern(given)
    return str(_written(config.data, root / "data" / config.name) / given)


def _written(data: Data, folder: Path) -> Path:
    """The folder that the source wrote, by the code as it is now."""
    code = Code.of(data.source or "")
    stamp = json.dumps({"source": data.source, "code": fingerprint.code(code.file, code.function)})
    if (folder / _STAMP).is_file() and (folder / _STAMP).read_text() == stamp:
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    aside.mkdir()
    try:
        user_code.load(data.source or "")(aside)
        (aside / _STAMP).write_text(stamp)
        if folder.exists():
            os.replace(folder, folder.with_name(f".{folder.name}.old.{uuid.uuid4().hex}"))
        os.replace(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        for old in folder.parent.glob(f".{folder.name}.old.*"):
            shutil.rmtree(old, ignore_errors=True)
    return folder
