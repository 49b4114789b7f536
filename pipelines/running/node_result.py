"""The result of a node, and the exit code of the process that ran it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from benison.components import users_line
from benison.pipelines.running.termination import Terminated
from benison.serving.errors import BenisonError, DataError
from benison.serving.files import system_errors

State = Literal["complete", "cached", "skipped", "failed", "invalid", "not_blessed", "not_pushed"]
_LONGEST = 500  # characters of a message
EXIT_CODES: Mapping[str, int] = {"failed": 1, "invalid": 4}


@dataclass(frozen=True)
class Result:
    """The result of a node.

    Attributes:
        state: `not_blessed` is the state of a node that worked and refused a model, `not_pushed` that of a Pusher that
            found another version served than the run compared its model with.
        outputs: by key, each artifact's `uri`, `type` and `properties`.
        reason: why it failed, was skipped or refused; else empty.
        origin: the earlier run that wrote its outputs; '' if this run did.
    """

    state: State
    outputs: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    reason: str = ""
    origin: str = ""

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
    """Return the reason for a failure in one line, which ends with the user's own file and line if they took part.

    An error of Benison has its place in the message.
    """
    reason = _sentence(error)
    if isinstance(error, (BenisonError, Terminated)):
        return reason
    place = users_line.place_of(error)
    return f"{reason} ({place})" if place and place not in reason else reason


def _sentence(error: BaseException) -> str:
    if isinstance(error, BenisonError):
        return str(error)
    if isinstance(error, Terminated):
        return error.reason
    if line := system_errors.machine_failure(error):
        return line
    kind = type(error).__name__.removeprefix("MultilineMessage")  # AutoGraph's KeyError
    reason = f"{kind}: {users_line.fault_of(error)[:_LONGEST]}".rstrip(": ")
    # TFX's message is only «Could not import nodes.f_Executor»; the cause holds the reason.
    return f"{reason} ({_sentence(error.__cause__)})" if error.__cause__ else reason
