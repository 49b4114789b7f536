"""A server has taken a config only if it says so, and an error of a promotion names each reason once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2, model_service_pb2_grpc

from benison.serving.errors import VersionError
from benison.serving.promotion import promote as promotion
from benison.serving.promotion import reload
from benison.serving.promotion.access import Access
from benison.serving.promotion.reload import Failure
from benison.serving.promotion.rollout import ChangeRequest
from benison.serving.versions import local
from benison.serving.versions.manifest import Manifest

SILENT = None
LOST = (grpc.StatusCode.UNAVAILABLE, "stopped in between")


class FakeServer(model_service_pb2_grpc.ModelServiceServicer):
    """A server whose version 1 was available before, and which answers each reload as a test says.

    Attributes:
        answers: Code and text for each reload in turn; SILENT for none. The last one repeats.
        reloads: How many came.
    """

    def __init__(self) -> None:
        self.answers: list[tuple[grpc.StatusCode, str] | None] = [SILENT]
        self.reloads = 0
        self.over = threading.Event()
        self.address = ""

    def GetModelStatus(self, request: Any, context: Any) -> Any:
        """Answer that version 1 is available."""
        response = get_model_status_pb2.GetModelStatusResponse()
        response.model_version_status.add(version=1, state=get_model_status_pb2.ModelVersionStatus.AVAILABLE)
        return response

    def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:
        """Answer in turn."""
        answer = self.answers[min(self.reloads, len(self.answers) - 1)]
        self.reloads += 1
        if answer is SILENT:
            self.over.wait(60)
        elif answer[0] is not grpc.StatusCode.OK:
            context.abort(*answer)
        return model_management_pb2.ReloadConfigResponse()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    monkeypatch.setattr(reload, "ASK_AGAIN_S", 0.05)
    fake = FakeServer()
    listening = grpc.server(ThreadPoolExecutor(8))
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(fake, listening)
    fake.address = f"127.0.0.1:{listening.add_insecure_port('127.0.0.1:0')}"
    listening.start()
    yield fake
    fake.over.set()
    listening.stop(None).wait()


def failure(server: FakeServer, timeout_s: float = 30) -> Failure | None:
    expected = {"m": frozenset([1])}
    failed = reload.reload_servers(
        [server.address], "", expected, access=Access("token"), targets={}, timeout_s=timeout_s
    )
    return failed.get(server.address)


def test_a_config_without_an_answer_is_no_success_though_the_version_is_available(server: FakeServer) -> None:
    failed = failure(server, 0.5)
    assert failed == Failure("DEADLINE_EXCEEDED: it did not answer the reload of its config within 0.5 s")


def test_a_late_refusal_is_the_reason(server: FakeServer) -> None:
    server.answers = [SILENT, (grpc.StatusCode.PERMISSION_DENIED, "wrong token")]
    assert failure(server) == Failure("PERMISSION_DENIED: wrong token", unchanged=True)


def test_a_config_that_is_answered_the_second_time_has_arrived(server: FakeServer) -> None:
    server.answers = [SILENT, (grpc.StatusCode.OK, "")]
    assert failure(server) is None
    assert server.reloads == 2


def test_another_model_that_fails_is_no_failure_but_an_internal_error_is(server: FakeServer) -> None:
    server.answers = [(grpc.StatusCode.UNKNOWN, "1 servable(s) did not become available: {x}")]
    assert failure(server) is None
    server.answers = [(grpc.StatusCode.UNKNOWN, "Unexpected KeyError")]
    assert failure(server) == Failure("UNKNOWN: Unexpected KeyError")


# --- what a promotion says about it -----------------------------------------------------------------------------------


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model whose version 1 is stable."""
    (tmp_path / "candidate").mkdir()
    (tmp_path / "candidate" / "saved_model.pb").write_bytes(b"graph")
    base = tmp_path / "serving" / "m"
    local.publish(tmp_path / "candidate", base, Manifest(), lambda: 1)
    local.publish(tmp_path / "candidate", base, Manifest(), lambda: 2)
    promotion.promote(base, 1, ChangeRequest("ann", "first"))
    return base


@pytest.mark.parametrize(
    ("answer", "ending"),
    [
        ((grpc.StatusCode.PERMISSION_DENIED, "wrong token"), ""),  # it never took anything
        (LOST, ", but not on {address}"),  # it may have
    ],
)
def test_a_reason_is_said_once(server: FakeServer, base: Path, answer: Any, ending: str) -> None:
    server.answers = [answer]
    with pytest.raises(VersionError) as error:
        promotion.promote(base, 2, ChangeRequest("ann", "newer", (server.address,), timeout_s=30))
    code, text = answer
    assert str(error.value) == (
        f"m: version 2 as stable is not served: {server.address}: {code.name}: {text}; everything was rolled back"
        + ending.format(address=server.address)
    )
