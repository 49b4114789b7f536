"""Find pipelines that one Airflow cannot tell apart: with one name, or with the name of another one's second DAG."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benison.pipelines.code.code_reference import display_path
from benison.serving.errors import UsageError

if TYPE_CHECKING:
    from benison.pipelines.config import Pipeline

BY_DATE = "_by_date"  # how the id of the DAG with a timetable ends


@dataclass(frozen=True)
class Compiled:
    """A pipeline that is or will be compiled.

    Attributes:
        name: the pipeline's name.
        source: its YAML; None for a pipeline that was written in Python.
        root: ROOT.
        scheduled: it has a schedule, and so a second DAG.
        manifest: its manifest; None if it has not been written yet.
    """

    name: str
    source: str | None = None
    root: str = ""
    scheduled: bool = False
    manifest: Path | None = None

    @property
    def dags(self) -> tuple[str, ...]:
        """The ids of its DAGs."""
        return (self.name, f"{self.name}{BY_DATE}") if self.scheduled else (self.name,)

    @property
    def identity(self) -> tuple[str, str | None, str]:
        """The same for a pipeline and its earlier manifest, which it may replace, however their paths are written."""
        return self.name, self.source and os.path.realpath(self.source), self.root and os.path.realpath(self.root)

    def __str__(self) -> str:
        source = display_path(Path(self.source)) if self.source else f"the pipeline {self.name} written in Python"
        root = f" with ROOT {self.root}" if self.root else ""
        return f"{display_path(self.manifest)}, compiled from {source}{root}" if self.manifest else f"{source}{root}"


def of_config(config: Pipeline, root: Path) -> Compiled:
    """Return what a config will be compiled to."""
    return Compiled(config.name, str(config.source), str(root), config.schedule is not None)


def refuse(folder: Path, pipelines: Sequence[Compiled]) -> None:
    """Refuse to write pipelines that would replace, or share a DAG with, one another or one that is in the folder.

    A pipeline may replace its own manifest: that of the same YAML and the same ROOT.

    Raises:
        UsageError: one line per collision; each names both files.
    """
    lines = []
    replacing = {pipeline.identity for pipeline in pipelines}
    written = [other for other in _written(folder) if other.identity not in replacing]
    for number, pipeline in enumerate(pipelines):
        for other in (*pipelines[:number], *written):
            shared = sorted(set(pipeline.dags) & set(other.dags))
            if not shared or pipeline.identity == other.identity:
                continue
            remedy = "change `name` in one of them"
            remedy += f", or remove {display_path(other.manifest)} to replace it" if other.manifest else ""
            lines.append(f"{pipeline}: one Airflow cannot have its DAG {shared[0]!r} and that of {other}; {remedy}")
    if lines:
        raise UsageError("\n".join(dict.fromkeys(lines)))


def _written(folder: Path) -> Iterator[Compiled]:
    """Yield the pipelines in a folder; Airflow reports a file that is not a manifest."""
    for file in sorted(folder.glob("*.json")):
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            name, schedule = str(data["name"]), data["schedule"]
            yield Compiled(name, data["source"], data["root"], schedule is not None, file)
        except (OSError, ValueError, KeyError, TypeError):
            continue
