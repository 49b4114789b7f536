"""What went wrong with a request, as TF Serving says it: a gRPC code and one message, whichever protocol it came by."""

from __future__ import annotations

from enum import IntEnum

from benison.serving.errors import BenisonError


class Code(IntEnum):
    """The codes of gRPC and of TensorFlow's `error_codes.proto`, which are the same."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_HTTP = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}


class RequestError(BenisonError):
    """A request or a load that failed; `code` says how, and the message is what the client sees."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def http_status(code: Code) -> int:
    """The HTTP status by which TF Serving answers a code; 500 where there is nothing better."""
    return _HTTP.get(code, 500)


def invalid(message: str) -> RequestError:
    """INVALID_ARGUMENT: what most mistakes in a request are."""
    return RequestError(Code.INVALID_ARGUMENT, message)


def from_exception(error: BaseException) -> RequestError:
    """Whatever TensorFlow or Python raised, without the traceback that TensorFlow writes into its messages."""
    if isinstance(error, RequestError):
        return error
    number = getattr(error, "error_code", None)  # tf.errors.OpError
    code = Code(number) if isinstance(number, int) and number in Code.__members__.values() else Code.INTERNAL
    text = str(getattr(error, "message", "") or error) or type(error).__name__
    for mark in ("\n\nOriginal stack trace", "\nTraceback (most recent call last)", "\n\nErrors may have originated"):
        text = text.split(mark, 1)[0]
    return RequestError(code, text.strip())
