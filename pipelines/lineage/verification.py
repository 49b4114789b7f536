"""Compare the raw files and the files of a version with the hashes that were recorded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benison.components.ingest import data_files, dvc_pointers
from benison.pipelines.code import fingerprint
from benison.pipelines.lineage.graph import RawFile, RunGraph
from benison.serving.files import checksum
from benison.serving.versions import condition

EQUAL, CHANGED, MISSING, ADDED, UNKNOWN = "equal", "changed", "missing", "added", "no hash recorded"
WRONG = frozenset({CHANGED, MISSING, ADDED})


@dataclass(frozen=True)
class Checked:
    """A file, compared with its record.

    Attributes:
        path: the file.
        state: `equal`, `changed`, `missing`, `added` (a file of a version that its manifest does not name) or `no hash
            recorded`.
    """

    path: Path
    state: str


def raw_files(graph: RunGraph) -> list[Checked]:
    """Compare the raw files of a run with what it read; all of them are read again."""
    states: dict[Path, str] = {}
    for artifact in graph.artifacts:
        whole = _state_of_all(artifact.files, artifact.files_hash)
        for file in artifact.files:
            states[file.path] = _state(file, whole)
    return [Checked(path, state) for path, state in states.items()]


def version_files(folder: Path, files: Iterable[str]) -> list[Checked]:
    """Compare the files of a version with its manifest and with the record of pushes.

    Args:
        folder: ROOT/serving/NAME/VERSION.
        files: the files of its manifest, relative to the folder.
    """
    states = {folder / file: EQUAL for file in files}
    for line in condition.check(folder).problems:
        place, _, problem = line.partition(": ")
        states[Path(place)] = (
            MISSING if problem.startswith(MISSING) else ADDED if problem == condition.NOT_RECORDED else CHANGED
        )
    return [Checked(path, state) for path, state in sorted(states.items())]


def _state(file: RawFile, whole: str) -> str:
    if not file.path.is_file():
        return MISSING
    if file.sha256:
        is_equal = checksum.of_file(file.path) == file.sha256
        is_equal = is_equal and (not file.md5 or _has_md5(file))
        return EQUAL if is_equal else CHANGED
    return whole


def _has_md5(file: RawFile) -> bool:
    return file.md5 in (dvc_pointers.md5_of(file.path), dvc_pointers.md5_of(file.path, legacy=True))


def _state_of_all(files: Sequence[RawFile], recorded: str) -> str:
    """Compare the files of one artifact together, as former releases recorded only one hash of them."""
    if not recorded or not files or all(file.sha256 for file in files):
        return UNKNOWN
    if not all(file.path.is_file() for file in files):
        return UNKNOWN
    if files[0].span is not None:
        folder = files[0].path.parent
        now = fingerprint.files(sorted(folder.glob("*.csv")))
    else:
        now = data_files.fingerprint([str(file.path) for file in files])
    return EQUAL if now == recorded else CHANGED
