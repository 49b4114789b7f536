"""A candidate tried on a model server: do all paths agree, and does it keep its budgets?

The candidate, and its members one by one, are served by a fresh model server, which is sent real rows of `test` and
rows at the edges (`benison.components.deploy.boundary_rows`) over REST and gRPC. These paths must agree:

| path       | what it is                                                                         |
|------------|------------------------------------------------------------------------------------|
| training   | each member as its Trainer left it, in this process, combined by the spec          |
| fused gRPC | the candidate's `raw` signature over gRPC                                          |
| fused REST | the same over REST                                                                 |
| examples   | the candidate's `serving_default` on the tf.Examples of the real rows, over gRPC   |
| fan-out    | the members' `raw` signatures over gRPC, combined by the spec as the client does   |

Rows at the edges that the members themselves refuse with an error (an empty text is no picture) must get one from the
candidate, too.

Load time, peak memory and latency must stay within the budgets. A budget that is broken is measured again in
another fresh process before it counts: of several tries the best is what the model can do, the rest is the machine.
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
_WARM_UP_REQUESTS, _MIN_REQUESTS, _MAX_REQUESTS, _MEASURE_S = 10, 30, 300, 5.0  # requests of a measurement, and when it is long enough


@dataclass(frozen=True)
class ServingBudget:
    """What the candidate may cost.

    Attributes:
        load_s: from the start of a server until it answers (seconds), the server's own start included.
        memory_mb: the server's peak resident memory with the candidate alone (MB, of 2^20 bytes).
        p99_ms: 99 % of requests of one row, one after the other, over gRPC (milliseconds).
    """

    load_s: float
    memory_mb: float
    p99_ms: float


class ServingTrial:
    """One candidate, its members and the rows that they are asked."""

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
        """The certificate: verdicts, parity by path, and what was measured in each try."""
        verdicts: list[dict[str, Any]] = []
        measured: list[dict[str, float]] = []
        paths: list[path_parity.PathParity] = []
        here = asyncio.create_task(asyncio.to_thread(self._answer_here))  # while the server starts
        try:
            paths, answered = await self._parity(here)
            for path in paths:
                verdicts.append(_verdict(f"parity of {path.path}", path.agrees, path.sentence(REFERENCE)))
            if self._refused:
                said = f"{answered} of {len(self._refused)} rows at the edges that the members refuse get an answer"
                verdicts.append(_verdict("refuses what its members refuse", answered == 0, said))
            while len(measured) < MAX_ATTEMPTS and (not measured or self._over(measured)):
                measured.append(await self._measure())
            verdicts += self._budget_verdicts(measured)
        except CandidateError as error:
            verdicts.append(_verdict("loads", False, str(error)))
        except (ServerError, EnsembleError) as error:
            verdicts.append(_verdict("answers", False, f"a row of `test`, or one at the edges, got no answer: {error}"))
        await here
        return {
            "blessed": all(verdict["passed"] for verdict in verdicts),
            "verdicts": verdicts,
            "parity": [path.to_json() for path in paths],
            "measured": measured,
            "budget": asdict(self._budget),
            "rows": {"real": len(self._records), "all": len(self._reference), "refused": len(self._refused)},
        }

    def certificate_rows(self) -> dict[str, NDArray]:
        """The rows that `run` asked and what they must give, to be asked again by whoever serves the version."""
        texts = {
            name: values.astype(bytes) if values.dtype == object else values for name, values in self._inputs.items()
        }
        return {**{f"input:{name}": values for name, values in texts.items()}, "expected": self._reference}

    def _answer_here(self) -> None:
        """The training path's answers to all rows, and to the real ones as tf.Examples."""
        import tensorflow as tf

        loaded = {name: tf.saved_model.load(str(path)) for name, path in self._members.items()}
        try:
            self._reference = self._combined(loaded, "raw", self._inputs)
        except tf.errors.InvalidArgumentError:
            self._set_refused_aside(loaded)
            self._reference = self._combined(loaded, "raw", self._inputs)
        self._of_records = self._combined(loaded, "serving_default", {"examples": self._records})

    def _set_refused_aside(self, loaded: Mapping[str, Any]) -> None:
        """Leaves those rows at the edges out of the inputs that a member answers with an error."""
        import tensorflow as tf

        kept = list(range(len(self._records)))
        for row in range(len(self._records), len(next(iter(self._inputs.values())))):
            one = {name: values[row : row + 1] for name, values in self._inputs.items()}
            try:
                self._combined(loaded, "raw", one)
                kept.append(row)
            except tf.errors.InvalidArgumentError:
                self._refused.append(one)
        self._inputs = {name: values[kept] for name, values in self._inputs.items()}

    def _combined(self, loaded: Mapping[str, Any], signature: str, inputs: Mapping[str, NDArray]) -> NDArray:
        import tensorflow as tf

        given = {name: tf.constant(values) for name, values in inputs.items()}
        outputs = {name: model.signatures[signature](**given)[self._spec.output] for name, model in loaded.items()}
        return np.asarray(self._spec.combine(outputs))

    async def _parity(self, here: asyncio.Task[None]) -> tuple[list[path_parity.PathParity], int]:
        """Each path's parity, and how many of the refused rows got an answer all the same."""
        models = {CANDIDATE: self._candidate, **{f"{CANDIDATE}-{name}": path for name, path in self._members.items()}}
        wanted = self._spec.output
        async with candidate_server.serve(models, self._patience()) as server:
            await here
            by_grpc = await server.grpc.predict(CANDIDATE, self._inputs, signature="raw", outputs=[wanted])
            columns = {name: _json(values) for name, values in self._inputs.items()}
            by_rest = await server.rest.predict(CANDIDATE, inputs=columns, signature="raw")
            of_examples = await server.grpc.predict(CANDIDATE, {"examples": self._records}, outputs=[wanted])
            target = server.target
            endpoints = {
                name: Endpoint(target, f"{CANDIDATE}-{name}", candidate_server.VERSION) for name in self._spec.members
            }
            async with FanOut(self._spec, endpoints, deadline_s=30.0) as fan_out:
                fanned = await fan_out.predict(self._inputs)
            answered = 0
            for row in self._refused:
                with contextlib.suppress(ServerError):
                    await server.grpc.predict(CANDIDATE, row, signature="raw", outputs=[wanted])
                    answered += 1
        answer = by_rest[wanted] if isinstance(by_rest, dict) else by_rest
        compared = path_parity.compare(
            self._reference,
            {"fused gRPC": by_grpc[wanted], "fused REST": np.array(answer, np.float64), "fan-out": fanned.values},
        )
        return compared + path_parity.compare(self._of_records, {"examples": of_examples[wanted]}), answered

    async def _measure(self) -> dict[str, float]:
        """Load time, latency and peak memory of a server with the candidate alone."""
        one = {name: values[:1] for name, values in self._inputs.items()}
        async with candidate_server.serve({CANDIDATE: self._candidate}, self._patience()) as server:
            seconds: list[float] = []
            while len(seconds) < _WARM_UP_REQUESTS + _MIN_REQUESTS or (len(seconds) < _MAX_REQUESTS and sum(seconds) < _MEASURE_S):
                started = time.perf_counter()
                await server.grpc.predict(CANDIDATE, one, signature="raw", outputs=[self._spec.output])
                seconds.append(time.perf_counter() - started)
            return {
                "load_s": server.load_s,
                "memory_mb": server.peak_memory_mb(),
                "p99_ms": float(np.quantile(seconds[_WARM_UP_REQUESTS:], 0.99)) * 1000,
            }

    def _patience(self) -> float:
        # Twice the budget: a model that takes longer has lost anyway, and is to be told so with its figure if possible.
        return 2 * self._budget.load_s + 30

    def _over(self, measured: list[dict[str, float]]) -> bool:
        return any(
            value > limit for value, limit in zip(_best_of_attempts(measured).values(), asdict(self._budget).values(), strict=True)
        )

    def _budget_verdicts(self, measured: list[dict[str, float]]) -> list[dict[str, Any]]:
        limits, best = asdict(self._budget), _best_of_attempts(measured)
        tries = f", the best of {len(measured)} tries" if len(measured) > 1 else ""
        words = {"load_s": ("load time", "s"), "memory_mb": ("peak memory", "MB"), "p99_ms": ("p99 latency", "ms")}
        return [
            _verdict(
                f"{what} <= {limits[key]:g} {unit}",
                best[key] <= limits[key],
                f"{what} {best[key]:.3g} {unit}{tries}; the budget is {limits[key]:g} {unit}",
            )
            for key, (what, unit) in words.items()
        ]


def _best_of_attempts(measured: list[dict[str, float]]) -> dict[str, float]:
    return {key: min(one[key] for one in measured) for key in measured[0]}


def _verdict(rule: str, passed: bool, reason: str) -> dict[str, Any]:
    return {"rule": rule, "passed": passed, "reason": reason}


def _rows(records: NDArray, columns: Mapping[str, Any], label: str) -> dict[str, NDArray]:
    """Real rows as `raw` takes them, then the boundary rows."""
    real = raw_rows(records, columns, label)
    edges = boundary_rows({name: values.dtype for name, values in real.items()}, real)
    return {name: np.concatenate([values, edges[name]]) for name, values in real.items()}


def _json(values: NDArray) -> list[Any]:
    """As JSON has it: text as text, other bytes as base64, numbers as numbers (NaN as TF Serving takes it)."""
    return [_text(value) if isinstance(value, bytes) else value.item() for value in values]


def _text(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}
