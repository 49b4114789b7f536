"""The route of each signature of a version, chosen when the version is loaded.

The plain route accepts anything: it has one tensor per input and runs in a thread. The fast route packs the inputs and
runs on the event loop; if a run takes long, it is in a thread, and only the tensors of gRPC requests are packed. A
signature takes the fast route, or one half of it, only if tests at load show that the answers are the same. Otherwise
the status page says why. The tests have a time limit, and a slow model is tried only until it has shown itself slow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from benison.serving.server.batching import inline_policy, route_parity
from benison.serving.server.batching.graph_engine import GraphEngine
from benison.serving.server.batching.inline_policy import InlinePolicy
from benison.serving.server.batching.route_parity import Row
from benison.serving.server.batching.tasks import PackedSignature, wrong_outputs
from benison.serving.server.batching.trials import Stopped, TimeLimit, Trials
from benison.serving.server.codec import packing
from benison.serving.server.engine import DEFAULT_SIGNATURE, Engine, Signature, Tensors
from benison.serving.server.engines import low_priority, warmup
from benison.serving.server.status import from_exception

if TYPE_CHECKING:
    from benison.serving.server.batching.limits import BatchLimits

_MIN_ROWS = 4  # probe rows that a model must accept; fewer prove too little
_MAX_ELEMENTS = 1 << 16  # of one row; a model with larger rows is not small
_WRITABLE = frozenset(["float32", "float64", "int32", "int64", "bool", "string", "int8", "int16", "uint8", "uint16"])
_TIMED_RUNS = 3
_SURELY_LONG = 4  # times the limit of a run; a second measurement would not be so much shorter
_MIN_SECONDS, _SHARE_OF_LOAD = 1.0, 0.1  # for the trials of all signatures of a version
_TRIED_FIRST = frozenset(["raw", DEFAULT_SIGNATURE])
# Signatures of Benison's models that an evaluation, a page or another export calls. To try them takes half of a load.
_NOT_FOR_REQUESTS = frozenset(["label", "members", "transform_features", "transformed"])


@dataclass(frozen=True)
class Route:
    """The route of one signature.

    Attributes:
        signature: one of the version's signatures.
        inline_policy: decides whether its runs are on the event loop now.
        packed: the signature with packed inputs; None if they are not packed.
        why_not_packed: the reason, for a signature that was tried.
        why_not_inline: the reason why its runs are never on the event loop.
        why_not_shared: how a run at load showed that rows depend on each other.
    """

    signature: Signature
    inline_policy: InlinePolicy
    packed: PackedSignature | None = None
    why_not_packed: str = ""
    why_not_inline: str = ""
    why_not_shared: str = ""

    def describe(self) -> dict[str, Any]:
        """Return the route as the status page shows it."""
        description: dict[str, Any] = {
            "inputs": "packed" if self.packed else "plain",
            "runs": "inline" if self.inline_policy.inline else "thread",
        }
        reasons = [f"not packed: {self.why_not_packed}"] if self.why_not_packed else []
        if self.why_not_inline:
            reasons.append(f"not inline: {self.why_not_inline}")
        elif not self.inline_policy.inline:
            reasons.append("not inline: a run took too long; the signature returns after enough short runs")
        if reasons:
            description["because"] = reasons
        if self.inline_policy.moves:
            description["moved_off_the_loop"] = self.inline_policy.moves
        return description


def plan_routes(engine: Engine, folder: str, limits: BatchLimits, load_seconds: float = 0.0) -> dict[str, Route]:
    """Choose the route of each signature of a loaded version. Blocks for some runs of each signature; never fails.

    Args:
        engine: the loaded version.
        folder: the folder that it was loaded from.
        limits: the limits of its runs.
        load_seconds: how long the load took; the runs take at most a tenth of it, or one second if that is more.
    """
    time_limit = TimeLimit(max(_MIN_SECONDS, _SHARE_OF_LOAD * load_seconds))
    signatures = {name: item for name, item in engine.signatures.items() if item.inputs and item.outputs}
    routes: dict[str, Route] = {}

    def plan() -> None:
        for name in sorted(signatures, key=lambda name: name not in _TRIED_FIRST):
            routes[name] = _route(engine, signatures[name], folder, limits, time_limit)

    # In a thread of its own: nothing stops a run that takes long, but nobody has to wait for its end.
    low_priority.call_until(time_limit.is_over, plan)
    planned = dict(routes)
    return {name: planned.get(name) or _plain_route(signatures[name], time_limit.message) for name in signatures}


def _route(engine: Engine, signature: Signature, folder: str, limits: BatchLimits, time_limit: TimeLimit) -> Route:
    if not isinstance(engine, GraphEngine):
        return _plain_route(signature, f"the {engine.kind} engine cannot inspect its operations")
    try:
        if reason := _fast_route_blocker(engine, signature, limits):
            return _plain_route(signature, reason)
        time_limit.begin()
        return _fast_route(Trials(engine, time_limit), signature, folder, limits)
    except Stopped as stopped:
        return _plain_route(signature, str(stopped))
    except Exception as error:
        return _plain_route(signature, f"trying it failed: {from_exception(error).message}")


def _plain_route(signature: Signature, reason: str) -> Route:
    return Route(signature, InlinePolicy(inline=False), why_not_inline=reason)


def _fast_route_blocker(engine: GraphEngine, signature: Signature, limits: BatchLimits) -> str:
    """Return why a signature cannot take the fast route, before any run; empty if it may."""
    if limits.timeout or limits.threads > 1 or limits.allowed_rows:
        return "the batching parameters ask for a timer, threads or fixed sizes"
    if signature.name in _NOT_FOR_REQUESTS and any(other.raw for other in engine.signatures.values()):
        return "it is for an evaluation or a page, not for many requests"
    if not signature.batched:
        return "an input or output has no free first dimension"
    if signature.writes:
        return f"{signature.writes} has a lasting effect, so nothing is tried"
    for name, spec in (*signature.inputs.items(), *signature.outputs.items()):
        if spec.dtype not in _WRITABLE:
            return f"{name} is of type {spec.dtype}"
    for name, spec in signature.inputs.items():
        sizes = (spec.shape or ())[1:]
        if -1 in sizes or _product(sizes) > _MAX_ELEMENTS:
            return f"input {name} has rows of variable size, or very large rows"
    operation = engine.unbounded(signature)
    return f"{operation} may take any time" if operation else ""


def _fast_route(trials: Trials, signature: Signature, folder: str, limits: BatchLimits) -> Route:
    with trials.time_limit.preparing():
        trials.engine.prepare(signature)
    warm_up = _warm_up_rows(trials.engine, signature, folder)
    accepted, outputs, rejected = route_parity.run_each_row(
        trials, signature, route_parity.probe_rows(signature, folder, warm_up)
    )
    if len(accepted) < _MIN_ROWS:
        row_count = len(accepted) + len(rejected)
        return _plain_route(signature, f"the model accepts only {len(accepted)} of {row_count} probe rows")
    # Requests for a signature that mixes rows have runs of their own, packed or not.
    if not signature.mixes and (reason := route_parity.batching_blocker(trials, signature, accepted, outputs)):
        return replace(_plain_route(signature, reason), why_not_shared=reason)
    seconds = _run_seconds(trials, signature, [accepted[index % len(accepted)] for index in range(limits.max_rows)])
    packed, reason = _packed(trials, signature, accepted, rejected)
    if seconds > inline_policy.MAX_RUN_SECONDS:
        limit_ms = inline_policy.MAX_RUN_SECONDS * 1000
        too_long = f"{limits.max_rows} rows take {seconds * 1000:.1f} ms; the limit is {limit_ms:g} ms"
        return Route(signature, InlinePolicy(inline=False), packed, reason, too_long)
    return Route(signature, InlinePolicy(inline=True, single_threaded=trials.engine.single_threaded), packed, reason)


def _packed(
    trials: Trials, signature: Signature, accepted: Sequence[Row], rejected: Sequence[Row]
) -> tuple[PackedSignature | None, str]:
    """Return the packed signature, or the reason why there is none."""
    if reason := packing.packing_blocker(signature):
        return None, reason
    groups = packing.groups(signature)
    with trials.time_limit.preparing():
        packed = PackedSignature(signature, groups, trials.engine.pack(signature, groups))

    def run(rows: Sequence[Row]) -> Tensors:
        packed_rows = [packed.read([row]) for row in rows]
        return trials.timed(packed.outputs, [row for row in packed_rows if row is not None])

    expected = route_parity.plain_outputs(trials, signature, accepted)
    if wrong := wrong_outputs(expected, len(accepted)):
        return None, f"output {wrong[0]} does not have one row per input row"
    if reason := route_parity.first_difference(run, signature, expected, accepted, rejected):
        return None, f"with packed inputs, {reason}"
    return packed, ""


def _run_seconds(trials: Trials, signature: Signature, rows: Sequence[Row]) -> float:
    """Return the shortest of a few run times; CPU time if one thread does all the work, elapsed time otherwise."""
    from benison.serving.server.codec import json_tensors

    inputs, _ = json_tensors.read_inputs({"instances": list(rows)}, signature.inputs)
    times: list[float] = []
    while len(times) < _TIMED_RUNS and (not times or times[-1] < _SURELY_LONG * inline_policy.MAX_RUN_SECONDS):
        trials.run(signature, inputs, tuple(signature.outputs))
        times.append(trials.seconds[-1])
    return min(times)


def _warm_up_rows(engine: Engine, signature: Signature, folder: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for call in warmup.calls(folder, engine):
        if call.signature.name == signature.name:
            rows += _json_rows(call.inputs)
    return rows


def _json_rows(inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return tensors as rows of JSON; invalid UTF-8 is replaced, and the result is as useful as a probe row."""
    columns = {name: _decode_text(values.tolist()) for name, values in inputs.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _decode_text(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode_text(part) for part in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _product(sizes: Sequence[int]) -> int:
    product = 1
    for size in sizes:
        product *= size
    return product
