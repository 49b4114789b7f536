"""Lineage as a tree in the terminal: from raw files to the version, or from a file to the versions."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.text import Text
from rich.tree import Tree

from benison.pipelines.lineage import search, verification
from benison.pipelines.lineage.graph import Artifact, RawFile, RunGraph
from benison.pipelines.lineage.pushed_versions import PushedVersion
from benison.pipelines.lineage.search import Lineage, Use, Uses
from benison.pipelines.lineage.verification import Checked
from benison.serving.visible_text import visible_line

_STAGES = (
    ("statistics", ("ExampleStatistics",)),
    ("schema", ("Schema",)),
    ("transform", ("TransformGraph",)),
    ("tuning", ("HyperParameters",)),
)
_OTHERS = (
    "Examples",
    "ExampleStatistics",
    "Schema",
    "TransformGraph",
    "HyperParameters",
    "TunerResults",
    "Model",
    "ModelRun",
    "PushedModel",
)
_COLORS = {verification.EQUAL: "green", **dict.fromkeys(verification.WRONG, "bold red")}
_HASH = 12  # shown digits


def of(found: Lineage | Uses, root: Path, checked: Iterable[Checked] = ()) -> Tree:
    """Return the tree.

    Args:
        found: the answer of a `Finder`.
        root: ROOT; paths in it are shown relative to it.
        checked: the files that `--verify` compared.
    """
    states = {each.path: each.state for each in checked}
    drawing = _Drawing(root, states)
    return drawing.lineage(found) if isinstance(found, Lineage) else drawing.uses(found)


class _Drawing:
    def __init__(self, root: Path, states: Mapping[Path, str]) -> None:
        self._root = root
        self._states = states

    def lineage(self, lineage: Lineage) -> Tree:
        tree = Tree(_line(("bold", lineage.target), *([_served(lineage.version)] if lineage.version else [])))
        for note in lineage.notes:
            tree.add(_line(("yellow", f"note: {note}")))
        graph = lineage.graph
        if graph is not None:
            tree.add(_line("run ", ("bold", graph.run.id), f": {_when(graph)}"))
            self._files(tree, graph)
            for title, types in _STAGES:
                self._artifacts(tree, title, graph, graph.outputs(*types))
            self._ensemble(tree, lineage, graph)
            others = [artifact for artifact in graph.artifacts if artifact.type not in _OTHERS]
            self._artifacts(tree, "checks and verdicts", graph, others)
        if lineage.version is not None:
            self._version(tree, lineage.version, shown_spans=graph is None)
        return tree

    def uses(self, uses: Uses) -> Tree:
        digest = f"  sha256 {uses.sha256[:_HASH]}" if uses.sha256 else ""
        tree = Tree(_line(("bold", str(uses.path)), digest))
        if uses.spans:
            branch = tree.add("spans")
            for name, number, in_use in uses.spans:
                branch.add(_line(f"span {number} of {name}", "" if in_use else " (removed or replaced)"))
        runs = tree.add("runs" if uses.uses else "no run of this ROOT has read it")
        for use in uses.uses:
            branch = runs.add(_line(("bold", use.graph.run.id), f": {_when(use.graph)}"))
            for file in use.files:
                content = uses.content(file)
                if content == verification.CHANGED:
                    branch.add(_line(("yellow", f"read it with another content, sha256 {file.sha256[:_HASH]}")))
                elif content == verification.UNKNOWN:
                    why = "an earlier release recorded no hash of this file, so the content that it read is unknown"
                    branch.add(_line(("yellow", why), "  ", self._state(file.path)))
            self._made(branch, use)
            for pushed in use.versions:
                branch.add(_line("version ", ("bold", pushed.id), _served(pushed)))
        return tree

    def _made(self, branch: Tree, use: Use) -> None:
        if use.artifact is None:
            return
        made = branch.add(_line(f"{use.artifact.node}: {use.artifact.key} ({use.artifact.type})"))
        upstream = use.graph.upstream(use.artifact)
        for artifact in upstream:
            made.add(self._artifact(artifact))
        for file in {file.recorded: file for a in (*upstream, use.artifact) for file in a.files}.values():
            made.add(self._file(file))

    def _files(self, tree: Tree, graph: RunGraph) -> None:
        spans: dict[int | None, list[RawFile]] = {}
        for file in graph.files:
            spans.setdefault(file.span, []).append(file)
        if not spans:
            return
        branch = tree.add("raw files")
        for span, files in sorted(spans.items(), key=lambda item: item[0] or 0):
            place = branch if span is None else branch.add(f"span {span}")
            for file in files:
                place.add(self._file(file))

    def _artifacts(self, tree: Tree, title: str, graph: RunGraph, artifacts: Iterable[Artifact]) -> None:
        artifacts = list(artifacts)
        if not artifacts:
            return
        branch = tree.add(title)
        for artifact in artifacts:
            branch.add(self._artifact(artifact, graph))

    def _ensemble(self, tree: Tree, lineage: Lineage, graph: RunGraph) -> None:
        weights = search.members(lineage)
        trained = {search.member_of(a): a for a in graph.outputs("Model") if search.member_of(a)}
        if trained:
            branch = tree.add("members")
            for member, artifact in trained.items():
                weight = weights.get(member)
                share = "" if weight is None else f", weight {weight:.3g}"
                left_out = ", left out of the ensemble" if weights and member not in weights else ""
                branch.add(_line(f"{member}{share}{left_out}: ", self._artifact(artifact, graph)))
        ensembles = [a for a in graph.outputs("Model") if not search.member_of(a)]
        self._artifacts(tree, "ensemble" if trained else "models", graph, ensembles)

    def _version(self, tree: Tree, pushed: PushedVersion, *, shown_spans: bool) -> None:
        manifest = pushed.version.manifest
        branch = tree.add(_line("version ", ("bold", pushed.id), f": {self._short(pushed.version.path)}"))
        code = manifest.hashes.get("code")
        hashes = {"schema": manifest.hashes.get("schema"), "code": code, "config": manifest.hashes.get("config")}
        if any(hashes.values()):
            branch.add(_line(", ".join(f"{key} {value[:_HASH]}" for key, value in hashes.items() if value)))
        if shown_spans and manifest.span_hashes:
            spans = branch.add("spans, as the manifest has them")
            for number, sha256 in sorted(manifest.span_hashes.items(), key=lambda item: int(item[0])):
                spans.add(f"span {number}  sha256 {sha256[:_HASH]}")
        states = [state for path, state in self._states.items() if path.is_relative_to(pushed.version.path)]
        if states:
            wrong = [
                path for path, s in self._states.items() if path.is_relative_to(pushed.version.path) and s != "equal"
            ]
            recorded = len(states) - states.count(verification.ADDED)
            branch.add(_line(f"{states.count(verification.EQUAL)} of {recorded} files are equal"))
            for path in wrong:
                branch.add(_line(f"{self._short(path)}  ", self._state(path)))

    def _artifact(self, artifact: Artifact, graph: RunGraph | None = None) -> Text:
        sources = [] if graph is None else list(dict.fromkeys(a.node for a in graph.inputs_of(artifact) if a.node))
        made = f" from {', '.join(sources)}" if sources else ""
        gone = "" if artifact.path.exists() else " (removed)"
        return _line(f"{self._short(artifact.path)}", ("yellow", gone), ("dim", made))

    def _file(self, file: RawFile) -> Text:
        digest = f"  sha256 {file.sha256[:_HASH]}" if file.sha256 else ""
        pointer = f"  md5 {file.md5[:_HASH]} by {self._short(Path(file.pointer))}" if file.pointer else ""
        origin = f"  from {file.origin}" if file.origin else ""
        return _line(f"{self._short(file.path)}{digest}{pointer}", ("dim", origin), "  ", self._state(file.path))

    def _state(self, path: Path) -> tuple[str, str]:
        state = self._states.get(path)
        if state is None:
            return "bold red", "" if path.exists() or self._states else "missing"
        return _COLORS.get(state, "yellow"), state

    def _short(self, path: Path) -> str:
        return os.path.relpath(path, self._root) if path.is_relative_to(self._root) else str(path)


def _line(*parts: str | Text | tuple[str, str]) -> Text:
    """Join data and styled data to one line without markup."""
    text = Text()
    for part in parts:
        if isinstance(part, Text):
            text.append_text(part)
        elif isinstance(part, tuple):
            text.append(visible_line(part[1]), style=part[0])
        else:
            text.append(visible_line(part))
    return text


def _served(pushed: PushedVersion) -> str:
    return f" ({pushed.served}, served)" if pushed.served else " (not served)"


def _when(graph: RunGraph) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(graph.run.started))
    return f"{graph.run.outcome.replace('_', ' ')}, {when}"
