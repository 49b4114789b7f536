"""How requests are put together into runs: the limits, by default or from a batching_parameters_file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benison.serving.errors import UsageError
from benison.serving.server import text_protos


@dataclass(frozen=True)
class BatchLimits:
    """How requests are put together.

    Attributes:
        max_rows: of one run; a larger request runs alone.
        refuse_larger: whether it is refused instead, as TF Serving does where batching is enabled.
        timeout: how long the first request waits for others (seconds).
        max_queue: requests that may wait.
        threads: runs at the same time.
        allowed_rows: sizes to which a run is filled up; empty: any.
    """

    max_rows: int = 64
    refuse_larger: bool = False
    timeout: float = 0.0
    max_queue: int = 1024
    threads: int = 1
    allowed_rows: tuple[int, ...] = ()


def read_parameters(path: str, max_queue: int) -> tuple[BatchLimits, list[str]]:
    """The limits of --enable_batching: a text proto BatchingParameters, or TF Serving's defaults where path is empty.

    Args:
        path: of the file.
        max_queue: requests that may wait at most, whatever the file says.

    Returns:
        The limits, and a warning for each parameter that cannot be honoured.

    Raises:
        UsageError: the file cannot be read, or its sizes contradict each other.
    """
    if not path:
        return BatchLimits(max_rows=1000, refuse_larger=True, max_queue=max_queue), []
    proto = text_protos.read(path, text_protos.message_class("BatchingParameters")())
    max_rows = proto.max_batch_size.value if proto.HasField("max_batch_size") else 1000
    allowed = tuple(proto.allowed_batch_sizes)
    if max_rows < 1:
        raise UsageError(f"{path}: max_batch_size must be positive; was {max_rows}")
    if allowed and (list(allowed) != sorted(set(allowed)) or allowed[-1] != max_rows or allowed[0] < 1):
        raise UsageError(
            f"{path}: allowed_batch_sizes must rise and end with max_batch_size {max_rows}; got {list(allowed)}"
        )
    splits = proto.enable_large_batch_splitting.value
    waiting = (proto.max_enqueued_batches.value if proto.HasField("max_enqueued_batches") else 10) * max_rows
    limits = BatchLimits(
        max_rows=max_rows,
        refuse_larger=not splits,
        timeout=max(proto.batch_timeout_micros.value, 0) / 1e6,
        max_queue=max(min(waiting, max_queue), 1),
        threads=max(proto.num_batch_threads.value, 1),
        allowed_rows=allowed,
    )
    ignored = {
        "pad_variable_length_inputs": "requests of different inner shapes run apart",
        "enable_large_batch_splitting": "a larger request runs alone, in one piece",
    }
    return limits, [f"{path}: {name} is not honoured: {why}" for name, why in ignored.items() if _is_true(proto, name)]


def _is_true(proto: Any, name: str) -> bool:
    value = getattr(proto, name)
    return bool(getattr(value, "value", value))
