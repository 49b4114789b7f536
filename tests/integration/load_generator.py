"""A load generator, a program of its own so that it takes no time from the test: `python load_generator.py JSON`.

It asks until its time is over or its standard input ends, and prints what it saw as JSON, after a line
`begun` as soon as the first answer is there. By a rate (open loop) a request
counts from the moment at which it was due, whether or not a connection was free then; without one (closed loop) each
connection asks again as soon as it is answered.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import uvloop

_MOST_ANSWERS = 100  # different ones that are kept


@dataclass(frozen=True)
class Plan:
    """The load to generate.

    Attributes:
        port: of REST, or of gRPC.
        path: of REST, such as `/v1/models/m:predict`; empty for gRPC.
        body: of REST; of gRPC the x of a PredictRequest for model `m`, as JSON.
        connections: at a time; with gRPC calls at a time, over one channel.
        rate: requests per second; 0: as many as the connections can.
        seconds: 0: until the input ends.
        core: to run on; -1: any.
    """

    port: int
    path: str
    body: str
    connections: int = 4
    rate: float = 0.0
    seconds: float = 0.0
    core: int = -1


@dataclass
class Seen:
    """The results of a run.

    Attributes:
        answers: how often each answer came, such as `200 {"predictions":[1.0]}`.
        latencies: by status (seconds), from when a request was due to its whole answer.
        lost: requests that were sent and not answered, by what happened instead.
        refused: connections that the server did not take.
        late: requests that were due and not sent when it was over.
    """

    answers: Counter[str] = field(default_factory=Counter)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    lost: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    late: int = 0

    def answered(self, status: str, text: str, seconds: float) -> None:
        """One answer; the first is announced."""
        if not self.latencies:
            print("begun", flush=True)
        self.latencies.setdefault(status, []).append(seconds)
        answer = f"{status} {text}"
        self.answers[answer if answer in self.answers or len(self.answers) < _MOST_ANSWERS else "others"] += 1

    def report(self) -> dict[str, Any]:
        """As JSON can say it; times in milliseconds."""
        return {
            "answers": self.answers,
            "statuses": {status: len(times) for status, times in self.latencies.items()},
            "p50": {status: 1e3 * quantile(times, 0.5) for status, times in self.latencies.items()},
            "p99": {status: 1e3 * quantile(times, 0.99) for status, times in self.latencies.items()},
            "lost": self.lost,
            "refused": self.refused,
            "late": self.late,
        }


def quantile(values: Sequence[float], share: float) -> float:
    """The nearest-rank quantile."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


class Http:
    """Keeps the connections and hands out what is due."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.seen = Seen()
        body = plan.body.encode()
        head = f"POST {plan.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        self.request = head.encode() + b"\r\n\r\n" + body
        self.idle: deque[Connection] = deque()
        self.due: deque[float] = deque()
        self.over = asyncio.Event()

    async def run(self) -> Seen:
        """Until it is over, and what was asked is answered."""
        clients = [asyncio.create_task(self._client()) for _ in range(self.plan.connections)]
        if self.plan.rate:
            await self._by_rate()
        else:
            await self.over.wait()
        while self.idle:
            self.idle.pop().close()
        await asyncio.wait(clients, timeout=60)
        self.seen.late = len(self.due)
        return self.seen

    async def _client(self) -> None:
        """One connection, and a new one whenever the server closes it."""
        while not self.over.is_set():
            try:
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(self), "127.0.0.1", self.plan.port
                )
            except OSError:
                self.seen.refused += 1
                if not self.plan.rate:
                    return
                await asyncio.sleep(0.1)
            else:
                await connection.closed

    async def _by_rate(self) -> None:
        begun, made = time.monotonic(), 0
        while not self.over.is_set():
            await asyncio.sleep(0.001)
            total = int((time.monotonic() - begun) * self.plan.rate)
            for number in range(made, total):
                self.due.append(begun + number / self.plan.rate)
            made = total
            while self.due and self.idle:
                self.idle.popleft().ask(self.due.popleft())

    def ready(self, connection: Connection) -> None:
        """A connection may ask again."""
        if self.over.is_set():
            connection.close()
        elif not self.plan.rate:
            connection.ask(time.monotonic())
        elif self.due:
            connection.ask(self.due.popleft())
        else:
            self.idle.append(connection)


class Connection(asyncio.Protocol):
    """Asks one request at a time."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self._since = 0.0  # 0: nothing is asked
        self._buffer = b""
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._http.ready(self)

    def ask(self, due: float) -> None:
        self._since = due
        self._transport.write(self._http.request)

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self._http.seen.answered(head[9:12].decode(), body.decode(), time.monotonic() - self._since)
        self._since, self._buffer = 0.0, b""
        if b"\r\nconnection: close" in head.lower():
            self._transport.close()
        else:
            self._http.ready(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._since:
            self._http.seen.lost[repr(exc)] += 1
        elif self in self._http.idle:
            self._http.idle.remove(self)
        self.closed.set_result(None)


async def by_grpc(plan: Plan, over: asyncio.Event) -> Seen:
    """The same by gRPC, in a closed loop."""
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    seen = Seen()
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(json.loads(plan.body), tf.float32))

    async def caller(stub: Any) -> None:
        while not over.is_set():
            since = time.monotonic()
            try:
                answer = await stub.Predict(request, timeout=60)
            except grpc.aio.AioRpcError as error:
                details = error.details()
                if error.code() is grpc.StatusCode.UNAVAILABLE and ("stopping" in details or "connect" in details):
                    seen.refused += 1
                else:
                    seen.answered(error.code().name, details, time.monotonic() - since)
                return
            else:
                seen.answered("OK", str(list(answer.outputs["y"].float_val)), time.monotonic() - since)

    async with grpc.aio.insecure_channel(f"127.0.0.1:{plan.port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        await asyncio.gather(*(caller(stub) for _ in range(plan.connections)))
    return seen


async def generate(plan: Plan) -> Seen:
    """Asks until the plan's time is over or the input ends."""
    http = Http(plan)
    loop = asyncio.get_running_loop()
    if plan.seconds:
        loop.call_later(plan.seconds, http.over.set)
    loop.add_reader(sys.stdin, http.over.set)
    try:
        return await (http.run() if plan.path else by_grpc(plan, http.over))
    finally:
        loop.remove_reader(sys.stdin)


if __name__ == "__main__":
    planned = Plan(**json.loads(sys.argv[1]))
    if planned.core >= 0:
        os.sched_setaffinity(0, {planned.core})
    print(json.dumps(uvloop.run(generate(planned)).report()))
