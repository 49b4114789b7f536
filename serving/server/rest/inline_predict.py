"""Predict requests that are answered without leaving the event loop: no task, no future, no thread for each.

What is out of the ordinary in any way is left to the plain path, which then also finds the words for what is wrong.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from benison.serving.server.batching.jobs import Job
from benison.serving.server.batching.runner import Runner
from benison.serving.server.batching.tasks import BatchTask, JsonRowsTask, PackedRowsTask
from benison.serving.server.codec import json_tensors, json_values
from benison.serving.server.http import Request, Response
from benison.serving.server.inference import Call
from benison.serving.server.lifecycle import ManagedVersion
from benison.serving.server.rest.api import error_response, target
from benison.serving.server.service import Service
from benison.serving.server.status import Code, RequestError

_LARGEST = 64 << 10  # bytes of a body; reading more takes longer than the loop should be held up
_DEFAULT = "serving_default"
Reply = Callable[[Response], None]


class InlinePredict:
    """Takes the requests whose version and signature run on the loop."""

    def __init__(self, service: Service, timeout_ms: int, headers: tuple[tuple[str, str], ...]) -> None:
        """As the flags say.

        Args:
            service: the models.
            timeout_ms: for one request (milliseconds); 0 for any.
            headers: of every answer.
        """
        self.service = service
        self.headers = headers
        self._seconds = timeout_ms / 1000 if timeout_ms > 0 else float("inf")

    def begin(self, request: Request, reply: Reply) -> Job | asyncio.Handle | None:
        """Takes a request, if it is one that can be answered here; or that is refused before it is read.

        Args:
            request: any.
            reply: called later with the response, never before this returns.

        Returns:
            What waits, to be cancelled if the client goes; None: the request was not taken.
        """
        if request.method != "POST":
            return None
        try:
            place = target("POST", request.path)
            if place.verb != "predict":
                return None
            version = self.service.models.take(place.model, place.version, place.label)
        except RequestError:  # the plain path says it
            return None
        job = None
        try:
            if version.runner is None:
                return None
            if full := _full(version.runner):  # whatever the request says
                self.service.metrics.count(place.model, full.code.name)
                return asyncio.get_running_loop().call_soon(reply, error_response(full, self.headers))
            if len(request.body) > _LARGEST:
                return None
            work = _work(version, json_values.parse(request.body))
            if work and version.runner.runs_inline(work):
                job = _Predict(self, version, work, reply, time.monotonic() + self._seconds)
                version.runner.enqueue(job)
        except RequestError as error:
            if job is None:
                return None
            asyncio.get_running_loop().call_soon(job.settle, error)
        finally:
            if job is None:
                self.service.models.give_back(version)
        return job


def _full(runner: Runner) -> RequestError | None:
    """Why a request is refused: too many others wait."""
    try:
        runner.check_room()
    except RequestError as error:
        return error
    return None


class _Predict(Job):
    """One request, from its arrival to its answer; it holds its version until then."""

    __slots__ = ("_quick", "_reply", "_version")

    def __init__(
        self, quick: InlinePredict, version: ManagedVersion, work: BatchTask, reply: Reply, deadline: float
    ) -> None:
        super().__init__(work, deadline)
        self._quick = quick
        self._version = version
        self._reply = reply

    def cancel(self) -> None:
        """See Job."""
        if not self.cancelled:
            super().cancel()
            self._end(Code.CANCELLED)

    def settle(self, answer: Any) -> None:
        """See Job."""
        if self.cancelled:
            return
        self.cancelled = True
        if isinstance(answer, RequestError):
            self._end(answer.code)
            self._reply(error_response(answer, self._quick.headers))
        else:
            self._end(Code.OK)
            self._reply(Response(200, answer, headers=self._quick.headers))

    def _end(self, code: Code) -> None:
        service, model = self._quick.service, self._version.model
        service.models.give_back(self._version)
        service.metrics.count(model, code.name)
        if code is Code.OK:
            service.metrics.latency(model, "predict", "REST", time.monotonic() - self.arrived)


def _work(version: ManagedVersion, document: dict[str, Any]) -> BatchTask | None:
    """What to run; None if the plain path must look at it."""
    path = version.paths.get(json_values.signature_name(document) or _DEFAULT)
    instances = document.get("instances")
    if path is None or not path.inline_policy.inline:
        return None
    if type(instances) is not list or not instances or "inputs" in document:
        return None
    if path.packed:
        parts = path.packed.read(instances)
        return None if parts is None else PackedRowsTask(path.packed, parts, len(instances))
    signature, engine = path.signature, version.engine
    if engine is None:
        return None
    inputs, _ = json_tensors.inputs(document, signature.inputs)
    return JsonRowsTask(engine, Call(signature, inputs, tuple(signature.outputs)))
