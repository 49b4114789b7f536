"""Lineage as plain data for JSON: steps and artifacts with their edges, raw files, the version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from benison.pipelines.lineage.graph import Artifact, RawFile, RunGraph
from benison.pipelines.lineage.pushed_versions import PushedVersion
from benison.pipelines.lineage.search import Lineage, Uses
from benison.pipelines.lineage.verification import Checked


def of(found: Lineage | Uses, checked: Iterable[Checked] = ()) -> dict[str, Any]:
    """Return what `benison lineage --json` prints.

    Args:
        found: the answer of a `Finder`.
        checked: the files that `--verify` compared.
    """
    document = _lineage(found) if isinstance(found, Lineage) else _uses(found)
    states = [{"path": str(each.path), "state": each.state} for each in checked]
    return {**document, **({"verified": states} if states else {})}


def _lineage(lineage: Lineage) -> dict[str, Any]:
    graph = lineage.graph
    return {
        "target": lineage.target,
        "version": None if lineage.version is None else _version(lineage.version),
        "run": None if graph is None else _run(graph),
        "files": [] if graph is None else [_file(file) for file in graph.files],
        "steps": [] if graph is None else _steps(graph),
        "artifacts": [] if graph is None else [_artifact(artifact) for artifact in graph.artifacts],
        "notes": list(lineage.notes),
    }


def _uses(uses: Uses) -> dict[str, Any]:
    return {
        "target": str(uses.path),
        "sha256": uses.sha256 or None,
        "spans": [{"pipeline": name, "span": number, "in_use": in_use} for name, number, in_use in uses.spans],
        "runs": [
            {
                **_run(use.graph),
                "files": [{**_file(file), "content": uses.content(file)} for file in use.files],
                "artifact": None if use.artifact is None else _artifact(use.artifact),
                "made_from": [] if use.artifact is None else [a.uri for a in use.graph.upstream(use.artifact)],
                "versions": [_version(version) for version in use.versions],
            }
            for use in uses.uses
        ],
    }


def _version(pushed: PushedVersion) -> dict[str, Any]:
    manifest = pushed.version.manifest
    return {
        "id": pushed.id,
        "path": str(pushed.version.path),
        "served": pushed.served or None,
        "created": manifest.created,
        "run": manifest.run or None,
        "members": list(manifest.members),
        "weights": dict(manifest.weights),
        "spans": dict(manifest.span_hashes),
        "hashes": dict(manifest.hashes),
        "code": dict(manifest.made_from.get("code", {})),
    }


def _run(graph: RunGraph) -> dict[str, Any]:
    run = graph.run
    return {
        "id": run.id,
        "pipeline": run.pipeline,
        "outcome": run.outcome,
        "started": run.started,
        "seconds": run.seconds,
        "spans": list(run.window),
        "repeats": run.repeats or None,
        "from_metadata": graph.from_metadata,
    }


def _steps(graph: RunGraph) -> list[dict[str, Any]]:
    def uris(artifacts: Mapping[str, tuple[Artifact, ...]]) -> dict[str, list[str]]:
        return {key: [artifact.uri for artifact in each] for key, each in artifacts.items()}

    return [
        {
            "id": step.id,
            "kind": step.kind,
            "state": step.state,
            "started": step.started,
            "seconds": step.seconds,
            "inputs": uris(step.inputs),
            "outputs": uris(step.outputs),
        }
        for step in graph.steps
    ]


def _artifact(artifact: Artifact) -> dict[str, Any]:
    return {
        "uri": artifact.uri,
        "path": str(artifact.path),
        "exists": artifact.path.exists(),
        "type": artifact.type,
        "step": artifact.node,
        "key": artifact.key,
        "files": [_file(file) for file in artifact.files],
    }


def _file(file: RawFile) -> dict[str, Any]:
    return {
        "path": str(file.path),
        "recorded": file.recorded,
        "sha256": file.sha256 or None,
        "span": file.span,
        **({"pointer": file.pointer, "md5": file.md5} if file.pointer else {}),
        **({"from": file.origin} if file.origin else {}),
    }
