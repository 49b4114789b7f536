"""OpenLineage events of a run: START and COMPLETE or FAIL of the pipeline and of each node.

Names are stable: a job is NAME or NAME.NODE in the namespace `benison`, a raw file is its path in the namespace `file`,
an output is NAME.NODE.KEY, and a pushed version NAME. Each dataset has its number or hash as its version. The id of a
run follows from Benison's own, so events that are sent twice are the same.

The library openlineage-python belongs to the extra `tracking`. OPENLINEAGE_API_KEY is sent as a token if it is set.
"""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from benison.components import raw_examples
from benison.pipelines.config import event_places
from benison.pipelines.lineage.graph import RESOLVER, Artifact, RawFile, RunGraph, Step
from benison.serving import proto_text
from benison.serving.addresses import without_secrets
from benison.serving.errors import BenisonError, UsageError

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

NAMESPACE = "benison"
_PRODUCER = "urn:benison"
_ENDPOINT = "api/v1/lineage"
LIMIT_S = 5.0  # for all events at the end of a run
_ENDED = {"failed": "FAIL", "invalid": "FAIL", "interrupted": "ABORT", "unknown": "OTHER"}


class NotSent(BenisonError):
    """Events could not be sent; the message says where to and why."""


def send(graph: RunGraph, place: str, limit: float = LIMIT_S) -> int:
    """Send the events of a run.

    Args:
        graph: the run.
        place: `http(s)://HOST[:PORT][/PATH]`, where the default path is that of Marquez; or a file, which gets one
            event per line more.
        limit: the longest time for all events, in seconds.

    Returns:
        The number of events.

    Raises:
        NotSent: the endpoint does not take all of them within the limit, or the file cannot be written.
        UsageError: the place is neither, or openlineage-python is not installed.
    """
    if fault := event_places.fault(place):
        raise UsageError(f"OpenLineage events: {fault}")
    try:
        from openlineage.client.serde import Serde
    except ImportError:
        raise UsageError(
            "OpenLineage events need openlineage-python: install benison[tracking], or `pip install openlineage-python`"
        ) from None
    sent = list(events(graph))
    if event_places.is_address(place):
        _post(sent, place, limit)
        return len(sent)
    try:
        file = Path(place)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as stream:
            stream.write("".join(f"{Serde.to_json(event)}\n" for event in sent))
    except OSError as error:
        raise NotSent(f"{place}: OpenLineage events cannot be written: {error.strerror}") from None
    return len(sent)


def events(graph: RunGraph) -> Iterator[RunEvent]:
    """Yield the events of a run in the order in which they happened."""
    from openlineage.client.event_v2 import RunState

    run, emitted = graph.run, _Events(graph)
    ended = run.started + (run.seconds or 0.0)
    yield emitted.event(None, RunState.START, run.started)
    moments = []
    for step in graph.steps:
        if step.started is None and step.seconds is None and not step.outputs:  # it did not run
            continue
        started = step.started if step.started is not None else run.started
        moments.append((started, RunState.START, step))
        state = RunState(_ENDED.get(step.state, "COMPLETE"))
        moments.append((started + (step.seconds or 0.0), state, step))
    for when, state, step in sorted(moments, key=lambda moment: moment[0]):
        yield emitted.event(step, state, when)
    yield emitted.event(None, RunState(_ENDED.get(run.outcome, "COMPLETE")), ended)


class _Events:
    """Makes the events of one run."""

    def __init__(self, graph: RunGraph) -> None:
        self._graph = graph
        self._columns = _columns(graph)

    def event(self, step: Step | None, state: Any, when: float) -> RunEvent:
        """Return an event of a node, or of the whole pipeline."""
        from openlineage.client import event_v2
        from openlineage.client.facet_v2 import error_message_run, job_type_job, parent_run

        run, pipeline = self._graph.run, self._graph.run.pipeline
        facets: dict[str, Any] = {}
        if step is None:
            name, kind, failed = pipeline, "PIPELINE", [f"{n.id}: {n.reason}" for n in run.failed_nodes]
            inputs: Sequence[Any] = [self._file(file) for file in self._graph.files]
            outputs = [self._output(a) for a in self._graph.outputs("PushedModel") if _is_pushed(a)]
        else:
            name, kind, failed = f"{pipeline}.{step.id}", "NODE", [step.reason] if step.reason else []
            facets["parent"] = parent_run.ParentRunFacet(
                parent_run.Run(_id(run.id)), parent_run.Job(NAMESPACE, pipeline), producer=_PRODUCER
            )
            artifacts = [a for each in step.inputs.values() for a in each]
            made = [a for each in step.outputs.values() for a in each] if step.kind != RESOLVER else []
            files = [file for artifact in made for file in artifact.files]
            inputs = [*(self._file(file) for file in files), *(self._input(a) for a in artifacts)]
            outputs = [self._output(a) for a in made if a.type != "PushedModel" or _is_pushed(a)]
        if state.value == "FAIL":
            message = "; ".join(failed) or "failed"
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(message, "Python", producer=_PRODUCER)
        job = job_type_job.JobTypeJobFacet("BATCH", "BENISON", kind, producer=_PRODUCER)
        has_data = state.value != "START"
        return event_v2.RunEvent(
            eventTime=datetime.fromtimestamp(when, timezone.utc).isoformat(),
            producer=_PRODUCER,
            run=event_v2.Run(_id(run.id if step is None else f"{run.id}/{step.id}"), facets),
            job=event_v2.Job(NAMESPACE, name, {"jobType": job}),
            eventType=state,
            inputs=_distinct(inputs) if has_data or step is None else [],
            outputs=_distinct(outputs) if has_data else [],
        )

    def _file(self, file: RawFile) -> Any:
        from openlineage.client.event_v2 import InputDataset

        return InputDataset(
            "file", file.recorded, facets=self._facets(file.sha256, f"file://{quote(file.recorded)}", schema=True)
        )

    def _input(self, artifact: Artifact) -> Any:
        from openlineage.client.event_v2 import InputDataset

        return InputDataset(NAMESPACE, self._name(artifact), facets=self._of(artifact))

    def _output(self, artifact: Artifact) -> Any:
        from openlineage.client.event_v2 import OutputDataset

        return OutputDataset(NAMESPACE, self._name(artifact), facets=self._of(artifact))

    def _of(self, artifact: Artifact) -> dict[str, Any]:
        version = str(artifact.properties.get("pushed_version") or Path(artifact.uri).name)
        path = str(artifact.properties.get("pushed_destination") or artifact.uri)
        return self._facets(
            version, f"file://{quote(path)}", schema=artifact.type == "Examples" and bool(artifact.files)
        )

    def _name(self, artifact: Artifact) -> str:
        pipeline = self._graph.run.pipeline
        if artifact.type == "PushedModel":
            return pipeline
        return f"{pipeline}.{artifact.node}.{artifact.key}" if artifact.node else f"{pipeline}.{artifact.key}"

    def _facets(self, version: str, uri: str, *, schema: bool) -> dict[str, Any]:
        from openlineage.client.facet_v2 import dataset_version_dataset, datasource_dataset, schema_dataset

        facets: dict[str, Any] = {
            "dataSource": datasource_dataset.DatasourceDatasetFacet(NAMESPACE, uri, producer=_PRODUCER)
        }
        if version:
            facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(version, producer=_PRODUCER)
        if schema and self._columns:
            fields = [schema_dataset.SchemaDatasetFacetFields(name, kind) for name, kind in self._columns]
            facets["schema"] = schema_dataset.SchemaDatasetFacet(fields, producer=_PRODUCER)
        return facets


