"""Refuse a `module_file=` of TFX whose import, or whose helper's, means another file than the one beside it.

TFX imports a module file by its bare name, and puts its folder at the end of `sys.path`. A module of the same name
anywhere else on the path is taken instead, without a word.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benison.components import modules, written_imports
from benison.serving.errors import UsageError

if TYPE_CHECKING:
    from tfx.orchestration.pipeline import Pipeline as TfxPipeline


def refuse_hidden(pipeline: TfxPipeline) -> None:
    """Check the module files of a pipeline's components.

    Raises:
        UsageError: an import means another file.
    """
    for component in pipeline.components:
        properties = getattr(getattr(component, "spec", None), "exec_properties", {})
        file = properties.get("module_file")
        if isinstance(file, str) and os.path.isfile(file):
            try:
                check(Path(os.path.abspath(file)))
            except UsageError as error:
                raise UsageError(f"{component.id}: {error}") from None


def check(file: Path) -> None:
    """Check a module file and the files beside it that it imports.

    Raises:
        UsageError: an import means another file.
    """
    _refuse_other(file, f"module_file={file}")
    waiting, seen = [file], {file}
    while waiting:
        importer = waiting.pop()
        for line, item in written_imports.in_file(importer):
            beside = file.parent / f"{item.module.partition('.')[0]}.py"
            if item.level or beside in seen or not beside.is_file():
                continue
            _refuse_other(beside, f"{importer}, line {line}: `import {beside.stem}`")
            seen.add(beside)
            waiting.append(beside)


def _refuse_other(beside: Path, what: str) -> None:
    other = modules.find(beside.stem)
    if other is not None and other.is_file():
        means = None if os.path.samefile(other, beside) else str(other)
    else:
        means = "a module of Python itself" if beside.stem in sys.builtin_module_names else None
    if means:
        raise UsageError(
            f"{what} means {means}, not {beside}, because TFX puts the folder of a module_file at the end of the "
            "import path; rename one of them"
        )
