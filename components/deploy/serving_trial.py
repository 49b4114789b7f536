"""The trial of a candidate on a model server: all serving paths must agree, and the budgets must be kept.

A new model server serves the candidate alone, to measure its costs, then each of its members too, if they are pushed as
models of their own. It receives real rows of `test` and boundary rows (`benison.components.deploy.boundary_rows`) over
REST and gRPC. The reference, called the training path, is Transform's own graph on tf.Examples, in which a missing cell
has no value, then each member, then the combiner of the spec: it uses no code that is only in an exported model's other
signatures. These paths must agree
with it:

| path            | meaning                                                                                    |
|-----------------|--------------------------------------------------------------------------------------------|
| evaluation      | the members' `serving_default`, which the Scorer calls, combined by the spec               |
| fused gRPC      | the candidate's `raw` signature over gRPC                                                  |
| row by row      | the same with one real row per request                                                     |
| packed gRPC     | the candidate's `packed` signature over gRPC, if it has one                                |
| fused REST      | the candidate's `raw` signature over REST                                                  |
| fused REST null | the same with null or no key for a missing cell, which only Benison's server takes         |
| examples        | the candidate's `serving_default` on tf.Examples, over gRPC                                |
| fan-out         | the members' `raw` over gRPC, combined by the spec in the client; if they are pushed too    |
| member NAME     | one output of the candidate's `members` signature, over gRPC                               |

Only `row by row` has other rows beside a row than the training path has. So it finds a feature, a member or a combiner
that uses the other rows of a request, such as their mean or the rank among them: evaluation asks for a thousand rows at
once, and a client for one.

The answer must be what it says: the classes by name in Transform's order, and probabilities of them. Every path must
refuse a row without the cell of a required column.

If the members refuse a boundary row with an error (an empty text is not an image), the candidate must refuse it too.

Load time, peak memory and latency must stay within the budgets. If a budget is exceeded, it is measured again in a new
process. The best of several attempts counts, since other load on the machine can only make the figures worse; see
`serving_costs`. If the models are not loaded in time, the trial begins once more, with more patience.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benison.components.alone import alone
from benison.components.deploy import candidate_server, serving_costs, trial_rows
from benison.components.deploy.candidate_server import CandidateError, CandidateServer, CandidateTimeout
from benison.components.deploy.serving_costs import ServingBudget
from benison.components.deploy.trial_rows import IncompleteRow, TrialRows
from benison.components.transform import as_arguments, as_columns
from benison.serving import missing_values, path_parity
from benison.serving.client import GrpcClient, ServerError
from benison.serving.ensemble import Ensemble
from benison.serving.errors import EnsembleError
from benison.serving.fan_out import Endpoint, FanOut

CANDIDATE = "candidate"
REFERENCE = "the training path"
ROW_BY_ROW = "row by row"
_OTHER_ROWS = (
    "; the answer to a row must not depend on the other rows of a request: look for a mean, a rank or an order over the"
    " batch in preprocessing_fn, in a member or in the combiner"
)
_PROBABILITY = 1e-4  # tolerance of a probability and of the sum of a row
_WARM_UP_REQUESTS, _MIN_REQUESTS, _MAX_REQUESTS, _MEASURE_S = (
    10,
    30,
    300,
    5.0,
)  # requests per measurement, and the time after which it may end


@dataclass(frozen=True)
class TrialData:
    """The data of a trial.

    Attributes:
        records: serialised tf.Examples of the real rows.
        spec: parsing spec of the raw features, with the label.
        label: name of the label, which is not an input.
        transform: Transform's graph: from parsed raw features to transformed features, by name.
        classes: class names by id; empty for regression.
        seen: the smallest and the largest value of numeric features in `train`.
    """

    records: NDArray
    spec: Mapping[str, Any]
    label: str
    transform: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    classes: Sequence[str] = ()
    seen: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Answers:
    """The server's answers, compared with those of the training path.

    Attributes:
        paths: parity of each path.
        refused: how many of the rows that the members refuse got an answer.
        incomplete: the required columns whose missing cell got an answer.
        classes: class names [rows, classes]; None for regression.
    """

    paths: list[path_parity.PathParity]
    refused: int
    incomplete: list[str]
    classes: NDArray | None


class ServingTrial:
    """The trial of one candidate and its members, with the rows that are sent to them.

    Args:
        spec: the ensemble.
        candidate: the folder of its SavedModel.
        members: the folders of the members' SavedModels, by name.
        budget: limits of load time, memory and latency.
        data: the data of the trial.
        fan_out: the members are pushed as models of their own too, so a server must serve them.
        notes: what explains a figure of the costs, by its name in the budget.
    """

    def __init__(
        self,
        spec: Ensemble,
        candidate: Path,
        members: Mapping[str, Path],
        budget: ServingBudget,
        data: TrialData,
        *,
        fan_out: bool = True,
        notes: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._spec = spec
        self._candidate = candidate
        self._members = members
        self._budget = budget
        self._data = data
        self._fan_out = fan_out
        self._notes = notes
        arguments = missing_values.arguments(missing_values.read_inputs(candidate) or {})
        self._rows, self._incomplete = trial_rows.build(data.records, data.spec, arguments, data.seen)
        self._packed = missing_values.read_packed(candidate)
        self._refused: list[dict[str, NDArray]] = []
        self._patience_factor = 1.0
        self._reference: NDArray = np.zeros((0, 0), np.float32)

    async def run(self) -> dict[str, Any]:
        """Run the trial; return its record: verdicts, parity by path, and the measurements of each attempt."""
        reference = asyncio.create_task(asyncio.to_thread(self._compute_reference))  # while the server starts
        try:
            verdicts, paths, measured = await self._try(reference)
        except CandidateTimeout:  # a busy machine may need longer, and has no longer the first start of the server
            self._patience_factor = 2.0
            verdicts, paths, measured = await self._try(reference, last=True)
        with contextlib.suppress(EnsembleError):  # then it has a verdict
            await reference
        return {
            "blessed": all(verdict["passed"] for verdict in verdicts),
            "verdicts": verdicts,
            "parity": [path.to_json() for path in paths],
            "measured": measured,
            "budget": asdict(self._budget),
            "rows": {"real": self._rows.real, "all": len(self._rows), "refused": len(self._refused)},
        }

    async def _try(
        self, reference: asyncio.Task[None], *, last: bool = False
    ) -> tuple[list[dict[str, Any]], list[path_parity.PathParity], list[dict[str, float]]]:
        """Return the verdicts, the parity of each path and the measurements of one trial.

        Args:
            reference: computes the answers of the training path.
            last: a timeout is a verdict.

        Raises:
            CandidateTimeout: the models were not loaded in time.
        """
        verdicts: list[dict[str, Any]] = []
        paths: list[path_parity.PathParity] = []
        measured: list[dict[str, float]] = []
        try:
            async with self._serve() as server:
                await reference
                answers = await self._ask(server)
                paths = answers.paths
                measured.append(await self._measure(server))
                if self._fan_out:
                    await server.add({_model(name): path for name, path in self._members.items()}, self._patience())
                    paths += path_parity.compare(self._reference, {"fan-out": await self._ask_members(server)})
            verdicts += self._answer_verdicts(answers)
            # The costs of a candidate that answers wrongly do not matter.
            if all(verdict["passed"] for verdict in verdicts):
                while serving_costs.needs_another_attempt(measured, self._budget):
                    async with self._serve() as server:
                        measured.append(await self._measure(server))
                verdicts += serving_costs.verdicts(measured, self._budget, self._notes)
        except CandidateError as error:
            if isinstance(error, CandidateTimeout) and not last:
                raise
            load = f" (load average {serving_costs.load_average():.1f})" if last else ""
            verdicts.append(_verdict("loads", False, f"{error}{load}"))
        except (ServerError, EnsembleError) as error:
            verdicts.append(_verdict("answers", False, f"a row of `test` or a boundary row got no answer: {error}"))
        return verdicts, paths, measured

    def certificate_rows(self) -> dict[str, NDArray]:
        """Return the rows of `run` and the expected answers, so that a server can be checked with them later."""
        texts = {
            name: values.astype(bytes) if values.dtype == object else values
            for name, values in self._rows.inputs.items()
        }
        return {**{f"input:{name}": values for name, values in texts.items()}, "expected": self._reference}

    def _compute_reference(self) -> None:
        """Compute the answers of the training path and of evaluation to all rows that the members accept."""
        import tensorflow as tf

        loaded = {name: tf.saved_model.load(str(path)) for name, path in self._members.items()}
        try:
            outputs = self._trained(loaded, self._rows)
        except tf.errors.InvalidArgumentError:
            self._separate_refused(loaded)
            outputs = self._trained(loaded, self._rows)
        self._by_member = {name: np.asarray(values) for name, values in outputs.items()}
        self._reference = np.asarray(self._spec.combine(outputs))
        examples = tf.constant(self._rows.examples)
        evaluated = {
            name: _output(model.signatures["serving_default"](examples), self._spec.output, f"member {name}")
            for name, model in loaded.items()
        }
        self._evaluated = np.asarray(self._spec.combine(evaluated))

    def _separate_refused(self, loaded: Mapping[str, Any]) -> None:
        """Move the boundary rows that a member answers with an error from the rows to the refused rows."""
        import tensorflow as tf

        kept = list(range(self._rows.real))
        for row in range(self._rows.real, len(self._rows)):
            single = self._rows.select([row])
            try:
                self._trained(loaded, single)
                kept.append(row)
            except tf.errors.InvalidArgumentError:
                self._refused.append(dict(single.inputs))
        self._rows = self._rows.select(kept)

    def _trained(self, loaded: Mapping[str, Any], rows: TrialRows) -> dict[str, Any]:
        """Return each member's output for rows, as it was trained: on the output of Transform's graph."""
        import tensorflow as tf

        inputs = {name: feature for name, feature in self._data.spec.items() if name != self._data.label}
        transformed = as_columns(self._data.transform(tf.io.parse_example(tf.constant(rows.examples), inputs)))
        arguments = as_arguments(transformed)
        return {
            name: _output(model.signatures["transformed"](**arguments), self._spec.output, f"member {name}")
            for name, model in loaded.items()
        }

    def _serve(self) -> contextlib.AbstractAsyncContextManager[CandidateServer]:
        """Start a server that has only the candidate."""
        # What is measured is the candidate, so its members need not be quick.
        return candidate_server.serve(
            {CANDIDATE: self._candidate}, self._patience(), map(_model, self._members), own=True
        )

    async def _ask(self, server: CandidateServer) -> _Answers:
        """Send all rows to the candidate on every path."""
        output = self._spec.output
        rows, grpc, rest = self._rows, server.grpc, server.rest
        answers = {"evaluation": self._evaluated}
        by_grpc = await grpc.predict(CANDIDATE, rows.inputs, signature="raw")
        answers["fused gRPC"] = _output(by_grpc, output, "the candidate's `raw`")
        if self._packed:
            packed = {dtype: np.stack([rows.inputs[n] for n in order], axis=1) for dtype, order in self._packed.items()}
            answer = await grpc.predict(CANDIDATE, packed, signature="packed")
            answers["packed gRPC"] = _output(answer, output, "the candidate's `packed`")
        by_rest = await rest.predict(CANDIDATE, inputs=rows.json_columns(), signature="raw")
        answers["fused REST"] = _values(by_rest, output)
        if server.fills_missing:
            with_null = await rest.predict(CANDIDATE, instances=rows.json_rows(), signature="raw")
            answers["fused REST null"] = np.array([_values(row, output) for row in with_null])
        signatures = await grpc.metadata(CANDIDATE)
        (examples,) = signatures["serving_default"].inputs
        answers["examples"] = (await grpc.predict(CANDIDATE, {examples: rows.examples}, outputs=[output]))[output]
        paths = path_parity.compare(self._reference, answers)
        paths += path_parity.compare(self._reference[: rows.real], {ROW_BY_ROW: await self._ask_row_by_row(grpc)})
        if "members" in signatures:
            by_member = await grpc.predict(CANDIDATE, rows.inputs, signature="members")
            for name, values in by_member.items():
                paths += path_parity.compare(self._by_member[name], {f"member {name}": values})
        return _Answers(
            paths,
            sum([await _answers(grpc.predict(CANDIDATE, row, signature="raw")) for row in self._refused]),
            [row.column for row in self._incomplete if await _is_answered(server, row, examples)],
            by_grpc.get("classes"),
        )

    async def _ask_members(self, server: CandidateServer) -> NDArray:
        """Return the answers of the members as models of their own, combined by the spec."""
        names = self._spec.members
        endpoints = {name: Endpoint(server.target, _model(name), candidate_server.VERSION) for name in names}
        async with FanOut(self._spec, endpoints, deadline_s=30.0) as fan_out:
            return np.asarray((await fan_out.predict(self._rows.inputs)).values)

    async def _ask_row_by_row(self, grpc: GrpcClient) -> NDArray:
        """Return the candidate's answers to the real rows, each in a request of its own."""
        answers = []
        for row in range(self._rows.real):
            single = {name: values[row : row + 1] for name, values in self._rows.inputs.items()}
            answers.append(await grpc.predict(CANDIDATE, single, signature="raw"))
        return np.concatenate([_output(answer, self._spec.output, "the candidate's `raw`") for answer in answers])

    def _answer_verdicts(self, answers: _Answers) -> list[dict[str, Any]]:
        wrong = [path.path for path in answers.paths if not path.agrees]
        hints = {ROW_BY_ROW: _OTHER_ROWS} if wrong == [ROW_BY_ROW] else {}
        verdicts = [
            _verdict(f"parity of {path.path}", path.agrees, path.describe(REFERENCE) + hints.get(path.path, ""))
            for path in answers.paths
        ]
        if self._refused:
            reason = f"{answers.refused} of {len(self._refused)} boundary rows that the members refuse get an answer"
            verdicts.append(_verdict("refuses what its members refuse", answers.refused == 0, reason))
        if self._incomplete:
            reason = (
                f"a row without a value of {', '.join(answers.incomplete)} gets an answer, but the schema requires one"
                if answers.incomplete
                else f"a missing cell of each of {len(self._incomplete)} required columns is refused"
            )
            verdicts.append(_verdict("refuses a missing cell of a required column", not answers.incomplete, reason))
        if self._spec.output == "probabilities":
            verdicts += [self._classes_verdict(answers.classes), self._probabilities_verdict()]
        return verdicts

    def _classes_verdict(self, classes: NDArray | None) -> dict[str, Any]:
        expected = ", ".join(self._data.classes)
        if classes is None:
            return _verdict("names its classes", False, f"the candidate has no output `classes`; expected {expected}")
        rows = {tuple(name.decode() for name in row) for row in classes}
        if rows == {tuple(self._data.classes)}:
            return _verdict("names its classes", True, f"the probabilities are those of {expected}")
        got = "; ".join(", ".join(row) for row in sorted(rows))
        return _verdict("names its classes", False, f"the candidate names its probabilities {got}; expected {expected}")

    def _probabilities_verdict(self) -> dict[str, Any]:
        # In a row with an extreme number an answer may overflow.
        finite = self._reference[np.isfinite(self._reference).all(axis=1)]
        wrong = (finite < -_PROBABILITY).any(axis=1) | (np.abs(finite.sum(axis=1) - 1) > _PROBABILITY)
        if not wrong.any():
            return _verdict("answers probabilities", True, f"the answers to {len(finite)} rows are probabilities")
        row = ", ".join(f"{value:.4g}" for value in finite[wrong][0])
        return _verdict(
            "answers probabilities",
            False,
            f"{int(wrong.sum())} of {len(finite)} answers are not probabilities, such as {row}; expected values from 0 "
            "to 1 whose sum is 1: check the members' last layers and the combiner",
        )

    async def _measure(self, server: CandidateServer) -> dict[str, float]:
        """Measure load time, latency and peak memory of a server that has only the candidate.

        Other nodes run while the server starts and answers the trial's rows, but not while latency is measured.
        """
        row = {name: values[:1] for name, values in self._rows.inputs.items()}
        seconds: list[float] = []
        with contextlib.ExitStack() as stack:
            await asyncio.to_thread(stack.enter_context, alone())  # it may wait for long
            before = server.processor_s()
            while len(seconds) < _WARM_UP_REQUESTS + _MIN_REQUESTS or (
                len(seconds) < _MAX_REQUESTS and sum(seconds) < _MEASURE_S
            ):
                started = time.perf_counter()
                await server.grpc.predict(CANDIDATE, row, signature="raw")
                seconds.append(time.perf_counter() - started)
            used = server.processor_s() - before
        return {
            "load_s": server.load_s,
            "memory_mb": server.peak_memory_mb(),
            "p99_ms": float(np.quantile(seconds[_WARM_UP_REQUESTS:], 0.99)) * 1000,
            "load_processor_s": server.load_processor_s,
            "request_processor_ms": used / len(seconds) * 1000,
            "load_average": serving_costs.load_average(),
        }

    def _patience(self) -> float:
        # More than twice the budget, so that a model that exceeds it is refused with the measured time if possible.
        return self._patience_factor * (2 * self._budget.load_s + 30)


