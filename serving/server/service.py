"""The part of the request path that REST and gRPC share: deadlines, metrics, and the permission to reload."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from benison.serving.server.batching.tasks import BatchTask
from benison.serving.server.engine import Tensors
from benison.serving.server.lifecycle import Models
from benison.serving.server.managed_version import ManagedVersion, State
from benison.serving.server.metrics import Metrics
from benison.serving.server.status import Code, RequestError, from_exception

_log = logging.getLogger(__name__)
_LARGE = 256 << 10  # bytes; converting more than this on the event loop would delay other requests
_ABSOLUTE_PATH = re.compile(r"(?<![\w./…])(?:/[^/\s:;,'\"]+){2,}/?")  # in a message
_T = TypeVar("_T")


@dataclass(frozen=True)
class Service:
    """The models, and the settings that both protocols need.

    Attributes:
        models: the models and their versions.
        metrics: the metrics of requests.
        check_methods: --enable_signature_method_name_check.
        as_tensor_content: --enable_serialization_as_tensor_content.
        admin_token: the token that a request to reload the config must contain.
        open_reload: whether every client may reload if there is no token.
        show_paths: whether the status shows the folders of models: only clients on this machine can read it.
    """

    models: Models
    metrics: Metrics = field(default_factory=Metrics)
    check_methods: bool = False
    as_tensor_content: bool = False
    admin_token: str = ""
    open_reload: bool = False
    show_paths: bool = False

    async def run(self, version: ManagedVersion, task: BatchTask, seconds: float | None) -> Tensors:
        """Run a task and return its outputs.

        Args:
            version: a version that the caller has leased.
            task: a task of this version whose answer is its outputs.
            seconds: the remaining time (seconds); None for no limit.

        Raises:
            RequestError: The run failed, the queue is full, or the time is over.
        """
        if version.runner is None:
            raise RequestError(Code.UNAVAILABLE, f"model {version.model} version {version.number} is not loaded")
        if seconds is None:
            return await version.runner.submit_task(task)
        if seconds <= 0:
            raise RequestError(Code.DEADLINE_EXCEEDED, "Timed out before the request started")
        future = version.runner.submit_task(task, time.monotonic() + seconds)
        timer = asyncio.get_running_loop().call_later(seconds, _expire, future)
        try:
            return await future
        finally:
            timer.cancel()

    @contextmanager
    def counted(self, model: str, api: str, entrypoint: str) -> Iterator[None]:
        """Count one request by its result, and convert every error to a RequestError."""
        start = time.monotonic()
        code = Code.OK
        try:
            yield
        except asyncio.CancelledError:
            code = Code.CANCELLED
            raise
        except Exception as error:
            request_error = from_exception(error)
            code = request_error.code
            if code is Code.INTERNAL and request_error is not error:
                _log.error("%s of model %s failed", api, model, exc_info=error)
            if request_error is error:
                raise
            raise request_error from error
        finally:
            metric_model = model if model in self.models.versions else ""  # clients must not add metrics
            self.metrics.count(metric_model, code.name)
            if code is Code.OK:
                self.metrics.latency(metric_model, api, entrypoint, time.monotonic() - start)

    def check_reload(self, peer: str, authorization: str) -> None:
        """Check that a client may reload the config, and so run the code of any model that the server can read.

        Args:
            peer: gRPC's text for the client; the permissions of a Unix socket have decided about those that use it.
            authorization: the value of the request's authorization header: `Bearer TOKEN`.

        Raises:
            RequestError: PERMISSION_DENIED.
        """
        if peer.startswith("unix:") or (not self.admin_token and self.open_reload):
            return
        expected = f"Bearer {self.admin_token}".encode()
        if not self.admin_token or not hmac.compare_digest(authorization.encode(), expected):
            raise RequestError(
                Code.PERMISSION_DENIED,
                "HandleReloadConfigRequest wants 'authorization: Bearer TOKEN' with the server's BENISON_ADMIN_TOKEN, "
                "or its Unix socket (--grpc_socket_path)"
                + ("" if self.admin_token else "; this server was started without a token"),
            )

    def describe(self) -> dict[str, Any]:
        """Return the content of /benison/status: for each version, what TF Serving's own status has no field for."""
        return {
            "models": {
                name: {
                    **({"base_path": self._base_path(name)} if self.show_paths else {}),
                    "labels": self.models.labels.get(name, {}),
                    "versions": {str(v.number): _version(v, self.show_paths) for v in versions.values()},
                }
                for name, versions in self.models.versions.items()
            }
        }

    def _base_path(self, model: str) -> str | None:
        known = self.models.config.models.get(model)
        return known.base_path if known else None


async def offload_if_large(size: int, function: Callable[..., _T], *arguments: Any) -> _T:
    """Call a function, in a thread if it has much to convert.

    Args:
        size: the size of the data that it converts (bytes).
        function: a pure function.
        arguments: its arguments.
    """
    return function(*arguments) if size < _LARGE else await asyncio.to_thread(function, *arguments)


def _without_paths(message: str, folder: str) -> str:
    """Return a message with only the last part of each absolute path; those in the version's folder may have blanks."""
    message = message.replace(folder, f"…/{os.path.basename(folder)}")
    return _ABSOLUTE_PATH.sub(lambda path: f"…/{os.path.basename(path.group().rstrip('/'))}", message)


def _expire(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_exception(RequestError(Code.DEADLINE_EXCEEDED, "Timed out"))


def _version(version: ManagedVersion, show_paths: bool) -> dict[str, Any]:
    description: dict[str, Any] = {"state": version.state.name, "since": version.since}
    if show_paths:
        description["path"] = version.path
    if version.error:
        message = version.error.message if show_paths else _without_paths(version.error.message, version.path)
        description |= {"error": message, "tries": version.tries}
    if version.state is State.AVAILABLE and version.engine and version.runner:
        description |= {
            "engine": version.engine.kind,
            "signatures": list(version.engine.signatures),
            "waiting": version.runner.waiting,
            "running": version.runner.runs_in_progress(),
            "requests": version.runner.counts.requests,
            "runs": version.runner.counts.runs,
            "shared_runs": version.runner.counts.shared,
            "hung_runs": version.runner.count_hung(),
            "sharing": version.runner.sharing.describe(),
            "paths": {name: route.describe() for name, route in version.routes.items()},
        }
    return description
