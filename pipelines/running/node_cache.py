"""Reuse an earlier execution only if what it wrote is still there, and what its code read is as it was.

TFX takes a result from the cache if the folders of its outputs exist. A folder whose files were deleted or cut is then
the input of every later run. And the user's code can read files that no cache key knows. So each execution records the
files of its outputs and what the user's code read (`benison.pipelines.code.reads`), and the record is compared before
the execution is reused.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.pipelines.code import reads
from benison.serving.errors import NodeFailed

if TYPE_CHECKING:
    from ml_metadata.proto import metadata_store_pb2 as mlmd
    from tfx.orchestration.metadata import Metadata
    from tfx.types import Artifact

FINGERPRINT = "benison_fingerprint"  # execution property that makes the cache key depend on content
RECORD = "benison_reads_and_writes"  # custom property of an execution: what it wrote and read, as JSON
_END = 64 << 10  # bytes hashed at the start and at the end of a file


@dataclass(frozen=True)
class Taking:
    """The outputs of an earlier run that a node of a partial run takes.

    Attributes:
        uris: URIs of the outputs that it takes if it can; without them, or else, the newest outputs.
        refusal: the error if it can take none; '' if it may run instead.
    """

    uris: Sequence[str] = ()
    refusal: str = ""


@contextlib.contextmanager
def checked(taking: Taking | None = None) -> Iterator[None]:
    """Make TFX's launcher ask this module which execution can be reused; TFX has no other way to replace its rule.

    Args:
        taking: what the node takes from an earlier run; None for a node of a whole run.
    """
    from tfx.orchestration.portable import cache_utils

    original = cache_utils.get_cached_outputs
    cache_utils.get_cached_outputs = functools.partial(_reusable_outputs, taking=taking or Taking())
    try:
        yield
    finally:
        cache_utils.get_cached_outputs = original


def record(
    handle: Metadata,
    execution: mlmd.Execution,
    outputs: Mapping[str, Sequence[Artifact]],
    inputs: Mapping[str, Any],
) -> None:
    """Record what a complete execution wrote and read; an execution without a record is never reused.

    Args:
        handle: the open metadata store.
        execution: the execution; this adds a custom property.
        outputs: its output artifacts, by key.
        inputs: what the user's code read, from `Reads.record`.
    """
    if inputs["unknown"]:
        print(f"the next run does not take this result from the cache: {inputs['unknown']}")
    record = {"outputs": _files_of(outputs), "inputs": inputs}
    execution.custom_properties[RECORD].string_value = json.dumps(record, sort_keys=True)
    handle.store.put_executions([execution])


def changed_artifact(handle: Metadata, artifacts: Mapping[str, Sequence[Artifact]]) -> str:
    """Return which of the artifacts that a Resolver found is not as it was written, and what to do; '' if all are.

    Args:
        handle: the open metadata store.
        artifacts: artifacts of earlier executions, by key.
    """
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    for artifact in _flat(artifacts):
        events = handle.store.get_events_by_artifact_ids([artifact.id])
        writers = {event.execution_id for event in events if event.type == mlmd.Event.OUTPUT}
        for execution in handle.store.get_executions_by_id(sorted(writers)):
            if RECORD not in execution.custom_properties:  # such as that of a Resolver
                continue
            written = json.loads(execution.custom_properties[RECORD].string_value)["outputs"]
            if artifact.uri in written and fingerprint(artifact.uri) != written[artifact.uri]:
                writer = execution.type.rpartition(".")[2]
                return (
                    f"the files of {artifact.uri} are no longer as {writer} wrote them: some were deleted, cut or "
                    f"replaced; restore them, or let {writer} write them again (a new run does this for spans)"
                )
    return ""


def _reusable_outputs(
    metadata_handle: Metadata, cache_context: mlmd.Context, taking: Taking
) -> dict[str, list[Artifact]] | None:
    """Return the outputs of the newest execution that can be reused; the contract is TFX's `get_cached_outputs`.

    Raises:
        NodeFailed: there are none, and the node may not run.
    """
    from ml_metadata.proto import metadata_store_pb2 as mlmd
    from tfx.orchestration.portable.mlmd import execution_lib

    # Executions that were cached themselves have the outputs of a complete one, which is in the same context.
    executions = metadata_handle.store.get_executions_by_context(cache_context.id)
    complete = [execution for execution in executions if execution.last_known_state == mlmd.Execution.COMPLETE]

    @functools.cache
    def outputs_of(number: int) -> dict[str, list[Artifact]]:
        return {
            key: list(values) for key, values in execution_lib.get_output_artifacts(metadata_handle, number).items()
        }

    def is_preferred(execution: mlmd.Execution) -> bool:
        return bool(taking.uris) and any(a.uri in taking.uris for a in _flat(outputs_of(execution.id)))

    why = ""
    for execution in sorted(complete, key=lambda execution: (is_preferred(execution), execution.id), reverse=True):
        if RECORD not in execution.custom_properties:  # its process was killed before it wrote the record
            continue
        outputs = outputs_of(execution.id)
        live = all(artifact.mlmd_artifact.state == mlmd.Artifact.LIVE for artifact in _flat(outputs))
        recorded = json.loads(execution.custom_properties[RECORD].string_value)
        written = recorded["outputs"]
        if not live or "" in written.values() or _files_of(outputs) != written:
            why = why or "files of its outputs were removed or changed"
            continue
        if difference := reads.difference(recorded["inputs"]):
            print(f"execution {execution.id} is not reused: {difference}")
            why = why or difference
            continue
        return outputs
    if taking.refusal:
        raise NodeFailed(f"{taking.refusal} ({why})" if why else taking.refusal)
    return None


def origin(handle: Metadata, outputs: Mapping[str, Sequence[Artifact]]) -> str:
    """Return the id in ML Metadata of the run that wrote the outputs of a cached execution; '' if it is not known.

    Args:
        handle: the open metadata store.
        outputs: the outputs, by key.
    """
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    first = next(iter(_flat(outputs)), None)
    if first is None:
        return ""
    events = handle.store.get_events_by_artifact_ids([first.id])
    # A cached execution has an event for the same artifact; the first one wrote it.
    writer = min((event.execution_id for event in events if event.type == mlmd.Event.OUTPUT), default=None)
    contexts = handle.store.get_contexts_by_execution(writer) if writer is not None else ()
    return next((str(context.name) for context in contexts if context.type == "pipeline_run"), "")


def _files_of(outputs: Mapping[str, Sequence[Artifact]]) -> dict[str, str]:
    return {artifact.uri: fingerprint(artifact.uri) for artifact in _flat(outputs)}


def _flat(outputs: Mapping[str, Sequence[Artifact]]) -> list[Artifact]:
    return [artifact for artifacts in outputs.values() for artifact in artifacts]


def fingerprint(uri: str) -> str:
    """Return a hash of the names, sizes, first and last bytes of the files at a URI; "" if nothing is there.

    An artifact can have gigabytes. The ends of a file and its size show that it was cut, emptied or replaced.
    """
    if "://" in uri:  # of a pipeline that keeps its artifacts in an object store
        from tfx.dsl.io import fileio

        return "remote" if fileio.exists(uri) else ""
    path = Path(uri)
    if not path.exists():
        return ""
    inside = (Path(folder, name) for folder, _, names in os.walk(path, followlinks=True) for name in names)
    digest = hashlib.sha256()
    for file in sorted(inside) if path.is_dir() else [path]:
        try:
            size, ends = _size_and_ends(file)
        except OSError:  # a link to a file that is gone
            return ""
        digest.update(f"{file.relative_to(path).as_posix()}\0{size}\0".encode("utf-8", "surrogateescape"))
        digest.update(ends)
    return digest.hexdigest()


def _size_and_ends(file: Path) -> tuple[int, bytes]:
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        start = stream.read(_END)
        stream.seek(max(len(start), size - _END))
        return size, hashlib.sha256(start + stream.read(_END)).digest()
