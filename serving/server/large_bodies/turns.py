"""Limits how many large messages are in memory, and how many are worked on at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benison.serving.server.status import Code, RequestError


class Turns:
    """The messages that wait or are worked on. A tensor, its answer and gRPC's copies take several times its size."""

    def __init__(self, max_worked_on: int, max_held: int) -> None:
        """Begin without messages.

        Args:
            max_worked_on: total size of the messages that are worked on at a time (bytes); a larger one is alone.
            max_held: total size of these and of those that wait (bytes).
        """
        self._max_worked_on = max_worked_on
        self._max_held = max_held
        self._worked_on = 0
        self._held = 0
        self._first = asyncio.Lock()  # of the message that waits first: a large one is not overtaken by small ones
        self._ended = asyncio.Event()

    @asynccontextmanager
    async def turn(self, size: int, seconds: float | None) -> AsyncIterator[None]:
        """Wait until there is room for a message, which is worked on in the block.

        Args:
            size: its size (bytes).
            seconds: how long to wait (seconds); None: without a limit.

        Raises:
            RequestError: UNAVAILABLE: too many messages wait; DEADLINE_EXCEEDED: the time is over.
        """
        if self._held and self._held + size > self._max_held:
            raise RequestError(Code.UNAVAILABLE, "The messages of all requests together are too large; try later")
        self._held += size
        try:
            await asyncio.wait_for(self._begin(size), seconds)
            try:
                yield
            finally:
                self._worked_on -= size
                self._ended.set()
        except asyncio.TimeoutError:
            raise RequestError(Code.DEADLINE_EXCEEDED, "Timed out while other large messages were worked on") from None
        finally:
            self._held -= size

    async def _begin(self, size: int) -> None:
        async with self._first:
            while self._worked_on and self._worked_on + size > self._max_worked_on:
                self._ended.clear()
                await self._ended.wait()
            self._worked_on += size
