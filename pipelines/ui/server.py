"""The server of `benison ui`: GET of the index, of reports, of comparisons and of the progress; nothing else.

It listens on loopback and answers only requests whose Host is an address or `localhost`, so that no page of another
site in a browser on this machine can read it; see `serving.server.hosts`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from urllib.parse import unquote, urlsplit

from benison.pipelines.records import runs
from benison.pipelines.reports import compare, index_page
from benison.serving.errors import BenisonError, UsageError
from benison.serving.server import hosts

ADDRESS = "127.0.0.1"
_NAMES = frozenset({"localhost"})
_HTML, _JSON, _TEXT = "text/html; charset=utf-8", "application/json", "text/plain; charset=utf-8"
_RUN = re.compile(r"/runs/(?P<run>[^/]+)/report\.html")
_COMPARE = re.compile(r"/compare/(?P<before>[^/]+)/(?P<now>[^/]+)")


class _NotFound(Exception):
    """There is no such page."""


class Server(ThreadingHTTPServer):
    """Serves a ROOT."""

    daemon_threads = True

    def __init__(self, root: Path, port: int) -> None:
        """Open the port; 0 takes a free one.

        Raises:
            UsageError: the port is taken, or not allowed.
        """
        self.root = root
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(
                f"--port {port}: {ADDRESS}:{port}: {reason}; use another port, or 0 for a free one"
            ) from None


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version = "benison"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        """Answer with a page, or with an error in one line."""
        if not hosts.is_accepted(self.headers.get("Host", "").encode("latin-1"), _NAMES):
            self._send(HTTPStatus.MISDIRECTED_REQUEST, _TEXT, b"this server answers only for localhost\n")
            return
        try:
            content_type, body = self._page(urlsplit(self.path).path)
        except _NotFound:
            self._send(HTTPStatus.NOT_FOUND, _TEXT, b"no such page\n")
        except (OSError, ValueError, BenisonError) as error:
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, _TEXT, f"{error}\n".encode())
        else:
            self._send(HTTPStatus.OK, content_type, body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Write no line per request."""

    def _page(self, path: str) -> tuple[str, bytes]:
        root = self.server.root
        if path in ("/", "/index.html"):
            script = (resources.files("benison.pipelines.ui") / "progress.js").read_text(encoding="utf-8")
            return _HTML, index_page.html(root, script=script).encode()
        if path == "/favicon.ico":  # browsers ask for it
            return "image/x-icon", b""
        if path == "/progress.json":
            return _JSON, json.dumps(progress(root)).encode()
        if match := _RUN.fullmatch(path):
            return _HTML, _read(_run(root, match["run"]).folder / index_page.REPORT)
        if match := _COMPARE.fullmatch(path):
            before, now = (_run(root, match[name]) for name in ("before", "now"))
            return _HTML, compare.html(compare.Comparison(root, before, now)).encode()
        raise _NotFound

    def _send(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def progress(root: Path) -> list[dict[str, object]]:
    """Return the runs that are under way: their seconds, their nodes, how many have ended, and which are running."""
    now = time.time()
    return [
        {
            "id": run.id,
            "pipeline": run.pipeline,
            "seconds": now - run.started,
            "nodes": len(run.nodes),
            "done": sum(node.state not in ("waiting", "running") for node in run.nodes),
            "running": [node.id for node in run.nodes if node.state == "running"],
        }
        for run in runs.history(root, 50)
        if run.outcome == "running"
    ]


def _run(root: Path, name: str) -> runs.Run:
    """Return a run by its id: only a name that is in ROOT/runs, so that no path leads out of it."""
    name = unquote(name)
    try:
        if name in {folder.name for folder in (root / "runs").iterdir()}:
            return runs.read(root / "runs" / name / runs.FILE)
    except (OSError, ValueError, TypeError, KeyError):
        pass
    raise _NotFound


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        raise _NotFound from None


def serve(root: Path, port: int, ready: Callable[[str], None]) -> None:
    """Serve a ROOT until Ctrl-C.

    Args:
        root: ROOT.
        port: the port; 0 takes a free one.
        ready: called with the address.

    Raises:
        UsageError: the port is taken.
    """
    with Server(root, port) as server:
        ready(f"http://{ADDRESS}:{server.server_port}/")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
