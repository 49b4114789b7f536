"""`/benison/explain/NAME`: how much each column of a row moved a version's answer away from the mean answer.

An explanation runs the model on thousands of rows. It takes turns with requests: its runs are small, one after the
other, and few explanations are made at a time. See `benison.serving.explanations` for the method.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from benison.serving.errors import BenisonError
from benison.serving.explanations import background as backgrounds
from benison.serving.explanations import shapley
from benison.serving.server.batching.tasks import CallTask
from benison.serving.server.engine import Engine, Signature, Tensors
from benison.serving.server.inference import Call
from benison.serving.server.managed_version import ManagedVersion
from benison.serving.server.service import Service
from benison.serving.server.status import Code, RequestError, invalid
from benison.serving.versions import local

PATH = re.compile(
    r"/benison/explain/(?P<model>[^/:]+)(?:/versions/(?P<version>\d{1,19})|/labels/(?P<label>[^/:]+))?", re.ASCII
)
MOST_ROWS = 100
MOST_SCORED_ROWS = 1_000_000  # of a request
_BLOCK_ROWS = 512  # of a run: a request that arrives meanwhile waits for one of them at most
_AT_ONCE, _WAITING = 1, 8
_SECONDS = 60.0  # of an explanation, if requests have no time limit
_RAW = "raw"


@dataclass(frozen=True)
class Prepared:
    """Hold what explanations of a version need, as its files have it.

    Attributes:
        signature: The signature whose inputs are explained.
        background: The background rows, by input.
        manifest: The manifest.
    """

    signature: Signature
    background: Tensors
    manifest: Any


class Explanations:
    """The explanations of a server's versions."""

    def __init__(self, service: Service) -> None:
        """Make no explanation yet; see `RestApi`."""
        self._service = service
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    async def describe(self, version: ManagedVersion) -> bytes:
        """Return what a version can explain.

        Raises:
            RequestError: It cannot explain.
        """
        prepared = await self.prepared(version)
        background = prepared.background
        columns = [prepared.signature.column_of(name) for name in background]
        return orjson.dumps(
            {
                "model": version.model,
                "version": version.number,
                "columns": columns,
                "background_rows": _count(background),
                "max_rows": _most_rows(len(columns), _count(background)),
            }
        )

    async def explain(
        self, version: ManagedVersion, prepared: Prepared, inputs: Tensors, deadline: float | None
    ) -> bytes:
        """Return the explanations of rows.

        Args:
            version: a version that the caller has leased.
            prepared: see `prepared`.
            inputs: values by input of the signature `raw`.
            deadline: a time.monotonic() value; None for no limit.

        Raises:
            RequestError: There are too many rows or explanations, the model failed, or the time is over.
        """
        rows, most = _count(inputs), _most_rows(len(prepared.background), _count(prepared.background))
        if not 0 < rows <= most:
            raise invalid(f"got {rows} rows to explain, expected 1 to {most}; send them in several requests")
        until = min(time.monotonic() + _SECONDS, deadline or float("inf"))
        started = time.monotonic()
        async with self._turn(until):
            explained = await self._run(version, prepared, inputs, until)
        return _document(version, prepared.signature, explained, time.monotonic() - started)

    @asynccontextmanager
    async def _turn(self, until: float) -> AsyncIterator[None]:
        if self._waiting >= _WAITING:
            raise RequestError(
                Code.UNAVAILABLE, f"{self._waiting} requests wait for an explanation already; try again later"
            )
        self._waiting += 1
        try:
            await asyncio.wait_for(self._turns.acquire(), max(until - time.monotonic(), 0))
        except (TimeoutError, asyncio.TimeoutError):
            raise RequestError(Code.DEADLINE_EXCEEDED, "Timed out waiting for other explanations") from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._turns.release()

    async def _run(
        self, version: ManagedVersion, prepared: Prepared, inputs: Tensors, until: float
    ) -> shapley.Explained:
        """Run the model on the rows that an explanation asks for, block by block."""
        engine, signature = _engine(version), prepared.signature
        output = "probabilities" if "probabilities" in signature.outputs else "prediction"
        classes = await self._classes(version, signature, inputs, until)
        steps = shapley.explain(
            inputs,
            prepared.background,
            lambda answers: shapley.targets(answers, classes, prepared.manifest.positive),
            block_rows=int(min(_BLOCK_ROWS, version.runner.most_rows if version.runner else _BLOCK_ROWS)),
        )
        answers = None
        while True:
            # In a thread: to build a block of many columns would stop the loop for some milliseconds.
            block = await asyncio.to_thread(_next, steps, answers)
            if isinstance(block, shapley.Explained):
                return block
            parts = await self._answers(version, CallTask(engine, Call(signature, block, (output,))), until)
            answers = parts[output]

    async def _classes(
        self, version: ManagedVersion, signature: Signature, inputs: Tensors, until: float
    ) -> tuple[str, ...]:
        if "classes" not in signature.outputs:
            return ()
        one = {name: values[:1] for name, values in inputs.items()}
        names = await self._answers(version, CallTask(_engine(version), Call(signature, one, ("classes",))), until)
        return tuple(name.decode("utf-8", "replace") for name in names["classes"][0])

    async def _answers(self, version: ManagedVersion, task: CallTask, until: float) -> Tensors:
        return await self._service.run(version, task, until - time.monotonic())

    async def prepared(self, version: ManagedVersion, name: str = "") -> Prepared:
        """Read what explanations of a version need.

        Args:
            version: a version that the caller has leased.
            name: the signature that a request names; '' if it names none.

        Raises:
            RequestError: The version cannot explain, or the request names another signature.
        """
        if name not in ("", _RAW):
            raise invalid(f"got the signature {name}, but explanations are of {_RAW}; leave it out")
        signature = _engine(version).signatures.get(_RAW)
        why = f"model {version.model} version {version.number} cannot explain its answers: "
        if signature is None:
            raise RequestError(Code.NOT_FOUND, f"{why}it has no signature {_RAW}")
        try:
            # From disk each time: explanations are rare, and memory is for models.
            background, manifest = await asyncio.to_thread(_read, Path(version.path))
        except (BenisonError, OSError, ValueError) as error:
            raise RequestError(Code.DATA_LOSS, f"{why}{type(error).__name__} in the files of the version") from error
        if background is None:
            raise RequestError(
                Code.NOT_FOUND,
                f"{why}it has no background rows; it is of an older release, or `serving.background` was 0",
            )
        if background.keys() != signature.inputs.keys():
            raise RequestError(Code.DATA_LOSS, f"{why}its background has other inputs than its signature {_RAW}")
        return Prepared(signature, background, manifest)


