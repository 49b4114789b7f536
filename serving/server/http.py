"""HTTP/1.1 on an asyncio.Protocol: keep-alive, pipelining, and limits for who sends or reads too slowly or too much."""

from __future__ import annotations

import asyncio
import contextlib
import http
import logging
import socket
import struct
import time
import zlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import httptools

from benison.serving.server.codec import json_answers

_MOST_HEADER_BYTES = 64 << 10
_MOST_PIPELINED = 16
_IDLE_SECONDS = 300.0
LAST_CALL_SECONDS = 1.0  # in which what is on its way still arrives when the server is told to stop
_SLOWEST_BYTES_PER_SECOND = 64 << 10  # a large body may take its time, as long as it comes
_SMALL_BODY = 64 << 10  # bytes; who sends so little is served, however much others have sent
_NO_ROOM = "The bodies of all requests together are too large; try later"
_RETRY = (("Retry-After", "1"),)
_NO_LINGER = struct.pack("ii", 1, 0)
_log = logging.getLogger(__name__)


class Request(NamedTuple):
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


class Response(NamedTuple):
    """An answer."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Awaitable[Response]]


class Cancellable(Protocol):
    """What works on an answer, a task or something cheaper."""

    def cancel(self) -> Any:
        """The client has gone."""


# Takes a request and promises to call back with the response, later; or returns None, and the handler gets the request.
Begin = Callable[[Request, Callable[[Response], None]], "Cancellable | None"]


@dataclass(frozen=True)
class Limits:
    """What a client may do; see Settings."""

    max_body_bytes: int
    max_connections: int
    slow_seconds: float
    max_held_bytes: int = 1 << 30


class HttpServer:
    """Listening sockets and their connections."""

    def __init__(self, handler: Handler, limits: Limits, begin: Begin | None = None) -> None:
        """Listens nowhere yet.

        Args:
            handler: answers what `begin` does not take.
            limits: for every client.
            begin: asked first; it must not block.
        """
        self.handler = handler
        self.begin = begin
        self.limits = limits
        self.connections: set[Connection] = set()
        self.held = 0  # bytes of bodies that have not been answered
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
        """Accepts no connections any more, answers what arrives within that time, and closes every connection.

        A connection ends with its next answer. One that is idle has a moment more for a request that is on its way:
        closed at once, it would lose that.
        """
        self.draining = True
        for server in self._servers:
            server.close()
        now = time.monotonic()
        until, last_call = now + seconds, now + min(seconds, LAST_CALL_SECONDS)
        while self.connections and (now := time.monotonic()) < until:
            if now >= last_call:
                for connection in list(self.connections):
                    connection.close_if_idle()
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
        self._work: Cancellable | None = None  # on the answer to the request in turn
        self._keep = False  # the connection after the request in turn
        self._no_body = False
        self._held = 0  # this connection's part of what the server holds
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
        self._let_go()
        self._closing = True
        self._pending.clear()
        if self._work:
            self._work.cancel()

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
        """A client that hangs up wants no answer; one that closes its own half only cannot be told from it."""
        return False

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
        if not self._has_room(len(body), self._size):
            self._refuse(503, _NO_ROOM, _RETRY)
            raise ValueError("no room")
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
        if self._receiving_since and now - self._receiving_since > arriving and not self._work:
            self._refuse(408, "The request took too long to arrive")
        elif self._unread_since and now - self._unread_since > patience:
            self.abort()
        elif not self._receiving_since and not self._work and now - self._idle_since > _IDLE_SECONDS:
            self.close_if_idle()

    def close_if_idle(self) -> None:
        """Closes the connection unless a request is being received or answered."""
        if not self._work and not self._pending and not self._receiving_since:
            self._transport.close()

    def abort(self) -> None:
        """Closes the connection at once; the kernel, too, forgets what the client has not taken."""
        if (connected := self._transport.get_extra_info("socket")) is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
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

    def _has_room(self, more: int, size: int) -> bool:
        """Holds so many bytes more; False if all bodies together are then too much, and this one of `size` is large."""
        self._held += more
        self._server.held += more
        return size <= _SMALL_BODY or self._server.held <= self._server.limits.max_held_bytes

    def _let_go(self) -> None:
        self._server.held -= self._held
        self._held = 0

    def _refuse(self, status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """Queues an error as the connection's last answer."""
        if not self._closing:
            self._closing = True
            self._receiving_since = 0.0
            self._pending.append((Response(status, json_answers.error(message), headers=headers), False))
            self._next()

    def _request(self) -> Request | Response:
        try:
            path = _path(self._url)
            body = b"".join(self._body)
            if self._headers.get(b"content-encoding", b"").lower() == b"gzip":
                body = _unpack(body, self._server.limits.max_body_bytes)
                if not self._has_room(len(body), len(body)):
                    return Response(503, json_answers.error(_NO_ROOM), headers=_RETRY)
        except (httptools.HttpParserInvalidURLError, zlib.error):
            return Response(400, json_answers.error("Malformed request: not a path, or not gzip"))
        except OverflowError:
            return Response(413, json_answers.error("The body is too long once it is unpacked"))
        return Request(self._parser.get_method().decode("ascii", "replace"), path, self._headers, body)

    def _next(self) -> None:
        """Answers the next request, once the one before is answered and the client takes its answers."""
        if self._work or not self._pending or self._unread_since or self._transport.is_closing():
            return
        request, self._keep = self._pending.popleft()
        self._no_body = isinstance(request, Request) and request.method == "HEAD"
        if self._server.begin and isinstance(request, Request):
            self._work = self._server.begin(request, self._reply)
        if not self._work:
            self._work = asyncio.get_running_loop().create_task(self._answer(request))

    async def _answer(self, request: Request | Response) -> None:
        try:
            response = request if isinstance(request, Response) else await self._server.handler(request)
        except asyncio.CancelledError:
            self._work = None
            raise
        except Exception:
            _log.exception("an error of the server's own")
            response = Response(500, json_answers.error("Internal error"))
        self._reply(response)

    def _reply(self, response: Response) -> None:
        """Sends the answer to the request in turn, and goes on with the next."""
        self._work = None
        last = self._closing and not self._pending
        keep = self._keep and not self._server.draining and not last
        if self._transport.is_closing():
            return
        head = _head(response.status, response.content_type, response.headers, keep)
        self._transport.write(b"%b%d\r\n\r\n%b" % (head, len(response.body), b"" if self._no_body else response.body))
        if not keep:
            self._transport.close()
            return
        self._idle_since = time.monotonic()
        if not self._pending and not self._receiving_since:
            self._let_go()
        if len(self._pending) == _MOST_PIPELINED // 2:
            with contextlib.suppress(RuntimeError):  # was not paused
                self._transport.resume_reading()
        self._next()


@lru_cache(maxsize=256)
def _path(url: bytes) -> str:
    """The path of a request line's target.

    Raises:
        httptools.HttpParserInvalidURLError: it is none.
    """
    return (httptools.parse_url(url).path or b"/").decode("latin-1")


@lru_cache(maxsize=256)
def _head(status: int, content_type: str, headers: tuple[tuple[str, str], ...], keep: bool) -> bytes:
    """Everything up to the length of the body."""
    try:
        reason = http.HTTPStatus(status).phrase
    except ValueError:
        reason = "Client Closed Request"  # 499, which is nginx's and TF Serving's own
    lines = [
        f"HTTP/1.1 {status} {reason}",
        f"Content-Type: {content_type}",
        *(f"{name}: {value}" for name, value in headers),
        *([] if keep else ["Connection: close"]),
        "Content-Length: ",
    ]
    return "\r\n".join(lines).encode("latin-1")


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
