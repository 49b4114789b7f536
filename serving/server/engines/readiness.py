"""Checks that a loaded version can answer, before it takes the place of another one.

One row of made-up values runs through the default signature. A version whose warm-up requests ran needs no such check.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from benison.serving.server.engine import DEFAULT_SIGNATURE, Engine, Signature, TensorSpec
from benison.serving.server.engines import low_priority
from benison.serving.server.status import OP_LIBRARIES_HINT, CannotRun, Code, RequestError, from_exception

if TYPE_CHECKING:
    import numpy as np

_LIMIT_SECONDS = 10.0  # a model may take longer for a row; then it is loaded before the end of its run
_STOP_SECONDS = 30  # after which a loop ends that nobody waits for
_MAX_ELEMENTS = 1 << 24  # of one input
_NO_VALUES = frozenset(["invalid", "resource", "variant"])  # types that no request can have
# A model says so about the values of a row: what is wrong is the row that was made up.
# ABORTED is oneDNN's answer to an image that is too small, such as one of a single pixel.
_ABOUT_VALUES = frozenset([Code.INVALID_ARGUMENT, Code.OUT_OF_RANGE, Code.ABORTED])
_EMPTY_FILE_NAME = "; No such file or directory"  # TensorFlow's text begins with the name, here a made-up text
_log = logging.getLogger(__name__)


def check(engine: Engine, version: str) -> None:
    """Check that a version can answer requests for its default signature, or for any if it has no default one.

    Args:
        engine: the loaded version.
        version: the version's folder, for messages.

    Raises:
        RequestError: It cannot; UNIMPLEMENTED if this TensorFlow lacks an operation, otherwise the code of the run.
    """
    signatures = [signature for signature in engine.signatures.values() if _is_for_requests(signature)]
    default = [signature for signature in signatures if signature.name == DEFAULT_SIGNATURE]
    _check_any(engine, default or signatures, version)
    for signature in signatures:
        if signature.cannot_run:
            _log.warning(
                "%s: no request for signature %s can succeed: %s", version, signature.name, signature.cannot_run
            )


def _check_any(engine: Engine, signatures: Sequence[Signature], version: str) -> None:
    """Check that one of these signatures runs; if none does, raise the error of the first."""
    errors: list[RequestError] = []
    for signature in signatures:
        try:
            return _check_signature(engine, signature, version)
        except RequestError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _is_for_requests(signature: Signature) -> bool:
    specs = [*signature.inputs.values(), *signature.outputs.values()]
    return bool(signature.outputs) and all(spec.tensor and spec.dtype not in _NO_VALUES for spec in specs)


def _check_signature(engine: Engine, signature: Signature, version: str) -> None:
    elements = max((math.prod(_sizes(spec)) for spec in signature.inputs.values()), default=0)
    if not signature.writes and elements <= _MAX_ELEMENTS:
        error = _run(engine, signature, version)
        if error is None:
            return
        if error.code not in _ABOUT_VALUES and not error.message.startswith(_EMPTY_FILE_NAME):
            message = f"signature {signature.name} failed on a made-up row: {error.message}"
            raise CannotRun(message) if isinstance(error, CannotRun) else RequestError(error.code, message)
    if signature.cannot_run:
        raise CannotRun(f"signature {signature.name}: {signature.cannot_run} {OP_LIBRARIES_HINT}")


def _run(engine: Engine, signature: Signature, version: str) -> RequestError | None:
    """Run a signature on a made-up row; return the error, or None if it ran or still runs at the limit."""
    errors: list[RequestError] = []
    ended: list[bool] = []
    inputs = {
        name: signature.defaults[name] if name in signature.defaults else _made_up(spec)
        for name, spec in signature.inputs.items()
    }

    def run() -> None:
        try:
            engine.run(signature, inputs, tuple(signature.outputs), _STOP_SECONDS)
        except Exception as error:
            errors.append(from_exception(error))
        ended.append(True)

    until = time.monotonic() + _LIMIT_SECONDS
    low_priority.call_until(lambda: time.monotonic() > until, run)
    if not ended:
        _log.warning(
            "%s: signature %s runs for more than %g s on one made-up row; not waiting for its end",
            version,
            signature.name,
            _LIMIT_SECONDS,
        )
    return errors[0] if errors else None


def _made_up(spec: TensorSpec) -> np.ndarray[Any, Any]:
    """Return zeros or empty texts in the declared shape."""
    import numpy as np
    import tensorflow as tf

    sizes = _sizes(spec)
    if spec.dtype == "string":
        return np.full(sizes, b"", object)
    return np.zeros(sizes, tf.dtypes.as_dtype(spec.dtype).as_numpy_dtype)


def _sizes(spec: TensorSpec) -> list[int]:
    """Return a shape with 1 for each unknown size, and one dimension for an unknown rank."""
    return [1 if size == -1 else size for size in ((-1,) if spec.shape is None else spec.shape)]
