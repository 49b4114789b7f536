"""An HTTP/1.1 server on asyncio.Protocol, with keep-alive, pipelining, and limits on slow clients and large bodies."""

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
from email.utils import formatdate
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import httptools

from benison.serving.server import hosts
from benison.serving.server.codec import gzip_members, json_answers

_MAX_HEADER_BYTES = 64 << 10
_MAX_PIPELINED = 16
_IDLE_SECONDS = 300.0
LAST_CALL_SECONDS = 1.0  # after the stop signal, requests that are already on their way are still accepted this long
_SLOWEST_BYTES_PER_SECOND = 64 << 10  # a large body may take longer, if it arrives at this speed or faster
_SMALL_BODY = 64 << 10  # bytes; a body of up to this size is accepted even if the total limit is reached
_MAX_CACHED_URL = 512  # bytes; hundreds of URLs of 64 kB each would stay in memory
_MAX_SHOWN_HOST = 100  # bytes of a wrong one in the error
_HEAD_TOO_LARGE = f"The headers are longer than {_MAX_HEADER_BYTES} bytes"
_TOTAL_TOO_LARGE = "The bodies of all requests together are too large; try later"
_RETRY = (("Retry-After", "1"),)
_METHODS = {b"POST": "POST", b"GET": "GET"}  # without decoding
_NO_LINGER = struct.pack("ii", 1, 0)
_log = logging.getLogger(__name__)


class Request(NamedTuple):
    """A complete request.

    Attributes:
        method: for example `GET`.
        path: as sent, still percent-encoded, without the query.
        headers: values by lower-case name.
        body: decompressed, if it was sent with gzip and is small.
        gzipped: whether the body is large and as it was sent.
    """

    method: str
    path: str
    headers: dict[bytes, bytes]
    body: bytes | bytearray
    gzipped: bool = False


