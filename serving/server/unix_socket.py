"""The path of a Unix socket, before the server listens on it."""

from __future__ import annotations

import os
import socket
import stat

from benison.serving.errors import UsageError

_ANSWER_SECONDS = 1.0


def check_free(path: str) -> None:
    """Check that no server listens on a path, because gRPC would replace its socket.

    The socket of a server that was killed does not count: nobody accepts a connection to it.

    Raises:
        UsageError: a server listens there, that cannot be known, or another file has this path.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return  # nothing is there; if the path is wrong, gRPC finds that
    wrong = f"--grpc_socket_path={path}: "
    if not stat.S_ISSOCK(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a file"
        raise UsageError(f"{wrong}{kind} exists there that is no socket; name another path, or remove it")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(_ANSWER_SECONDS)
        try:
            client.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except OSError as error:
            raise UsageError(
                f"{wrong}a socket exists there, which may be another server's: {error}; name another path, or remove it"
            ) from None
    raise UsageError(f"{wrong}another server listens there; name another path, or stop that server")