def _read(folder: Path) -> tuple[Tensors | None, Any]:
    background = backgrounds.read(folder)
    return background, local.read_manifest(folder) if background is not None else None


def _next(
    steps: Generator[Mapping[str, Any], Any, shapley.Explained], answers: Any
) -> Mapping[str, Any] | shapley.Explained:
    """Return the next inputs, or the result."""
    try:
        return steps.send(answers)
    except StopIteration as end:
        result: shapley.Explained = end.value
        return result


def _document(version: ManagedVersion, signature: Signature, explained: shapley.Explained, seconds: float) -> bytes:
    explanations: Sequence[dict[str, Any]] = [
        {
            "of": explanation.of,
            "answer": explanation.answer,
            "mean": explanation.mean,
            "shares": {signature.column_of(name): share for name, share in explanation.shares.items()},
        }
        for explanation in explained.explanations
    ]
    return orjson.dumps(
        {
            "model": version.model,
            "version": version.number,
            "explanations": explanations,
            "background_rows": explained.background_rows,
            "model_calls": explained.calls,
            "scored_rows": explained.scored_rows,
            "seconds": round(seconds, 4),
        }
    )


def _count(inputs: Tensors) -> int:
    return len(next(iter(inputs.values()))) if inputs else 0


def _most_rows(columns: int, background_rows: int) -> int:
    """Return how many rows a request may have: `MOST_ROWS`, or fewer if there are very many columns."""
    of_one = shapley.count_scored_rows(1, columns, background_rows)
    return max(min(MOST_ROWS, MOST_SCORED_ROWS // of_one), 1)


def _engine(version: ManagedVersion) -> Engine:
    if version.engine is None:
        raise RequestError(Code.UNAVAILABLE, f"model {version.model} version {version.number} is not loaded")
    return version.engine
