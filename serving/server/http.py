"""HTTP/1.1 on an asyncio.Protocol: keep-alive, pipelining, and limits for who sends or reads too slowly or too much."""

from __future__ import annotations

import asyncio
import contextlib
import http
import logging
import socket
import time
import zlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httptools

from serving.server import json_answers

_MOST_HEADER_BYTES = 64 << 10
_MOST_PIPELINED = 16
_IDLE_SECONDS = 300.0
_SLOWEST_BYTES_PER_SECOND = 64 << 10  # a large body may take its time, as long as it comes
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """A request that has arrived whole.

    Attributes:
        method: such as `GET`.
        path: as sent, still percent-encoded, without the query.
        headers: by lower-case name.
        body: unpacked, if it was sent with gzip.
    """

    method: str
    path: str
    headers: dict[bytes, bytes]
    body: bytes


@dataclass(frozen=True)
class Response:
    """An answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Limits:
    """What a client may do; see Settings."""

    max_body_bytes: int
    max_connections: int
    slow_seconds: float


class HttpServer:
    """Listening sockets and their connections."""

    def __init__(self, handler: Handler, limits: Limits) -> None:
        self.handler = handler
        self.limits = limits
        self.connections: set[Connection] = set()
        self.draining = False
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None

    async def listen(self, address: str, port: int) -> None:
        """Begins to accept connections.

        Raises:
            OSError: the address is taken or not this machine's.
        """
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in address else 0
        server = await loop.create_server(lambda: Connection(self), address, port, family=family, backlog=1024)
        self._servers.append(server)
        self._sweeper = self._sweeper or asyncio.create_task(self._sweep())

    async def drain(self, seconds: float) -> None:
        """Accepts nothing more, answers what has arrived within that time, and closes every connection."""
        self.draining = True
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.close_if_idle()
        until = time.monotonic() + seconds
        while self.connections and time.monotonic() < until:
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.abort()
        if self._sweeper:
            self._sweeper.cancel()

    async def _sweep(self) -> None:
        """Drops slow clients: one look per second at all is cheaper than a timer for each request."""
        while True:
            await asyncio.sleep(min(1.0, self.limits.slow_seconds / 2))
            now = time.monotonic()
            for connection in list(self.connections):
                connection.drop_if_slow(now)


class Connection(asyncio.Protocol):
    """One client. Its requests are answered one after the other, in their order."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._pending: deque[tuple[Request | Response, bool]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._receiving_since = 0.0  # 0: not within a request
        self._unread_since = 0.0  # 0: the client takes what is written
        self._idle_since = time.monotonic()
        self._closing = False
        self._reset()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        self._transport = transport  # type: ignore[assignment]
        if self._server.draining or len(self._server.connections) >= self._server.limits.max_connections:
            transport.abort()  # type: ignore[attr-defined]
            return
        self._server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone: no more work for it."""
        self._server.connections.discard(self)
        self._closing = True
        self._pending.clear()
        if self._task:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Part of a request, or several."""
        if self._closing:
            return
        self._receiving_since = self._receiving_since or time.monotonic()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._closing = True  # HTTP/1.1 is all there is; what was asked is answered, what follows is not HTTP
        except httptools.HttpParserCallbackError:
            pass  # a limit; its answer is queued
        except httptools.HttpParserError as error:
            self._refuse(400, f"Malformed HTTP: {error}")
        if len(self._pending) > _MOST_PIPELINED:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """A client that has said all may still wait for answers."""
        return self._task is not None

    def pause_writing(self) -> None:
        """The client does not take its answers."""
        self._unread_since = time.monotonic()

    def resume_writing(self) -> None:
        """It does again."""
        self._unread_since = 0.0
        self._next()

    # What httptools calls.

    def on_url(self, url: bytes) -> None:
        """A part of the request line."""
        self._url += url
        self._check_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers[name.lower()] = value
        self._check_head(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """The body comes next: too large a one is refused before it is sent."""
        length = self._headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._server.limits.max_body_bytes:
            self._too_large()
        if self._headers.get(b"expect", b"").lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._size += len(body)
        if self._size > self._server.limits.max_body_bytes:
            self._too_large()
        self._body.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        keep = self._parser.should_keep_alive() and not self._server.draining
        self._pending.append((self._request(), keep))
        self._receiving_since = 0.0
        self._reset()
        self._next()

    def drop_if_slow(self, now: float) -> None:
        """Ends the connection if its client takes too long."""
        patience = self._server.limits.slow_seconds
        arriving = patience + self._size / _SLOWEST_BYTES_PER_SECOND
        if self._receiving_since and now - self._receiving_since > arriving and not self._task:
            self._refuse(408, "The request took too long to arrive")
        elif self._unread_since and now - self._unread_since > patience:
            self.abort()
        elif not self._receiving_since and not self._task and now - self._idle_since > _IDLE_SECONDS:
            self.close_if_idle()

    def close_if_idle(self) -> None:
        """Closes the connection unless a request is being received or answered."""
        if not self._task and not self._pending and not self._receiving_since:
            self._transport.close()

    def abort(self) -> None:
        """Closes the connection at once."""
        self._transport.abort()

    def _reset(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._head_size = 0
        self._body: list[bytes] = []
        self._size = 0

    def _check_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > _MOST_HEADER_BYTES:
            self._refuse(431, f"The headers are longer than {_MOST_HEADER_BYTES} bytes")
            raise ValueError("head too long")  # ends the parser

    def _too_large(self) -> None:
        self._refuse(413, f"The body is longer than {self._server.limits.max_body_bytes} bytes")
        raise ValueError("body too long")

    def _refuse(self, status: int, message: str) -> None:
        """Queues an error as the connection's last answer."""
        if not self._closing:
            self._closing = True
            self._receiving_since = 0.0
            self._pending.append((Response(status, json_answers.error(message)), False))
            self._next()

    def _request(self) -> Request | Response:
        try:
            path = httptools.parse_url(self._url).path or b"/"
            body = b"".join(self._body)
            if self._headers.get(b"content-encoding", b"").lower() == b"gzip":
                body = _unpack(body, self._server.limits.max_body_bytes)
        except (httptools.HttpParserInvalidURLError, zlib.error):
            return Response(400, json_answers.error("Malformed request: not a path, or not gzip"))
        except OverflowError:
            return Response(413, json_answers.error("The body is too long once it is unpacked"))
        return Request(
            self._parser.get_method().decode("ascii", "replace"), path.decode("latin-1"), self._headers, body
        )

    def _next(self) -> None:
        """Answers the next request, once the one before is answered and the client takes its answers."""
        if self._task is None and self._pending and not self._unread_since and not self._transport.is_closing():
            request, keep = self._pending.popleft()
            self._task = asyncio.get_running_loop().create_task(self._answer(request, keep))

    async def _answer(self, request: Request | Response, keep: bool) -> None:
        try:
            response = request if isinstance(request, Response) else await self._server.handler(request)
        except asyncio.CancelledError:
            self._task = None
            raise
        except Exception:
            _log.exception("an error of the server's own")
            response = Response(500, json_answers.error("Internal error"))
        self._task = None
        keep = keep and not self._server.draining
        if self._transport.is_closing():
            return
        head = isinstance(request, Request) and request.method == "HEAD"
        self._transport.write(_head(response, keep) + (b"" if head else response.body))
        if not keep:
            self._transport.close()
            return
        self._idle_since = time.monotonic()
        if len(self._pending) <= _MOST_PIPELINED // 2:
            with contextlib.suppress(RuntimeError):  # was not paused
                self._transport.resume_reading()
        self._next()


def _head(response: Response, keep: bool) -> bytes:
    try:
        reason = http.HTTPStatus(response.status).phrase
    except ValueError:
        reason = "Client Closed Request"  # 499, which is nginx's and TF Serving's own
    lines = [
        f"HTTP/1.1 {response.status} {reason}",
        f"Content-Type: {response.content_type}",
        f"Content-Length: {len(response.body)}",
        *(f"{name}: {value}" for name, value in response.headers),
    ]
    if not keep:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _unpack(body: bytes, most: int) -> bytes:
    """Unpacks gzip.

    Raises:
        OverflowError: it would be longer than `most`.
        zlib.error: it is not gzip.
    """
    unpacker = zlib.decompressobj(wbits=31)
    unpacked = unpacker.decompress(body, most)
    if unpacker.unconsumed_tail:
        raise OverflowError
    if not unpacker.eof:
        raise zlib.error
    return unpacked
