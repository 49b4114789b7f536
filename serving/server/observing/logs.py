"""The server's logs: lines of text or JSON, and an access log with one line per request."""

from __future__ import annotations

import json
import logging
import random
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from benison.serving.server.observing.observers import ObservedRequest

LogFormat = Literal["text", "json"]

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_STANDARD_FIELDS = frozenset([*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"])
_log = logging.getLogger("benison.access")


def configure(log_format: LogFormat) -> None:
    """Send all logs to standard error.

    Args:
        log_format: `text`, or `json` for a log collector.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class JsonFormatter(logging.Formatter):
    """Formats a record as one line with `time` (UTC), `level`, `logger`, `message`, and the fields of `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        time = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        fields = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS},
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False, default=str)


class AccessLog:
    """An observer that writes one line per request, for all requests or a random share of them."""

    def __init__(self, share: float) -> None:
        """Create the log.

        Args:
            share: share of the requests that get a line, above 0 and up to 1.
        """
        self._share = share

    def observes_next(self) -> bool:
        """See Observer."""
        return self._share >= 1 or random.random() < self._share

    @contextmanager
    def observe_request(self, request: ObservedRequest) -> Iterator[None]:
        """See Observer."""
        try:
            yield
        finally:
            self._write(request)

    def observe_run(self, request: ObservedRequest) -> AbstractContextManager[None]:
        """See Observer."""
        return nullcontext()

    def _write(self, request: ObservedRequest) -> None:
        status = request.status or "gone"  # the client disconnected before the response
        fields = {
            "request_id": request.request_id,
            "protocol": request.protocol,
            "request": request.name,
            "model": request.model,
            "version": request.version,
            "signature": request.signature,
            "rows": request.rows,
            "status": int(status) if status.isdigit() else status,
            "ms": round(request.milliseconds, 3),
            "trace_id": request.trace_id,
        }
        known = {name: value for name, value in fields.items() if value not in ("", 0)}
        model = f", model {request.model} version {request.version}, {request.rows} rows" if request.model else ""
        message = "%s: %s%s, %.1f ms, id %s"
        _log.info(message, request.name, status, model, request.milliseconds, request.request_id, extra=known)
