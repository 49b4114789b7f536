"""The result of a node, and the exit code of the process that ran it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from benison.pipelines.running.termination import Terminated
from benison.serving.errors import BenisonError, DataError
from benison.serving.files import system_errors

State = Literal["complete", "cached", "skipped", "failed", "invalid", "not_blessed", "not_pushed"]
EXIT_CODES: Mapping[str, int] = {"failed": 1, "invalid": 4}


@dataclass(frozen=True)
class Result:
    """The result of a node.

    Attributes:
        state: `not_blessed` is the state of a node that worked and refused a model, `not_pushed` that of a Pusher that
            found another version served than the run compared its model with.
        outputs: by key, each artifact's `uri`, `type` and `properties`.
        reason: why it failed, was skipped or refused; else empty.
    """

    state: State
    outputs: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    reason: str = ""

    @property
    def exit_code(self) -> int:
        """The exit code of the process that ran the node."""
        return EXIT_CODES.get(self.state, 0)

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return asdict(self)


def failed_result(error: BaseException) -> Result:
    """Return the result of a node that an exception ended."""
    return Result("invalid" if isinstance(error, DataError) else "failed", reason=reason_of(error))


def reason_of(error: BaseException) -> str:
    """Return the reason for a failure in one line."""
    if isinstance(error, BenisonError):
        return str(error)
    if isinstance(error, Terminated):
        return error.reason
    if line := system_errors.machine_failure(error):
        return line
    lines = [line for line in str(error).splitlines() if line.strip()]
    reason = f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": ")
    # TFX's message is only «Could not import nodes.f_Executor»; the cause holds the reason.
    return f"{reason} ({reason_of(error.__cause__)})" if error.__cause__ else reason
