"""Errors of requests in TF Serving's form: a gRPC code and one message, whatever the protocol of the request."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar

from benison.serving.errors import BenisonError

# TensorFlow's texts about operations that it cannot run; its code for them can be NOT_FOUND, which would say that the
# model is not there.
_CANNOT_RUN = ("Op type not registered", "No registered '", "No OpKernel was registered")
OP_LIBRARIES_HINT = (
    "(BENISON_OP_LIBRARIES names libraries of operations to load at the start; install tensorflow-text for its own)"
)


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
    """A failed request or load, with a gRPC code and the message for the client."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(code, message)  # pickle makes the copy from these
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message

    @property
    def http_status(self) -> int:
        """The HTTP status with which TF Serving answers; 500 if there is no better one."""
        return _HTTP.get(self.code, 500)


class _OfOneCode(RequestError):
    """A RequestError whose class decides its code and its HTTP status."""

    _code: ClassVar[Code]
    _http_status: ClassVar[int]

    def __init__(self, message: str) -> None:
        super().__init__(self._code, message)

    def __reduce__(self) -> tuple[type[_OfOneCode], tuple[str]]:
        """Return how pickle makes the copy."""
        return type(self), (self.message,)

    @property
    def http_status(self) -> int:
        """The HTTP status of the class."""
        return self._http_status


class TooLarge(_OfOneCode):
    """A request whose content is larger than a limit, after decompression or as values; over HTTP its status is 413."""

    _code, _http_status = Code.INVALID_ARGUMENT, 413


class CannotRun(_OfOneCode):
    """An operation that this TensorFlow cannot run; over HTTP the status is 400, because the model is there."""

    _code, _http_status = Code.UNIMPLEMENTED, 400


def invalid(message: str) -> RequestError:
    """Make a RequestError with INVALID_ARGUMENT, the code of most mistakes in a request."""
    return RequestError(Code.INVALID_ARGUMENT, message)


def forget_frames(error: BaseException) -> None:
    """Drop the frames of a handled error and of its causes: they keep the request until a full garbage collection."""
    current: BaseException | None = error
    while current is not None:
        following = current.__cause__ or current.__context__
        current.__traceback__ = current.__cause__ = current.__context__ = None
        current = following


def from_exception(error: BaseException) -> RequestError:
    """Convert any exception to a RequestError, without the traceback that TensorFlow adds to its messages."""
    if isinstance(error, RequestError):
        return error
    number = getattr(error, "error_code", None)  # tf.errors.OpError
    code = Code(number) if isinstance(number, int) and number in Code.__members__.values() else Code.INTERNAL
    text = str(getattr(error, "message", "") or error) or type(error).__name__
    for mark in ("\n\nOriginal stack trace", "\nTraceback (most recent call last)", "\n\nErrors may have originated"):
        text = text.split(mark, 1)[0]
    if code in (Code.NOT_FOUND, Code.INVALID_ARGUMENT) and any(mark in text for mark in _CANNOT_RUN):
        return CannotRun(f"{text.strip()} {OP_LIBRARIES_HINT}")
    return RequestError(code, text.strip())
