"""The trial of a candidate on a model server: all serving paths must agree, and the budgets must be kept.

A new model server serves the candidate and each of its members. It receives real rows of `test` and boundary rows
(`benison.components.deploy.boundary_rows`) over REST and gRPC. These paths must agree:

| path       | meaning                                                                            |
|------------|------------------------------------------------------------------------------------|
| training   | each member as its Trainer exported it, in this process, combined by the spec      |
| fused gRPC | the candidate's `raw` signature over gRPC                                          |
| fused REST | the candidate's `raw` signature over REST                                          |
| examples   | the candidate's `serving_default` on the tf.Examples of the real rows, over gRPC   |
| fan-out    | the members' `raw` signatures over gRPC, combined by the spec in the client        |

If the members refuse a boundary row with an error (an empty text is not an image), the candidate must refuse it too.

Load time, peak memory and latency must stay within the budgets. If a budget is exceeded, it is measured again in a new
process. The best of several attempts counts, since other load on the machine can only make the figures worse.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components.deploy import candidate_server, path_parity
from benison.components.deploy.boundary_rows import boundary_rows
from benison.components.deploy.candidate_server import CandidateError
from benison.components.deploy.raw_rows import raw_rows
from benison.serving.client import ServerError
from benison.serving.ensemble import Ensemble
from benison.serving.errors import EnsembleError
from benison.serving.fan_out import Endpoint, FanOut

CANDIDATE = "candidate"
REFERENCE = "the training path"
MAX_ATTEMPTS = 3
_WARM_UP_REQUESTS, _MIN_REQUESTS, _MAX_REQUESTS, _MEASURE_S = (
    10,
    30,
    300,
    5.0,
)  # requests per measurement, and the time after which it may end


@dataclass(frozen=True)
class ServingBudget:
    """Limits of the candidate's costs.

    Attributes:
        load_s: time from the start of a server until it answers (seconds), including the start of the server.
        memory_mb: peak resident memory of a server that has only the candidate (MB of 2^20 bytes).
        p99_ms: 99th percentile of the latency of sequential gRPC requests with one row (milliseconds).
    """

    load_s: float
    memory_mb: float
    p99_ms: float


class ServingTrial:
    """The trial of one candidate and its members, with the rows that are sent to them."""

    def __init__(
        self,
        spec: Ensemble,
        candidate: Path,
        members: Mapping[str, Path],
        budget: ServingBudget,
        records: NDArray,
        columns: Mapping[str, Any],
        label: str,
    ) -> None:
        self._spec = spec
        self._candidate = candidate
        self._members = members
        self._budget = budget
        self._records = records
        self._inputs = _rows(records, columns, label)
        self._refused: list[dict[str, NDArray]] = []

    async def run(self) -> dict[str, Any]:
        """Run the trial; return its record: verdicts, parity by path, and the measurements of each attempt."""
        verdicts: list[dict[str, Any]] = []
        measured: list[dict[str, float]] = []
        paths: list[path_parity.PathParity] = []
        reference = asyncio.create_task(asyncio.to_thread(self._compute_reference))  # while the server starts
        try:
            paths, answered = await self._parity(reference)
            for path in paths:
                verdicts.append(_verdict(f"parity of {path.path}", path.agrees, path.describe(REFERENCE)))
            if self._refused:
                reason = f"{answered} of {len(self._refused)} boundary rows that the members refuse get an answer"
                verdicts.append(_verdict("refuses what its members refuse", answered == 0, reason))
            while len(measured) < MAX_ATTEMPTS and (not measured or self._over(measured)):
                measured.append(await self._measure())
            verdicts += self._budget_verdicts(measured)
        except CandidateError as error:
            verdicts.append(_verdict("loads", False, str(error)))
        except (ServerError, EnsembleError) as error:
            verdicts.append(_verdict("answers", False, f"a row of `test` or a boundary row got no answer: {error}"))
        await reference
        return {
            "blessed": all(verdict["passed"] for verdict in verdicts),
            "verdicts": verdicts,
            "parity": [path.to_json() for path in paths],
            "measured": measured,
            "budget": asdict(self._budget),
            "rows": {"real": len(self._records), "all": len(self._reference), "refused": len(self._refused)},
        }

    def certificate_rows(self) -> dict[str, NDArray]:
        """Return the rows of `run` and the expected answers, so that a server can be checked with them later."""
        texts = {
            name: values.astype(bytes) if values.dtype == object else values for name, values in self._inputs.items()
        }
        return {**{f"input:{name}": values for name, values in texts.items()}, "expected": self._reference}

    def _compute_reference(self) -> None:
        """Compute the answers of the training path to all rows, and to the real rows as tf.Examples."""
        import tensorflow as tf

        loaded = {name: tf.saved_model.load(str(path)) for name, path in self._members.items()}
        try:
            self._reference = self._combined(loaded, "raw", self._inputs)
        except tf.errors.InvalidArgumentError:
            self._separate_refused(loaded)
            self._reference = self._combined(loaded, "raw", self._inputs)
        self._of_records = self._combined(loaded, "serving_default", {"examples": self._records})

    def _separate_refused(self, loaded: Mapping[str, Any]) -> None:
        """Move the boundary rows that a member answers with an error from the inputs to the refused rows."""
        import tensorflow as tf

        kept = list(range(len(self._records)))
        for row in range(len(self._records), len(next(iter(self._inputs.values())))):
            single = {name: values[row : row + 1] for name, values in self._inputs.items()}
            try:
                self._combined(loaded, "raw", single)
                kept.append(row)
            except tf.errors.InvalidArgumentError:
                self._refused.append(single)
        self._inputs = {name: values[kept] for name, values in self._inputs.items()}

    def _combined(self, loaded: Mapping[str, Any], signature: str, inputs: Mapping[str, NDArray]) -> NDArray:
        import tensorflow as tf

        tensors = {name: tf.constant(values) for name, values in inputs.items()}
        outputs = {name: model.signatures[signature](**tensors)[self._spec.output] for name, model in loaded.items()}
        return np.asarray(self._spec.combine(outputs))

    async def _parity(self, reference: asyncio.Task[None]) -> tuple[list[path_parity.PathParity], int]:
        """Return the parity of each path, and how many of the refused rows the candidate answered."""
        models = {CANDIDATE: self._candidate, **{f"{CANDIDATE}-{name}": path for name, path in self._members.items()}}
        output = self._spec.output
        async with candidate_server.serve(models, self._patience()) as server:
            await reference
            by_grpc = await server.grpc.predict(CANDIDATE, self._inputs, signature="raw", outputs=[output])
            columns = {name: _json(values) for name, values in self._inputs.items()}
            by_rest = await server.rest.predict(CANDIDATE, inputs=columns, signature="raw")
            of_examples = await server.grpc.predict(CANDIDATE, {"examples": self._records}, outputs=[output])
            target = server.target
            endpoints = {
                name: Endpoint(target, f"{CANDIDATE}-{name}", candidate_server.VERSION) for name in self._spec.members
            }
            async with FanOut(self._spec, endpoints, deadline_s=30.0) as fan_out:
                by_fan_out = await fan_out.predict(self._inputs)
            answered = 0
            for row in self._refused:
                with contextlib.suppress(ServerError):
                    await server.grpc.predict(CANDIDATE, row, signature="raw", outputs=[output])
                    answered += 1
        answer = by_rest[output] if isinstance(by_rest, dict) else by_rest
        compared = path_parity.compare(
            self._reference,
            {"fused gRPC": by_grpc[output], "fused REST": np.array(answer, np.float64), "fan-out": by_fan_out.values},
        )
        return compared + path_parity.compare(self._of_records, {"examples": of_examples[output]}), answered

    async def _measure(self) -> dict[str, float]:
        """Measure load time, latency and peak memory of a server that has only the candidate."""
        row = {name: values[:1] for name, values in self._inputs.items()}
        async with candidate_server.serve({CANDIDATE: self._candidate}, self._patience()) as server:
            seconds: list[float] = []
            while len(seconds) < _WARM_UP_REQUESTS + _MIN_REQUESTS or (
                len(seconds) < _MAX_REQUESTS and sum(seconds) < _MEASURE_S
            ):
                started = time.perf_counter()
                await server.grpc.predict(CANDIDATE, row, signature="raw", outputs=[self._spec.output])
                seconds.append(time.perf_counter() - started)
            return {
                "load_s": server.load_s,
                "memory_mb": server.peak_memory_mb(),
                "p99_ms": float(np.quantile(seconds[_WARM_UP_REQUESTS:], 0.99)) * 1000,
            }

    def _patience(self) -> float:
        # More than twice the budget, so that a model that exceeds it is refused with the measured time if possible.
        return 2 * self._budget.load_s + 30

    def _over(self, measured: list[dict[str, float]]) -> bool:
        return any(
            value > limit
            for value, limit in zip(_best_of_attempts(measured).values(), asdict(self._budget).values(), strict=True)
        )

    def _budget_verdicts(self, measured: list[dict[str, float]]) -> list[dict[str, Any]]:
        limits, best = asdict(self._budget), _best_of_attempts(measured)
        attempts = f", the best of {len(measured)} attempts" if len(measured) > 1 else ""
        quantities = {"load_s": ("load time", "s"), "memory_mb": ("peak memory", "MB"), "p99_ms": ("p99 latency", "ms")}
        return [
            _verdict(
                f"{quantity} <= {limits[key]:g} {unit}",
                best[key] <= limits[key],
                f"{quantity} {best[key]:.3g} {unit}{attempts}; the budget is {limits[key]:g} {unit}",
            )
            for key, (quantity, unit) in quantities.items()
        ]


def _best_of_attempts(measured: list[dict[str, float]]) -> dict[str, float]:
    return {key: min(attempt[key] for attempt in measured) for key in measured[0]}


def _verdict(rule: str, passed: bool, reason: str) -> dict[str, Any]:
    return {"rule": rule, "passed": passed, "reason": reason}


def _rows(records: NDArray, columns: Mapping[str, Any], label: str) -> dict[str, NDArray]:
    """Return the real rows as inputs of `raw`, followed by the boundary rows."""
    real = raw_rows(records, columns, label)
    boundary = boundary_rows({name: values.dtype for name, values in real.items()}, real)
    return {name: np.concatenate([values, boundary[name]]) for name, values in real.items()}


def _json(values: NDArray) -> list[Any]:
    """Convert values to JSON: text as text, other bytes as base64, numbers as numbers (NaN in TF Serving's form)."""
    return [_text(value) if isinstance(value, bytes) else value.item() for value in values]


def _text(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}
