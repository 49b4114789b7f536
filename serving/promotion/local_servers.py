"""The servers of this machine that `benison serve` runs for a ROOT, and their Unix sockets.

Each server has a file ROOT/serving/.server-PORT.json that names the socket of its gRPC. The socket's permissions decide
who may change what is served, so a change over it needs no token.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benison.serving.files import atomic_file

_FILES = ".server-*.json"
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


@contextmanager
def announced(folder: Path, port: int, path: Path) -> Iterator[None]:
    """Let `sockets` find a server until the block ends.

    Args:
        folder: ROOT/serving. If it is read-only, the server is not announced.
        port: TCP port of the server's gRPC.
        path: Its Unix socket.
    """
    file = folder / _FILES.replace("*", str(port))
    with contextlib.suppress(OSError):
        atomic_file.write(file, json.dumps({"socket": str(path)}) + "\n")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            file.unlink()


def sockets(folder: Path) -> dict[str, str]:
    """Return the gRPC targets of the servers that run: `unix:PATH` by `localhost:PORT`, sorted by port.

    Args:
        folder: ROOT/serving.
    """
    targets = {}
    for file in folder.glob(_FILES):
        port = file.name.removeprefix(".server-").removesuffix(".json")
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            path = json.loads(file.read_text(encoding="utf-8"))["socket"]
            _connect(path)
            targets[int(port)] = f"unix:{path}"
    return {f"localhost:{port}": targets[port] for port in sorted(targets)}


def target(server: str, local: dict[str, str]) -> str:
    """Return where to reach a server: its socket if it runs on this machine, else HOST:PORT.

    Args:
        server: HOST:PORT of gRPC.
        local: What `sockets` returned.
    """
    host, _, port = server.rpartition(":")
    return local.get(f"localhost:{port}", server) if host in _LOOPBACK else server


def _connect(path: str) -> None:
    """Check that a server listens on a socket, and that this user may connect.

    Raises:
        OSError: The server was killed, or the socket is another user's.
    """
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        client.connect(path)
