"""The limits that batching observes, by default or from a batching_parameters_file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benison.serving.errors import UsageError
from benison.serving.server import text_protos


@dataclass(frozen=True)
class BatchLimits:
    """The limits of a version's runs and queues.

    Attributes:
        max_rows: the largest number of rows in a shared run; a larger request runs alone.
        refuse_larger: whether a larger request is refused instead, as TF Serving does when batching is enabled.
        timeout: how long the first request waits for others (seconds).
        max_queue: the number of requests that may wait.
        threads: the number of runs side by side; 0 for as many as cores.
        allowed_rows: the sizes to which runs are padded; empty for any size.
    """

    max_rows: int = 64
    refuse_larger: bool = False
    timeout: float = 0.0
    max_queue: int = 1024
    threads: int = 0
    allowed_rows: tuple[int, ...] = ()


def read_parameters(path: str, max_queue: int) -> tuple[BatchLimits, list[str]]:
    """Read the limits for --enable_batching.

    Args:
        path: a text proto BatchingParameters; empty for TF Serving's defaults.
        max_queue: the number of requests that may wait, whatever the file says.

    Returns:
        The limits, and a warning for each parameter that is not supported.

    Raises:
        UsageError: The file cannot be read, or its sizes contradict each other.
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
            f"{path}: allowed_batch_sizes must increase and end with max_batch_size {max_rows}; got {list(allowed)}"
        )
    splits = proto.enable_large_batch_splitting.value
    waiting = (proto.max_enqueued_batches.value if proto.HasField("max_enqueued_batches") else 10) * max_rows
    limits = BatchLimits(
        max_rows=max_rows,
        refuse_larger=not splits,
        timeout=max(proto.batch_timeout_micros.value, 0) / 1e6,
        max_queue=max(min(waiting, max_queue), 1),
        threads=max(proto.num_batch_threads.value, 0),
        allowed_rows=allowed,
    )
    ignored = {
        "pad_variable_length_inputs": "requests with different inner shapes run separately",
        "enable_large_batch_splitting": "a larger request runs alone, without splitting",
    }
    return limits, [
        f"{path}: {name} is not honoured: {reason}" for name, reason in ignored.items() if _is_true(proto, name)
    ]


def _is_true(proto: Any, name: str) -> bool:
    value = getattr(proto, name)
    return bool(getattr(value, "value", value))