class Response(NamedTuple):
    """A response before it is written to the connection."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Awaitable[Response]]


class Cancellable(Protocol):
    """A response in progress: a task, or something cheaper."""

    def cancel(self) -> Any:
        """Stop the work, because the client has disconnected."""


# Takes a request and calls back with the response later. If it returns None, the handler gets the request.
Begin = Callable[[Request, Callable[[Response], None]], "Cancellable | None"]


@dataclass(frozen=True)
class Limits:
    """Limits per client and in total; see ServerSettings for their units."""

    max_body_bytes: int
    max_connections: int
    slow_seconds: float
    max_held_bytes: int = 1 << 30


class HttpServer:
    """The listening sockets and their connections."""

    def __init__(
        self,
        handler: Handler,
        limits: Limits,
        begin: Begin | None = None,
        error_headers: tuple[tuple[str, str], ...] = (),
        host_names: frozenset[str] | None = None,
    ) -> None:
        """Create the server; `listen` opens the ports.

        Args:
            handler: answers the requests that `begin` does not take.
            limits: for every client.
            begin: called first for every request; it must not block.
            error_headers: headers of the errors that the server itself answers.
            host_names: names that a request's Host may have, as in `hosts`; None for every Host.
        """
        self.handler = handler
        self.begin = begin
        self.limits = limits
        self.error_headers = error_headers
        self.host_names = host_names
        self.connections: set[Connection] = set()
        self.waiting: dict[Connection, None] = {}  # for a whole request; the longest first
        self.held_bytes = 0  # bytes, of the bodies of all unanswered requests
        self.draining = False
        self.date = _date_and_length()  # a second old at most
        self._servers: list[asyncio.Server] = []
        self._sweeper: asyncio.Task[None] | None = None

    async def listen(self, address: str, port: int) -> None:
        """Open a port and accept connections on it.

        Raises:
            OSError: the address is in use, or is not an address of this machine.
        """
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in address else 0
        server = await loop.create_server(lambda: Connection(self), address, port, family=family, backlog=1024)
        self._servers.append(server)
        self._sweeper = self._sweeper or asyncio.create_task(self._sweep())

    async def drain(self, seconds: float) -> None:
        """Stop accepting connections, answer the requests that arrive within that time, then close every connection.

        Each connection closes after its next response. Idle connections stay open for LAST_CALL_SECONDS, because a
        request that is on its way would be lost if they closed at once.
        """
        self.draining = True
        for server in self._servers:
            server.close()
        now = time.monotonic()
        deadline, last_call = now + seconds, now + min(seconds, LAST_CALL_SECONDS)
        while self.connections and (now := time.monotonic()) < deadline:
            if now >= last_call:
                for connection in list(self.connections):
                    connection.close_if_idle()
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.abort()
        if self._sweeper:
            self._sweeper.cancel()

    async def _sweep(self) -> None:
        """Drop slow clients. One check of all connections per second is cheaper than a timer per request."""
        while True:
            await asyncio.sleep(min(1.0, self.limits.slow_seconds / 2))
            self.date = _date_and_length()
            now = time.monotonic()
            for connection in list(self.connections):
                connection.drop_if_slow(now)


class Connection(asyncio.Protocol):
    """The connection of one client. Its requests are answered one at a time, in their order."""

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._limits = server.limits
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._pending: deque[tuple[Request | Response, bool]] = deque()
        self._current: Cancellable | None = None  # the response in progress
        self._keep_alive = False  # whether the connection stays open after the current request
        self._omit_body = False
        self._host: bytes | None = None  # the last Host that was accepted, so that it is checked once per connection
        self._held_bytes = 0  # bytes, this connection's part of the server's total
        self._receiving = False  # whether a part of a request has arrived
        self._receiving_since = 0.0  # by the sweeper's clock; 0: it has not seen it yet
        self._unread_since = 0.0  # 0: the client reads its responses
        self._idle_since = 0.0  # likewise
        self._closing = False
        self._body: bytes | bytearray
        self._reset()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept a client, unless the server is stopping or every other client waits for its answer."""
        self._transport = transport  # type: ignore[assignment]
        full = len(self._server.connections) >= self._limits.max_connections
        if self._server.draining or (full and not self._server.waiting):
            transport.abort()  # type: ignore[attr-defined]
            return
        if full:
            evicted = next(iter(self._server.waiting))
            del self._server.waiting[evicted]
            self._server.connections.discard(evicted)
            evicted.abort()
        self._server.connections.add(self)
        self._server.waiting[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the work for a client that has disconnected."""
        self._server.connections.discard(self)
        self._server.waiting.pop(self, None)
        self._release()
        self._closing = True
        self._pending.clear()
        self._reset()
        del self._parser  # the two keep each other
        if self._current:
            self._current.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes: part of a request, or several requests."""
        if self._closing:
            return
        self._receiving = True
        self._received += len(data)
        try:
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                self._ignore_upgrade(data, upgrade.args[0])
            if self._received > _MAX_HEADER_BYTES:
                self._check_received()
        except httptools.HttpParserCallbackError:
            pass  # a rule was broken; the error response is already queued
        except httptools.HttpParserError as error:
            self._refuse(400, f"Malformed HTTP: {error}")
        if len(self._pending) > _MAX_PIPELINED:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Close the connection. A client that closes only its own half looks the same as one that disconnects."""
        return False

    def pause_writing(self) -> None:
        """Start the clock of a client that does not read its responses."""
        self._unread_since = time.monotonic()

    def resume_writing(self) -> None:
        """Continue with a client that reads its responses again."""
        self._unread_since = 0.0
        self._next()

    # Callbacks of httptools.

    def on_url(self, url: bytes) -> None:
        """Collect a part of the request line."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect one header; what follows the chunks of a body is no part of the head."""
        if self._head_is_complete:
            return
        name = name.lower()
        if name in self._headers:
            self._repeated += ((name, self._headers[name]),)
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        """Refuse a request without its one Host or for another one, and a body that is too large before it is sent."""
        if b"upgrade" in self._headers and self._parser.should_upgrade() and self._parser.get_method() != b"CONNECT":
            return  # see `_ignore_upgrade`
        self._head_is_complete = True
        if self._received > _MAX_HEADER_BYTES and self._head_size() > _MAX_HEADER_BYTES:
            self._refuse(431, _HEAD_TOO_LARGE)
            raise ValueError("head too long")  # stops the parser
        host = self._headers.get(b"host")
        if host is None or host != self._host or self._repeated:
            self._check_host(host)
        length = self._headers.get(b"content-length")
        if length and length.isdigit() and int(length) > self._limits.max_body_bytes:
            self._refuse_large_body()
        if b"expect" in self._headers and self._headers[b"expect"].lower() == b"100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Collect a part of the body."""
        more = len(body)
        self._size += more
        if self._size > self._limits.max_body_bytes:
            self._refuse_large_body()
        self._held_bytes += more
        self._server.held_bytes += more
        if self._size > _SMALL_BODY and self._server.held_bytes > self._limits.max_held_bytes:
            self._refuse(503, _TOTAL_TOO_LARGE, _RETRY)
            raise ValueError("no room")
        if self._size == more:
            self._body = body  # most bodies come in one part, and need no copy
        elif isinstance(self._body, bytearray):
            self._body += body
        else:
            self._body = bytearray(self._body + body)

    def on_message_complete(self) -> None:
        """Queue the complete request."""
        if not self._head_is_complete:
            return  # see `_ignore_upgrade`
        keep = self._parser.should_keep_alive() and not self._server.draining
        self._pending.append((self._request(), keep))
        self._receiving = False
        self._reset()
        self._next()

    def drop_if_slow(self, now: float) -> None:
        """Close the connection if its client is too slow.

        Args:
            now: a time.monotonic() value; a request, or a silence, is timed from the first call that sees it.
        """
        slow_seconds = self._limits.slow_seconds
        arrival_seconds = slow_seconds + self._size / _SLOWEST_BYTES_PER_SECOND
        self._receiving_since = (self._receiving_since or now) if self._receiving and not self._current else 0.0
        self._idle_since = 0.0 if self._receiving or self._current else self._idle_since or now
        if self._receiving_since and now - self._receiving_since > arrival_seconds:
            self._refuse(408, "The request took too long to arrive")
        elif self._unread_since and now - self._unread_since > slow_seconds:
            self.abort()
        elif self._idle_since and now - self._idle_since > _IDLE_SECONDS:
            self.close_if_idle()

    def close_if_idle(self) -> None:
        """Close the connection unless a request is being received or answered."""
        if not self._current and not self._pending and not self._receiving:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection at once and discard the data that the client has not read."""
        if (connected := self._transport.get_extra_info("socket")) is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()

    def _reset(self) -> None:
        self._url = b""
        self._headers: dict[bytes, bytes] = {}  # by name in lower case
        self._repeated: tuple[tuple[bytes, bytes], ...] = ()  # the former values of those that came several times
        self._head_is_complete = False
        self._received = 0  # bytes of this request as sent, with chunk sizes, extensions and trailers
        self._body = b""
        self._size = 0

    def _ignore_upgrade(self, data: bytes, position: int) -> None:
        """Continue with a request that offers an upgrade, as Java's clients do with each request over HTTP.

        The parser ends such a request with its head, so the head is parsed again without the offer.

        Args:
            data: the received bytes.
            position: where the head ends in them.
        """
        rest = memoryview(data)[position:]
        while self._parser.get_method() != b"CONNECT":
            line = b"%b %b HTTP/%b" % (self._parser.get_method(), self._url, self._parser.get_http_version().encode())
            fields = [field for field in (*self._repeated, *self._headers.items()) if field[0] != b"upgrade"]
            self._reset()
            self._received = len(data)
            self._parser = httptools.HttpRequestParser(self)
            self._parser.feed_data(b"\r\n".join([line, *(b"%b: %b" % field for field in fields), b"", b""]))
            try:
                self._parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as upgrade:
                rest = rest[upgrade.args[0] :]
        self._closing = True  # answer this request, ignore the bytes that follow

    def _head_size(self) -> int:
        fields = (*self._headers.items(), *self._repeated)
        return len(self._url) + sum(len(name) + len(value) for name, value in fields)

    def _check_received(self) -> None:
        """Count what the parser keeps, skips or passes on in parts."""
        if not self._head_is_complete and self._received > _MAX_HEADER_BYTES:
            self._refuse(431, _HEAD_TOO_LARGE)
        if self._received > self._limits.max_body_bytes + _MAX_HEADER_BYTES:
            self._refuse(
                413, f"The body is longer than {self._limits.max_body_bytes} bytes, with the sizes of its chunks"
            )

    def _check_host(self, host: bytes | None) -> None:
        """Refuse a request without its one Host, or with the name of another server.

        See `hosts` for the attack that this prevents.
        """
        is_missing = host is None and self._parser.get_http_version() == "1.1"
        if is_missing or b"host" in dict(self._repeated):
            self._refuse(400, "Malformed request: it must have one Host header")
            raise ValueError("no host")  # stops the parser
        names = self._server.host_names
        if names is not None and host is not None and not hosts.is_accepted(host, names):
            self._refuse(
                421,
                f"Host: {host[:_MAX_SHOWN_HOST].decode('latin-1')}: this server answers only for IP addresses and for "
                f"{', '.join(sorted(names))}; BENISON_ALLOWED_HOSTS adds names",
            )
            raise ValueError("another host")
        self._host = host

    def _refuse_large_body(self) -> None:
        self._refuse(413, f"The body is longer than {self._limits.max_body_bytes} bytes")
        raise ValueError("body too long")

    def _release(self) -> None:
        self._server.held_bytes -= self._held_bytes
        self._held_bytes = 0

    def _refuse(self, status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        """Queue an error as the last response of the connection."""
        if not self._closing:
            self._closing = True
            self._receiving = False
            self._reset()
            self._pending.append((self._error(status, message, headers), False))
            self._next()

    def _error(self, status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
        return Response(status, json_answers.error(message), headers=(*self._server.error_headers, *headers))

    def _request(self) -> Request | Response:
        body, encoding = self._body, self._headers.get(b"content-encoding")
        gzipped = encoding is not None and encoding.lower() == b"gzip"
        method, url = self._parser.get_method(), self._url
        try:
            path = _parse_path(url) if len(url) <= _MAX_CACHED_URL else _parse_path.__wrapped__(url)
            if gzipped and len(body) <= _SMALL_BODY:
                body, gzipped = gzip_members.decompress(body, _SMALL_BODY), False
        except (httptools.HttpParserInvalidURLError, zlib.error):
            return self._error(400, "Malformed request: not a path, or not gzip")
        except OverflowError:
            pass  # who reads it decompresses it
        return Request(_METHODS.get(method) or method.decode("ascii", "replace"), path, self._headers, body, gzipped)

    def _next(self) -> None:
        """Answer the next request, if the previous one is answered and the client reads its responses."""
        if self._current or not self._pending or self._unread_since or self._transport.is_closing():
            return
        request, self._keep_alive = self._pending.popleft()
        self._server.waiting.pop(self, None)
        self._omit_body = isinstance(request, Request) and request.method == "HEAD"
        if self._server.begin and isinstance(request, Request):
            self._current = self._server.begin(request, self._reply)
        if not self._current:
            self._current = asyncio.get_running_loop().create_task(self._answer(request))

    async def _answer(self, request: Request | Response) -> None:
        try:
            response = request if isinstance(request, Response) else await self._server.handler(request)
        except asyncio.CancelledError:
            self._current = None
            raise
        except Exception:
            _log.exception("internal error; the request is answered with status 500")
            response = self._error(500, "Internal error")
        self._reply(response)

    def _reply(self, response: Response) -> None:
        """Send the response to the current request and continue with the next one."""
        self._current = None
        last = self._closing and not self._pending
        keep = self._keep_alive and not self._server.draining and not last
        if self._transport.is_closing():
            return
        body = b"" if self._omit_body else response.body
        head = _head(response.status, response.content_type, response.headers, keep)
        first = body if len(body) <= _SMALL_BODY else b""
        self._transport.write(b"%b%b%d\r\n\r\n%b" % (head, self._server.date, len(response.body), first))
        if first is not body:  # a large one is not copied
            self._transport.write(body)
        if not keep:
            self._transport.close()
            return
        self._idle_since = self._receiving_since = 0.0
        if not self._pending:
            self._server.waiting[self] = None
            if not self._receiving:
                self._release()
        if len(self._pending) == _MAX_PIPELINED // 2:
            with contextlib.suppress(RuntimeError):  # reading was not paused
                self._transport.resume_reading()
        self._next()


@lru_cache(maxsize=256)
def _parse_path(url: bytes) -> str:
    """Return the path of a request target.

    Raises:
        httptools.HttpParserInvalidURLError: the target has no valid path.
    """
    return (httptools.parse_url(url).path or b"/").decode("latin-1")


@lru_cache(maxsize=4096)  # each version has headers of its own
def _head(status: int, content_type: str, headers: tuple[tuple[str, str], ...], keep: bool) -> bytes:
    """Return the head of a response up to its last two headers."""
    try:
        reason = http.HTTPStatus(status).phrase
    except ValueError:
        reason = "Client Closed Request"  # 499 is not a registered status; nginx and TF Serving use it
    lines = [
        f"HTTP/1.1 {status} {reason}",
        f"Content-Type: {content_type}",
        *(f"{name}: {value}" for name, value in headers),
        *([] if keep else ["Connection: close"]),
        "",
    ]
    return "\r\n".join(lines).encode("latin-1")


def _date_and_length() -> bytes:
    """Return the header Date with the time now, and Content-Length up to its value."""
    return f"Date: {formatdate(usegmt=True)}\r\nContent-Length: ".encode()
