"""Endpoints for OpenLineage events that are slow, redirect or are none."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from benison.pipelines.config import event_places
from benison.pipelines.lineage import graph, openlineage
from benison.pipelines.records import runs
from benison.serving.errors import UsageError

FOUND = graph.RunGraph(runs.Run("zoo-1", "zoo", Path("zoo-1"), 0.0, outcome="pushed"), ())


@contextmanager
def _endpoint(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Answer each connection in a thread, and yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=converse, args=(server.accept()[0],), daemon=True).start()

        def converse(peer: socket.socket) -> None:
            with peer, suppress(OSError):
                peer.recv(1 << 16)
                answer(peer)

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_trickling_headers_do_not_hold_up_a_run() -> None:
    done = threading.Event()

    def trickle(peer: socket.socket) -> None:
        peer.sendall(b"HTTP/1.1 200 OK\r\n")
        while not done.wait(0.1):
            peer.sendall(b"X-More: yes\r\n")

    started = time.monotonic()
    with _endpoint(trickle) as address, pytest.raises(openlineage.NotSent, match=r"too slow .*: 0 of 2 events sent"):
        openlineage.send(FOUND, address, 0.5)
    done.set()
    assert time.monotonic() - started < 20  # without a limit it never ends


@pytest.mark.parametrize("status", ["302 Found", "307 Temporary Redirect", "304 Not Modified", "500 Broken"])
def test_only_2xx_takes_an_event(status: str) -> None:
    def answer(peer: socket.socket) -> None:
        peer.sendall(f"HTTP/1.1 {status}\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n".encode())

    with _endpoint(answer) as address, pytest.raises(openlineage.NotSent, match=rf"it answered {status}.*0 of 2 "):
        openlineage.send(FOUND, address)


@pytest.mark.parametrize(
    "place",
    ["ftp://x/SECRET?SECRET", "ftp:/x/y", "file:///x", "http:///x", "http://h:port/", "http://h/x?token=SECRET",
     "https://u:SECRET@h", "http://h/#SECRET"],
)  # fmt: skip
def test_other_places_are_refused_and_no_secret_is_shown(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as refused:
        openlineage.send(FOUND, place)
    assert "?SECRET" not in str(refused.value)
    assert "=SECRET" not in str(refused.value)
    assert ":SECRET" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_a_refused_secret_names_the_variable_for_it() -> None:
    assert "OPENLINEAGE_API_KEY" in event_places.fault("http://h/x?token=SECRET")
    assert event_places.fault("events/x.jsonl") == event_places.fault("https://h:1/x") == ""
