"""Requests share a run only if this does not change their answers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from benison.serving.server.batching.limits import BatchLimits
from benison.serving.server.batching.runner import Runner
from benison.serving.server.batching.sharing import Sharing
from benison.serving.server.engine import Signature, TensorSpec
from benison.serving.server.inference import Call
from benison.serving.server.status import Code, RequestError

np_any: Any = np  # numpy's stubs do not let a scalar's class make an array

FREE, FIXED = TensorSpec("float32", (-1,)), TensorSpec("float32", (3,))
DOUBLE = Signature("double", "", {"x": FREE}, {"y": FREE})


class Engine:
    """Doubles rows behind a gate; a row of -1 fails the whole run."""

    kind = "fake"
    parallel = True

    def __init__(self, function=lambda x: 2 * x) -> None:
        self.signatures: Mapping[str, Signature] = {"double": DOUBLE}
        self.sizes: list[int] = []
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.function = function
        self.closed = False

    def run(self, signature, inputs, outputs, seconds=0):
        self.entered.set()
        self.gate.wait(10)
        self.sizes.append(len(inputs["x"]))
        if (inputs["x"] == -1).any():
            raise ValueError("a bad row")
        return {"y": self.function(inputs["x"])}

    def close(self) -> None:
        self.closed = True


def call(*rows: float, signature: Signature = DOUBLE) -> Call:
    return Call(signature, {"x": np_any.float32(rows)}, ("y",))


def answers(
    engine: Engine,
    calls: list[Call],
    limits: BatchLimits = BatchLimits(),  # noqa: B008
    sharing: Sharing | None = None,
) -> list:
    """Submit the first call, and the others while the engine is busy with it; return the answers."""

    async def run() -> list:
        runner = Runner(engine, limits, asyncio.get_running_loop(), "model m version 1", sharing=sharing)
        futures = [runner.submit(calls[0])]
        await asyncio.to_thread(engine.entered.wait, 10)
        futures += [runner.submit(later) for later in calls[1:]]
        engine.gate.set()
        results: list[Any] = await asyncio.gather(*futures, return_exceptions=True)
        await asyncio.to_thread(runner.close)
        assert engine.closed
        return [str(result) if isinstance(result, Exception) else result["y"].tolist() for result in results]

    return asyncio.run(run())


def test_requests_that_arrive_during_a_run_share_the_next():
    engine = Engine()
    assert answers(engine, [call(1), call(2), call(3, 4), call(5)]) == [[2], [4], [6, 8], [10]]
    assert engine.sizes[:2] == [1, 4]


def test_what_must_not_share_a_run_runs_alone_without_padding_and_without_a_timer():
    engine = Engine(lambda x: x - x.mean())
    calls = [call(0, 1), *(call(n, n + 2) for n in range(1, 30))]
    limits = BatchLimits(max_rows=4, timeout=60.0, allowed_rows=(4,))
    assert answers(engine, calls, limits, Sharing({"double": "it mixes rows"}))[1:] == [[-1, 1]] * 29
    assert engine.sizes == [2] * 30


def test_a_request_of_another_shape_than_the_declared_one_runs_alone():
    engine = Engine()
    square = Call(DOUBLE, {"x": np_any.float32([[1, 2], [3, 4]])}, ("y",))
    assert answers(engine, [call(1), square, square]) == [[2], [[2, 4], [6, 8]], [[2, 4], [6, 8]]]
    assert sorted(engine.sizes) == [1, 2, 2]


def test_a_model_whose_output_does_not_have_one_row_per_input_row_is_not_batched():
    engine = Engine(lambda x: x[:1])
    assert answers(engine, [call(1), call(2), call(3), call(4)]) == [[1], [2], [3], [4]]


def test_a_bad_row_fails_only_its_own_request():
    assert answers(Engine(), [call(1), call(2), call(-1), call(3)]) == [[2], [4], "a bad row", [6]]


def test_a_run_has_at_most_max_rows():
    engine = Engine()
    answers(engine, [call(1), call(1, 2), call(3, 4), call(5, 6)], BatchLimits(max_rows=4))
    assert max(engine.sizes) == 4


def test_a_larger_request_runs_alone_or_is_refused():
    rows = [1.0, 2, 3, 4, 5]
    assert answers(Engine(), [call(1), call(*rows), call(2)], BatchLimits(max_rows=4))[1] == [2, 4, 6, 8, 10]
    with pytest.raises(RequestError, match="Task size 5 is larger than maximum input batch size 4"):
        answers(Engine(), [call(*rows)], BatchLimits(max_rows=4, refuse_larger=True))


def test_a_signature_with_a_fixed_size_is_never_shared():
    fixed = Signature("double", "", {"x": FIXED}, {"y": FREE})
    engine = Engine()
    answers(engine, [call(1, 2, 3, signature=fixed)] * 3)
    assert engine.sizes == [3, 3, 3]


def test_runs_are_padded_to_the_allowed_sizes():
    engine = Engine()
    limits = BatchLimits(max_rows=8, allowed_rows=(2, 4, 8))
    assert answers(engine, [call(1), call(2), call(3), call(4)], limits) == [[2], [4], [6], [8]]
    assert engine.sizes[:2] == [2, 4]


def test_a_full_queue_refuses_immediately():
    async def run() -> None:
        engine = Engine()
        runner = Runner(engine, BatchLimits(max_queue=2), asyncio.get_running_loop(), "model m version 1")
        first = runner.submit(call(1))
        await asyncio.to_thread(engine.entered.wait, 10)
        waiting = [runner.submit(call(1)) for _ in range(2)]
        with pytest.raises(RequestError, match="The queue of model m version 1 is full: 2 requests wait") as error:
            runner.submit(call(1))
        assert error.value.code is Code.UNAVAILABLE
        engine.gate.set()
        await asyncio.gather(first, *waiting)
        await asyncio.to_thread(runner.close)

    asyncio.run(run())


def test_cancelled_and_expired_requests_are_not_run():
    async def run() -> None:
        engine = Engine()
        runner = Runner(engine, BatchLimits(), asyncio.get_running_loop(), "model m version 1")
        first = runner.submit(call(1))
        await asyncio.to_thread(engine.entered.wait, 10)
        gone, late, kept = runner.submit(call(2, 2)), runner.submit(call(3, 3, 3), deadline=0.0), runner.submit(call(4))
        gone.cancel()
        engine.gate.set()
        with pytest.raises(RequestError) as error:
            await late
        assert error.value.code is Code.DEADLINE_EXCEEDED
        assert (await kept)["y"].tolist() == [8]
        await first
        await asyncio.to_thread(runner.close)
        assert engine.sizes == [1, 1]

    asyncio.run(run())


class Limited(Engine):
    """Takes for ever over a row of -2, until the time limit; records the limits."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[int] = []

    def run(self, signature, inputs, outputs, seconds=0):
        answer = super().run(signature, inputs, outputs)
        self.limits.append(seconds)
        if (inputs["x"] == -2).any():
            raise RequestError(Code.DEADLINE_EXCEEDED, "stopped")
        return answer


