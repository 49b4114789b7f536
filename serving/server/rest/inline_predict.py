"""Predict requests that are answered on the event loop, without a task, future or thread per request.

Requests with unusual content are left to the plain path, which also writes the error messages.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from benison.serving import missing_values
from benison.serving.server.batching.jobs import Job
from benison.serving.server.batching.runner import Runner
from benison.serving.server.batching.tasks import BatchTask, JsonRowsTask, PackedRowsTask
from benison.serving.server.codec import column_names, json_values
from benison.serving.server.engine import DEFAULT_SIGNATURE
from benison.serving.server.http import Request, Response
from benison.serving.server.inference import Call
from benison.serving.server.managed_version import ManagedVersion
from benison.serving.server.rest.api import MAX_BODY_HERE, error_response, parse_target
from benison.serving.server.service import Service
from benison.serving.server.status import Code, RequestError, forget_frames

Reply = Callable[[Response], None]


class InlinePredict:
    """The inline path: predict requests whose version and signature run on the loop."""

    def __init__(self, service: Service, timeout_ms: int, headers: tuple[tuple[str, str], ...]) -> None:
        """Create the path.

        Args:
            service: the models.
            timeout_ms: time limit of a request (milliseconds); 0: no limit.
            headers: headers of every response.
        """
        self.service = service
        self.headers = headers
        self._seconds = timeout_ms / 1000 if timeout_ms > 0 else float("inf")

    def begin(self, request: Request, reply: Reply) -> Job | asyncio.Handle | None:
        """Take a request if it can be answered on the loop, or refuse it if the queue is full.

        Args:
            request: a request of any kind.
            reply: called with the response, always after this method has returned.

        Returns:
            A handle that cancels the work if the client disconnects, or None if the request was not taken.
        """
        if request.method != "POST":
            return None
        try:
            target = parse_target("POST", request.path)
            if target.verb != "predict":
                return None
            version = self.service.models.acquire(target.model, target.version, target.label)
        except RequestError:  # the plain path sends the error
            return None
        job = None
        try:
            if version.runner is None:
                return None
            if error := _capacity_error(version.runner):  # checked first: a full queue refuses every request
                self.service.metrics.count(target.model, error.code.name)
                return asyncio.get_running_loop().call_soon(reply, error_response(error, self.headers))
            if len(request.body) > MAX_BODY_HERE or request.gzipped:
                return None
            task = _task(version, json_values.parse(request.body))
            if task and version.runner.runs_inline(task):
                job = _Predict(self, version, task, reply, time.monotonic() + self._seconds)
                version.runner.enqueue(job)
        except RequestError as refusal:
            forget_frames(refusal)
            if job is None:
                return None
            asyncio.get_running_loop().call_soon(job.settle, refusal)
        finally:
            if job is None:
                self.service.models.release(version)
        return job


def _capacity_error(runner: Runner) -> RequestError | None:
    """Return the error if too many requests wait already."""
    try:
        runner.check_capacity()
    except RequestError as error:
        return error
    return None


class _Predict(Job):
    """One request, from its arrival to its response; it holds its version until then."""

    __slots__ = ("_inline", "_reply", "_version")

    def __init__(
        self, inline: InlinePredict, version: ManagedVersion, task: BatchTask, reply: Reply, deadline: float
    ) -> None:
        super().__init__(task, deadline)
        self._inline = inline
        self._version = version
        self._reply = reply

    def cancel(self) -> None:
        """Release the version; see Job."""
        if not self.cancelled:
            super().cancel()
            self._end(Code.CANCELLED)

    def settle(self, answer: Any) -> None:
        """Send the response; see Job."""
        if self.cancelled:
            return
        self.cancelled = True
        if isinstance(answer, RequestError):
            self._end(answer.code)
            self._reply(error_response(answer, self._inline.headers))
        else:
            self._end(Code.OK)
            self._reply(Response(200, answer, headers=self._version.headers + self._inline.headers))

    def _end(self, code: Code) -> None:
        service, model = self._inline.service, self._version.model
        service.models.release(self._version)
        service.metrics.count(model, code.name)
        if code is Code.OK:
            service.metrics.latency(model, "predict", "REST", time.monotonic() - self.arrived)


def _task(version: ManagedVersion, document: dict[str, Any]) -> BatchTask | None:
    """Return the task of a request, or None if the request must take the plain path."""
    route = version.routes.get(json_values.signature_name(document) or DEFAULT_SIGNATURE)
    instances = document.get("instances")
    if route is None or not route.inline_policy.inline:
        return None
    if type(instances) is not list or not instances or "inputs" in document:
        return None
    if route.packed:
        packed_rows = route.packed.read(instances)
        if packed_rows is None and (route.signature.missing or route.signature.columns):
            rows = column_names.rows_by_input(instances, route.signature)
            packed_rows = route.packed.read(missing_values.fill_rows(rows, route.signature.missing))
        return None if packed_rows is None else PackedRowsTask(route.packed, packed_rows, len(instances))
    signature, engine = route.signature, version.engine
    if engine is None:
        return None
    inputs, _ = column_names.read_inputs(document, signature)
    return JsonRowsTask(engine, Call(signature, inputs, tuple(signature.outputs)))