def _post(sent: Sequence[RunEvent], address: str, limit: float) -> None:
    """Send events in another thread, because a time-out of a socket begins again with each byte that arrives.

    The library's own transport follows redirects, which turn a POST into a GET.
    """
    import requests
    from openlineage.client.serde import Serde

    parts = urlsplit(address)
    url = f"{parts.scheme}://{parts.netloc}/{parts.path.strip('/') or _ENDPOINT}"
    taken: list[RunEvent] = []
    faults: list[str] = []
    given_up = threading.Event()

    def work() -> None:
        try:
            with requests.Session() as session:
                session.auth = _authorize  # a ~/.netrc does not count
                for event in sent:
                    if given_up.is_set():
                        return
                    with session.post(
                        url,
                        Serde.to_json(event).encode(),
                        headers={"Content-Type": "application/json"},
                        timeout=limit,
                        allow_redirects=False,
                        stream=True,  # the body of an answer does not count
                    ) as answer:
                        if not 200 <= answer.status_code < 300:
                            redirect = ", a redirect, which is not followed" if answer.is_redirect else ""
                            faults.append(f"it answered {answer.status_code} {answer.reason}{redirect}")
                            return
                    taken.append(event)
        except Exception as error:  # of requests, of urllib3, or of the library itself
            faults.append(_reason(error))

    sending = threading.Thread(target=work, daemon=True)
    sending.start()
    sending.join(limit)
    given_up.set()
    where, of_all = without_secrets(address), f"{len(taken)} of {len(sent)} events sent"
    if faults:
        raise NotSent(f"{where}: the endpoint does not take OpenLineage events: {faults[0]} ({of_all})")
    if len(taken) < len(sent):
        raise NotSent(f"{where}: the endpoint is too slow for OpenLineage events: {of_all} within {limit:.0f} s")


def _authorize(request: Any) -> Any:
    if key := os.environ.get("OPENLINEAGE_API_KEY"):
        request.headers["Authorization"] = f"Bearer {key}"
    return request


def _reason(error: BaseException) -> str:
    """Return the innermost reason, in one line: those around it repeat it with addresses of objects."""
    while (inner := getattr(error, "reason", None) or error.__cause__ or error.__context__) and isinstance(
        inner, BaseException
    ):
        error = inner
    return (str(error).splitlines() or [type(error).__name__])[0].rpartition(">: ")[2]


def _id(name: str) -> str:
    """Return the UUID of a run; OpenLineage requires one."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"benison:{name}"))


def _is_pushed(artifact: Artifact) -> bool:
    return bool(artifact.properties.get("pushed_version"))


def _distinct(datasets: Sequence[Any]) -> list[Any]:
    return list({(dataset.namespace, dataset.name): dataset for dataset in datasets}.values())


def _columns(graph: RunGraph) -> list[tuple[str, str]]:
    """Return the columns with their types, from the schema of the run; none if its schema is gone."""
    from tensorflow_metadata.proto.v0 import schema_pb2

    for artifact in graph.outputs("Schema"):
        try:
            schema = proto_text.read(str(artifact.path / "schema.pbtxt"), schema_pb2.Schema())
        except (OSError, ValueError, BenisonError):
            continue
        left_out = raw_examples.unread_columns(schema)
        return [(f.name, schema_pb2.FeatureType.Name(f.type)) for f in schema.feature if f.name not in left_out]
    return []