def _model(member: str) -> str:
    """Return the name under which a member is served."""
    return f"{CANDIDATE}-{member}"


def _verdict(rule: str, passed: bool, reason: str) -> dict[str, Any]:
    return {"rule": rule, "passed": passed, "reason": reason}


def _output(outputs: Mapping[str, Any], name: str, model: str) -> Any:
    """Return an output by its name.

    Raises:
        EnsembleError: It does not exist.
    """
    if name not in outputs:
        raise EnsembleError(f"{model} has no output {name!r}; it has {', '.join(sorted(outputs))}")
    return outputs[name]


def _values(answer: Any, output: str) -> NDArray:
    """Return an output of a REST answer, which has no name if it is the only one."""
    return np.array(_output(answer, output, "the answer over REST") if isinstance(answer, dict) else answer, np.float64)


async def _is_answered(server: CandidateServer, row: IncompleteRow, examples: str) -> bool:
    """Return True if the candidate answers a row that it must refuse; `examples` is the input of `serving_default`."""
    records = np.array([row.example], object)
    return await _answers(server.grpc.predict(CANDIDATE, {examples: records})) or await _answers(
        server.rest.predict(CANDIDATE, instances=[row.json], signature="raw")
    )


async def _answers(request: Awaitable[Any]) -> bool:
    try:
        await request
    except ServerError:
        return False
    return True
