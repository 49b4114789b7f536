"""The limits on who may do what with a model server: other names, reloads, and models that reach outside."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.model_server import Server, publish, running


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, made: dict[int, Path]) -> Iterator[Server]:
    """A server on loopback with one more name, and without a token."""
    folder = tmp_path_factory.mktemp("local")
    publish(made[1], folder / "m", 1)
    flags = (f"--model_base_path={folder / 'm'}", "--model_name=m")
    with running(folder, *flags, environment={"BENISON_ALLOWED_HOSTS": "models.example"}) as server:
        yield server


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8501", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1", 200),
        ("[::1]:8501", 200),
        ("models.example:80", 200),
        ("evil.example", 421),
        ("localhost.evil.example:8501", 421),
        ("127.0.0.1.evil.example", 421),
        ("[::1].evil.example", 421),
        ("user@localhost", 421),
        ("localhost@evil.example", 421),
        ("", 421),
    ],
)
def test_a_page_in_a_browser_cannot_read_answers_under_its_own_name(local: Server, host: str, status: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", local.rest, timeout=30)
    try:
        for path in ("/v1/models/m", "/benison/status"):
            connection.request("GET", path, headers={"Host": host})
            response = connection.getresponse()
            body = response.read()
            assert response.status == status
            assert (b"BENISON_ALLOWED_HOSTS" in body) == (status == 421)
    finally:
        connection.close()


def test_a_connection_does_not_keep_the_right_to_another_name(local: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", local.rest, timeout=30)
    try:
        statuses = []
        for host in ("localhost", "localhost", "evil.example"):
            connection.request("GET", "/v1/models/m", headers={"Host": host})
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
        assert statuses == [200, 200, 421]
    finally:
        connection.close()
