"""What ML Metadata says of earlier runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfx.orchestration.metadata import Metadata


def store(root: Path) -> Metadata:
    """The metadata store of a ROOT; its file and tables are made if need be."""
    from tfx.orchestration import metadata

    root.mkdir(parents=True, exist_ok=True)
    return metadata.Metadata(metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite")))


def abandon_unfinished(root: Path, pipeline: str) -> int:
    """Marks executions that a killed run left running as cancelled, and removes what they had half written.

    To be called while the pipeline's lock is held: then every running execution is a dead one.

    Args:
        root: ROOT.
        pipeline: name.

    Returns:
        How many there were.
    """
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    with store(root) as handle:
        context = handle.store.get_context_by_type_and_name("pipeline", pipeline)
        if context is None:
            return 0
        running = [
            execution
            for execution in handle.store.get_executions_by_context(context.id)
            if execution.last_known_state in (mlmd.Execution.NEW, mlmd.Execution.RUNNING)
        ]
        for execution in running:
            execution.last_known_state = mlmd.Execution.CANCELED
        if running:
            handle.store.put_executions(running)
    for execution in running:
        # TFX's layout: artifacts/PIPELINE/NODE/KEY/EXECUTION
        for folder in (root / "artifacts" / pipeline).glob(f"*/*/{execution.id}"):
            shutil.rmtree(folder, ignore_errors=True)
    return len(running)


def latest_artifact(root: Path, pipeline: str, type_name: str, node: str) -> Path | None:
    """The newest finished artifact of a type that a node of a pipeline wrote; None where there is none."""
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    with store(root) as handle:
        context = handle.store.get_context_by_type_and_name("node", f"{pipeline}.{node}")
        if context is None:
            return None
        live = [
            artifact
            for artifact in handle.store.get_artifacts_by_context(context.id)
            if artifact.type == type_name and artifact.state == mlmd.Artifact.LIVE
        ]
    newest = max(live, key=lambda artifact: artifact.id, default=None)
    return Path(newest.uri) if newest else None
