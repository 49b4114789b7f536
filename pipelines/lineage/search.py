"""Find what a user means by VERSION, RUN or FILE, and what belongs to it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from benison.components.ingest import dvc_pointers
from benison.pipelines.data import spans
from benison.pipelines.lineage import graph, pushed_versions, verification
from benison.pipelines.lineage.graph import Artifact, RawFile, RunGraph
from benison.pipelines.lineage.pushed_versions import PushedVersion
from benison.pipelines.records import runs
from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError
from benison.serving.files import checksum

if TYPE_CHECKING:
    from benison.pipelines.records.runs import Run


@dataclass(frozen=True)
class Lineage:
    """The origin of a version or a run.

    Attributes:
        target: what was asked for, as NAME/VERSION or the run's id.
        version: the version; None for a run that pushed none.
        graph: the run; None if there is no record of it.
        notes: what is not as it should be, or not known; one sentence each.
    """

    target: str
    version: PushedVersion | None
    graph: RunGraph | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Use:
    """A run that read a file, or read or wrote an artifact.

    Attributes:
        graph: the run.
        files: the raw files that are meant, as the run recorded them.
        artifact: the artifact that is meant; None for a file.
        versions: the versions that the run pushed.
    """

    graph: RunGraph
    files: tuple[RawFile, ...]
    artifact: Artifact | None
    versions: tuple[PushedVersion, ...]


@dataclass(frozen=True)
class Uses:
    """The runs and versions that a file or an artifact went into.

    Attributes:
        path: the file, or the artifact's folder.
        hashes: hashes of the contents now, of a pointer those of its files; empty if it is gone, or for an artifact.
        spans: the spans that have the file, as pipeline, number and whether the span is still in use.
        uses: the runs, oldest first.
    """

    path: Path
    hashes: frozenset[str]
    spans: tuple[tuple[str, int, bool], ...]
    uses: tuple[Use, ...]

    @property
    def sha256(self) -> str:
        """The hash of the content now; '' if there is not exactly one."""
        return next(iter(self.hashes)) if len(self.hashes) == 1 else ""

    def content(self, file: RawFile) -> str:
        """Return whether a run read what the file holds now: `equal`, `changed`, `missing`, or `no hash recorded`."""
        if not self.hashes:
            return verification.MISSING
        if not file.sha256:  # a former release recorded none
            return verification.UNKNOWN
        return verification.EQUAL if file.sha256 in self.hashes else verification.CHANGED


class Finder:
    """Finds things in a ROOT; each record is read once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, target: str) -> Lineage | Uses:
        """Return the lineage of a target.

        Args:
            target: NAME or NAME/VERSION as in `x-benison-version`, a version's number, a run's id, the path of a data
                file, of its pointer, of an artifact or of a version.

        Raises:
            UsageError: it is none of these; the message suggests a close name.
        """
        for name in dict.fromkeys((target, unquote(target))):
            if run := next((run for run in self.known_runs if run.id == name), None):
                return self._of_run(run)
            if version := self._version(name):
                return self.of_version(version)
        path = Path(os.path.abspath(Path(target).expanduser()))
        inside = self._inside(path)
        if inside is not None:
            return inside
        if path.is_file() or any(str(path) in (f.recorded, str(f.path), f.origin) for f in self._raw_files()):
            return self._of_file(path)
        names = [*(run.id for run in self.known_runs), *self.names, *(version.id for version in self.versions)]
        raise UsageError(
            f"{target}: no version, run, data file or artifact of {self.root}{did_you_mean(target, names)}; expected "
            "NAME, NAME/VERSION, a run's id, or a path (`benison versions NAME` and `benison runs` list them)"
        )

    def of_version(self, pushed: PushedVersion) -> Lineage:
        """Return the lineage of a version."""
        notes = (
            [] if not pushed.version.condition.is_damaged else [f"{pushed.id} is damaged: `benison verify` says why"]
        )
        source = pushed
        while (again := source.version.manifest.republished) is not None:
            notes.append(f"{source.id} is version {again.version} again")
            older = next((v for v in self.versions if (v.name, v.version.number) == (pushed.name, again.version)), None)
            if older is None:
                break
            source = older
        manifest = source.version.manifest
        found = self._pushed_by(source)
        if found is None:
            run = f"its run {manifest.run}" if manifest.run else "the run that pushed it"
            notes.append(f"{run} is no longer on record, neither in {self.root / 'runs'} nor in ML Metadata")
        elif found.from_metadata:
            notes.append(f"the folder of run {found.run.id} is gone; this is what ML Metadata has")
        if manifest.member_of:
            notes.append(f"it is a member of {manifest.member_of}")
        return Lineage(pushed.id, pushed, found, tuple(notes))

    @cached_property
    def known_runs(self) -> list[Run]:
        """All runs, oldest first."""
        return runs.history(self.root)

    @cached_property
    def names(self) -> list[str]:
        """The names under which versions are pushed."""
        return pushed_versions.names(self.root)

    @cached_property
    def versions(self) -> list[PushedVersion]:
        """All versions, damaged ones too."""
        return pushed_versions.read(self.root)

    @cached_property
    def graphs(self) -> list[RunGraph]:
        """The graphs of all runs that are known: those in ROOT, and those of versions whose run's folder is gone."""
        graphs = [graph.of_run(self.root, run) for run in self.known_runs]
        known = {run.id for run in self.known_runs}
        for pushed in self.versions:
            manifest = pushed.version.manifest
            if manifest.run and manifest.run not in known:
                known.add(manifest.run)
                if (gone := self._gone(pushed)) is not None:
                    graphs.append(gone)
        return sorted(graphs, key=lambda each: each.run.started)

    def versions_of(self, each: RunGraph) -> tuple[PushedVersion, ...]:
        """Return the versions that a run pushed, or found pushed already."""
        run, number = each.run, each.pushed
        return tuple(
            pushed
            for pushed in self.versions
            if pushed.version.manifest.run == run.id or (pushed.name, pushed.version.number) == (run.pipeline, number)
        )

    def _gone(self, pushed: PushedVersion) -> RunGraph | None:
        manifest = pushed.version.manifest
        name = (manifest.member_of or pushed.name) if manifest.member_of in self.names else pushed.name
        return graph.of_metadata(self.root, manifest.run, name, manifest.spans)

    def _version(self, target: str) -> PushedVersion | None:
        """Return the version of NAME/VERSION or VERSION; of NAME, the served one, or else the newest."""
        name, _, number = target.rpartition("/")
        if number.isdigit():
            same = [v for v in self.versions if v.version.number == int(number) and name in ("", v.name)]
            if len(same) > 1:
                raise UsageError(f"{target}: is a version of {', '.join(v.name for v in same)}; write NAME/{number}")
            if same:
                return same[0]
            if name in self.names:
                have = ", ".join(str(v.version.number) for v in self.versions if v.name == name) or "none"
                raise UsageError(f"{target}: {name} has no version {number}; it has {have}")
        own = [version for version in self.versions if version.name == target]
        return next((version for version in own if version.served == "stable"), own[-1] if own else None)

    def _of_run(self, run: Run) -> Lineage:
        found = graph.of_run(self.root, run)
        pushed = self.versions_of(found)
        own = next((version for version in pushed if version.name == run.pipeline), None)
        notes = [f"nothing had changed since run {run.repeats}, so its results were taken"] if run.repeats else []
        if found.pushed and own is None:
            notes.append(f"version {found.pushed} of {run.pipeline} is no longer in {self.root / 'serving'}")
        return Lineage(run.id, own, found, tuple(notes))

    def _pushed_by(self, pushed: PushedVersion) -> RunGraph | None:
        manifest = pushed.version.manifest
        name = manifest.member_of or pushed.name
        by_id = next((run for run in self.known_runs if run.id == manifest.run), None)
        if by_id is not None:
            return graph.of_run(self.root, by_id)
        if manifest.run:
            return self._gone(pushed)
        for run in self.known_runs:  # of a former release
            if run.pipeline == name and any(
                o["properties"].get("pushed_version") == str(pushed.version.number) for o in run.outputs("PushedModel")
            ):
                return graph.of_run(self.root, run)
        return None

    def _inside(self, path: Path) -> Lineage | Uses | None:
        """Return what a path inside of ROOT belongs to; None if it is none of ROOT's own folders, or a data file."""
        real, root = Path(os.path.realpath(path)), Path(os.path.realpath(self.root))
        if not real.is_relative_to(root):
            return None
        parts = real.relative_to(root).parts
        if parts[:1] == ("runs",) and len(parts) > 1:
            return next((self._of_run(run) for run in self.known_runs if run.id == parts[1]), None)
        if parts[:1] == ("serving",) and len(parts) > 1 and (version := self._version("/".join(parts[1:3]))):
            return self.of_version(version)
        if parts[:1] == ("artifacts",):
            return self._of_artifact(real)
        return None

    def _of_artifact(self, path: Path) -> Uses | None:
        uses = []
        for each in self.graphs:
            for artifact in each.artifacts:
                here = Path(os.path.realpath(artifact.path))
                if path == here or here in path.parents:
                    uses.append(Use(each, (), artifact, self.versions_of(each)))
                    break
        return Uses(path, frozenset(), (), tuple(uses)) if uses else None

    def _of_file(self, path: Path) -> Uses:
        """Return the uses of a file, by its content and by its path; a pointer stands for the files that it names."""
        paths, hashes = {str(path)}, set()
        if path.is_file():
            if dvc_pointers.is_pointer(path):
                files = [Path(tracked.path) for tracked in dvc_pointers.read(path)]
            else:
                files = [path]
            hashes = {checksum.of_file(file) for file in files}
            paths |= {str(file) for file in files}

        def is_meant(file: RawFile) -> bool:
            if file.sha256 in hashes:
                return True
            return bool(paths & {file.recorded, str(file.path), file.origin, file.pointer})

        uses = []
        for each in self.graphs:
            meant = tuple(file for file in each.files if is_meant(file))
            if meant:
                uses.append(Use(each, meant, None, self.versions_of(each)))
        return Uses(path, frozenset(hashes), tuple(self._spans(hashes, paths)), tuple(uses))

    def _spans(self, hashes: set[str], paths: set[str]) -> Iterator[tuple[str, int, bool]]:
        for name in sorted(base.name for base in (self.root / "spans").glob("*") if base.is_dir()):
            removed = [(record.path, record.span, False) for record in spans.removed_spans(self.root, name)]
            base = spans.folder(self.root, name)
            landed = [(base / str(span.number), span, True) for span in spans.all_spans(self.root, name)]
            for folder, span, is_used in (*landed, *removed):
                known = span.files or {
                    file.name: {"sha256": checksum.of_file(file)} for file in sorted(folder.glob("*.csv"))
                }
                for file, content in known.items():
                    own = {str(folder / file), content.get("from", ""), content.get("pointer", "")}
                    if content.get("sha256") in hashes or own & paths:
                        yield name, span.number, is_used
                        break

    def _raw_files(self) -> Sequence[RawFile]:
        return [file for each in self.graphs for file in each.files]


def members(lineage: Lineage) -> dict[str, float | None]:
    """Return the weight of each member of the ensemble; None without weights."""
    if lineage.version is not None and lineage.version.version.manifest.members:
        manifest = lineage.version.version.manifest
        return {member: manifest.weights.get(member) for member in manifest.members}
    for artifact in () if lineage.graph is None else lineage.graph.outputs("Model"):
        try:
            spec = json.loads((artifact.path / "ensemble.json").read_text())
            weights = spec.get("combiner", {}).get("weights") or {}
            return {str(member): weights.get(member) for member in spec["members"]}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue
    return {}


def member_of(artifact: Artifact) -> str:
    """Return the member that a trainer's or tuner's output belongs to; '' for another node."""
    match = re.fullmatch(r"(?:Trainer|Tuner|Import)\.(.+?)(?:\[\d+\])?", artifact.node)
    return match[1] if match else ""
