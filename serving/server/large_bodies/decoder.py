"""Sends large JSON bodies to the process that reads them, and returns their tensors."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from benison.serving.server.engine import Signature, Tensors
from benison.serving.server.large_bodies import framing
from benison.serving.server.status import Code, RequestError, TooLarge

_IDLE_SECONDS = 20.0  # after which the process ends, and its memory is free
_T = TypeVar("_T")


class Decoder:
    """The process, which is started for the first large body. It reads one body at a time."""

    def __init__(self, max_body_bytes: int, max_memory: int) -> None:
        """Create the decoder; it starts nothing.

        Args:
            max_body_bytes: largest body after decompression.
            max_memory: largest memory of the objects of a body, and of the tensors of a request (bytes).
        """
        self._max_body_bytes = max_body_bytes
        self._max_memory = max_memory
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "large bodies")
        self._process: subprocess.Popen[bytes] | None = None
        self._peer: socket.socket | None = None
        self._end: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def document(
        self, body: bytes | bytearray, gzipped: bool, seconds: float | None = None
    ) -> AsyncIterator[LargeDocument]:
        """Parse a body; it is the turn of the next one after the block.

        Args:
            body: as it was sent.
            gzipped: whether it was sent with gzip.
            seconds: how long to wait for the turn (seconds); None: without a limit.

        Raises:
            RequestError: The body is not a JSON object, or too large, or other large bodies took all of the time.
        """
        try:
            await asyncio.wait_for(self._turn.acquire(), seconds)
        except asyncio.TimeoutError:
            raise RequestError(Code.DEADLINE_EXCEEDED, "Timed out while other large bodies were read") from None
        try:
            if self._end:
                self._end.cancel()
            parse = partial(self._parse, body, gzipped)
            yield LargeDocument(await self._in_thread(parse), self)
        finally:
            self._end = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._thread.submit, self._stop)
            self._turn.release()

    async def read(self, *command: Any) -> tuple[dict[str, Any], bool]:
        """Return the tensors of the parsed body, and whether the answer must be in row form."""
        return await self._in_thread(partial(self._read, (*command, self._max_memory)))

    async def close(self) -> None:
        """End the process."""
        if self._end:
            self._end.cancel()
        await self._in_thread(self._stop)
        self._thread.shutdown()

    async def _in_thread(self, function: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    # In the thread.

    def _parse(self, body: bytes | bytearray, gzipped: bool) -> str:
        peer = self._started()
        message, _ = self._asked(peer, ("parse", gzipped, self._max_body_bytes, self._max_memory), [body])
        return str(message)

    def _read(self, command: Sequence[Any]) -> tuple[dict[str, Any], bool]:
        peer = self._started()
        (row_form, forms), sizes = self._asked(peer, command)
        return framing.receive_arrays(peer, forms, sizes), row_form

    def _asked(
        self, peer: socket.socket, command: Sequence[Any], payloads: Sequence[Any] = ()
    ) -> tuple[Any, list[int]]:
        try:
            framing.send(peer, command, payloads)
            message, sizes = framing.receive(peer)
        except (EOFError, OSError):
            self._stop()
            raise TooLarge("The body could not be read: its values take too much memory") from None
        if isinstance(message, RequestError):
            raise message
        return message, sizes

    def _started(self) -> socket.socket:
        if self._peer is None:
            self._peer, other = socket.socketpair()
            with other:
                descriptor = other.fileno()
                command = [sys.executable, "-m", "benison.serving.server.large_bodies.worker", str(descriptor)]
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, pass_fds=[descriptor], start_new_session=True
                )
        return self._peer

    def _stop(self) -> None:
        if self._peer and self._process:
            self._peer.close()
            self._process.kill()
            self._process.wait()
        self._peer = self._process = None


class LargeDocument:
    """A body that the process has parsed.

    Attributes:
        signature_name: the signature that it names; empty if it names none.
    """

    def __init__(self, signature_name: str, decoder: Decoder) -> None:
        self.signature_name = signature_name
        self._decoder = decoder

    async def inputs(self, signature: Signature) -> tuple[Tensors, bool]:
        """Return the tensors of a predict request; see `column_names.read_inputs`."""
        return await self._decoder.read("inputs", replace(signature, proto=None, outputs={}, defaults={}))

    async def examples(self) -> Any:
        """Return the examples of a classify or regress request, serialized."""
        tensors, _ = await self._decoder.read("examples")
        return tensors["inputs"]