def test_a_shared_run_ends_at_its_first_deadline_and_the_others_run_again():
    async def run() -> None:
        engine = Limited()
        runner = Runner(engine, BatchLimits(), asyncio.get_running_loop(), "model m version 1")
        first = runner.submit(call(1))
        await asyncio.to_thread(engine.entered.wait, 10)
        now = time.monotonic()
        stopped, late, endless = (
            runner.submit(call(-2), now + 4),
            runner.submit(call(3), now + 50),
            runner.submit(call(4)),
        )
        engine.gate.set()
        with pytest.raises(RequestError, match="stopped"):
            await stopped
        assert [(await future)["y"].tolist() for future in (first, late, endless)] == [[2], [6], [8]]
        await asyncio.to_thread(runner.close)
        assert engine.limits == [300, 5, 5, 60, 300]

    asyncio.run(run())


def test_a_version_that_is_abandoned_refuses_the_waiting_requests_and_later_ones():
    async def run() -> None:
        engine = Engine()
        runner = Runner(engine, BatchLimits(), asyncio.get_running_loop(), "model m version 1")
        first = runner.submit(call(1))
        await asyncio.to_thread(engine.entered.wait, 10)
        waiting = runner.submit(call(2))
        runner.abandon(RequestError(Code.UNAVAILABLE, "it is stuck"))
        with pytest.raises(RequestError, match="it is stuck"):
            await waiting
        with pytest.raises(RequestError, match="it is stuck"):
            runner.submit(call(3))
        engine.gate.set()
        assert (await first)["y"].tolist() == [2]

    asyncio.run(run())
