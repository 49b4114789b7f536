"""Which way each signature of a version goes, found out when it is loaded.

The plain way takes anything: a tensor per input, a run in a thread. The fast one packs the inputs and runs on the event
loop. A signature goes the fast way, or one half of it, where it can be shown to answer alike; else the status says why.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from benison.serving.server.batching import inline_policy, route_parity
from benison.serving.server.batching.inline_policy import InlinePolicy
from benison.serving.server.batching.route_parity import Row
from benison.serving.server.batching.tasks import PackedRun, PackedSignature
from benison.serving.server.codec import packing
from benison.serving.server.codec.packing import Group
from benison.serving.server.engine import Engine, Signature, Tensors
from benison.serving.server.engines import warmup
from benison.serving.server.status import from_exception

if TYPE_CHECKING:
    from benison.serving.server.batching.limits import BatchLimits

_FEWEST_ROWS = 4  # that a model must answer, or too little is known about it
_MOST_ELEMENTS = 1 << 16  # of one row; more is no small model
_WRITABLE = frozenset(["float32", "float64", "int32", "int64", "bool", "string", "int8", "int16", "uint8", "uint16"])
_TIMED_RUNS = 3


@runtime_checkable
class Packs(Protocol):
    """An engine that knows its graph.

    Attributes:
        single_threaded: whether the thread that calls does all the work of a run.
    """

    single_threaded: bool

    def unbounded(self, signature: Signature) -> str:
        """The operation by which a run may take any time, such as a loop; empty if there is none."""

    def pack(self, signature: Signature, groups: Sequence[Group]) -> PackedRun:
        """Runs of a signature with packed inputs.

        Raises:
            Exception: it cannot be built.
        """


@dataclass(frozen=True)
class Route:
    """The way of one signature.

    Attributes:
        signature: of the version.
        inline_policy: whether its runs are on the event loop now.
        packed: how its inputs are packed; None: they are not.
        why_not_packed: the reason, where its runs are on the loop; those in threads are never packed.
        why_not_inline: why its runs are never on the event loop.
    """

    signature: Signature
    inline_policy: InlinePolicy
    packed: PackedSignature | None = None
    why_not_packed: str = ""
    why_not_inline: str = ""

    def describe(self) -> dict[str, Any]:
        """For the status page."""
        described: dict[str, Any] = {
            "inputs": "packed" if self.packed else "plain",
            "runs": "inline" if self.inline_policy.inline else "thread",
        }
        reasons = [f"not packed: {self.why_not_packed}"] if self.why_not_packed else []
        if self.why_not_inline:
            reasons.append(f"not inline: {self.why_not_inline}")
        elif not self.inline_policy.inline:
            reasons.append("not inline: a run took too long; after enough short ones it is back")
        if reasons:
            described["because"] = reasons
        if self.inline_policy.moves:
            described["moved_off_the_loop"] = self.inline_policy.moves
        return described


def plan_routes(engine: Engine, folder: str, limits: BatchLimits) -> dict[str, Route]:
    """The way of each signature of a loaded version. Blocks for some runs of each; never fails.

    Args:
        engine: the version.
        folder: where it was loaded from.
        limits: of its runs.
    """
    return {
        name: _route(engine, signature, folder, limits)
        for name, signature in engine.signatures.items()
        if signature.inputs and signature.outputs
    }


def _route(engine: Engine, signature: Signature, folder: str, limits: BatchLimits) -> Route:
    if why := _ineligible(engine, signature, limits):
        return _plain_route(signature, why)
    try:
        return _fast_route(engine, signature, folder, limits)
    except Exception as error:
        return _plain_route(signature, f"trying it failed: {from_exception(error).message}")


def _plain_route(signature: Signature, why: str) -> Route:
    return Route(signature, InlinePolicy(inline=False), why_not_inline=why)


def _ineligible(engine: Engine, signature: Signature, limits: BatchLimits) -> str:
    """Why a signature need not even be tried."""
    if limits.timeout or limits.threads > 1 or limits.allowed_rows:
        return "the batching parameters ask for a timer, threads or fixed sizes"
    if not isinstance(engine, Packs):
        return f"the {engine.kind} engine tells nothing about its operations"
    if not signature.batched:
        return "an input or output has no free first dimension"
    for name, spec in (*signature.inputs.items(), *signature.outputs.items()):
        if spec.dtype not in _WRITABLE:
            return f"{name} is of type {spec.dtype}"
    for name, spec in signature.inputs.items():
        sizes = (spec.shape or ())[1:]
        if -1 in sizes or _product(sizes) > _MOST_ELEMENTS:
            return f"input {name} has rows of any size, or very large ones"
    if operation := engine.unbounded(signature):
        return f"{operation} may take any time"
    return ""


def _fast_route(engine: Engine, signature: Signature, folder: str, limits: BatchLimits) -> Route:
    warm_up = _warm_up_rows(engine, signature, folder)
    good, alone, bad = route_parity.good_rows(engine, signature, route_parity.rows(signature, folder, warm_up))
    if len(good) < _FEWEST_ROWS:
        return _plain_route(signature, f"of {len(good) + len(bad)} rows to try, the model answers {len(good)}")
    if why := route_parity.dependence(engine, signature, good, alone):
        return _plain_route(signature, why)
    seconds = _seconds(engine, signature, [good[index % len(good)] for index in range(limits.max_rows)])
    if seconds > inline_policy.LONGEST:
        return _plain_route(
            signature,
            f"{limits.max_rows} rows take {seconds * 1000:.1f} ms, and may take {inline_policy.LONGEST * 1000:g}",
        )
    packed, why_not = _packed(engine, signature, good, bad)
    return Route(signature, InlinePolicy(inline=True, single_threaded=_single_threaded(engine)), packed, why_not)


def _packed(
    engine: Engine, signature: Signature, good: Sequence[Row], bad: Sequence[Row]
) -> tuple[PackedSignature | None, str]:
    """The packed signature, or why there is none."""
    if why := packing.refusal(signature):
        return None, why
    if not isinstance(engine, Packs):
        return None, f"the {engine.kind} engine cannot"
    groups = packing.groups(signature)
    packed = PackedSignature(signature, groups, engine.pack(signature, groups))

    def run(some: Sequence[Row]) -> Tensors:
        parts = [packed.read([row]) for row in some]
        return packed.outputs([part for part in parts if part is not None])

    expected = route_parity.plain(engine, signature, good)
    if why := route_parity.difference(run, signature, expected, good, bad):
        return None, f"packed, {why}"
    return packed, ""


def _seconds(engine: Engine, signature: Signature, some: Sequence[Row]) -> float:
    """How long the largest shared run takes, the best of a few; where one thread does it all, by its own time."""
    from benison.serving.server.codec import json_tensors

    clock = time.thread_time if _single_threaded(engine) else time.perf_counter
    inputs, _ = json_tensors.inputs({"instances": list(some)}, signature.inputs)
    times = []
    for _ in range(_TIMED_RUNS):
        begun = clock()
        engine.run(signature, inputs, tuple(signature.outputs))
        times.append(clock() - begun)
    return min(times)


def _single_threaded(engine: Engine) -> bool:
    return isinstance(engine, Packs) and engine.single_threaded


def _warm_up_rows(engine: Engine, signature: Signature, folder: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for call in warmup.calls(folder, engine):
        if call.signature.name == signature.name:
            found += _rows_of(call.inputs)
    return found


def _rows_of(inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tensors as rows of JSON; text that is not UTF-8 becomes something else, which is a row as good."""
    columns = {name: _texts(values.tolist()) for name, values in inputs.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(part) for part in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _product(sizes: Sequence[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product
