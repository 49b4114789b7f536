"""The server's logs: lines of text or JSON, and an access log with one line per request."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import random
import re
import textwrap
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

from benison.serving.visible_text import visible, visible_json, visible_line

if TYPE_CHECKING:
    from benison.serving.server.observing.observers import ObservedRequest

_STANDARD_ERROR = 2
_MAX_WAITING_LINES = 10_000
_CLOSE_SECONDS = 1.0  # in which the last lines are written
LogFormat = Literal["text", "json"]

_PLAIN_ID = re.compile(r"""[^\s"'=,\\]+""")  # another one is quoted, so that it cannot look like further fields
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_STANDARD_FIELDS = frozenset([*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"])
_log = logging.getLogger("benison.access")


def configure(log_format: LogFormat) -> None:
    """Send all logs to standard error.

    Args:
        log_format: `text`, or `json` for a log collector.
    """
    handler = QueuedHandler(_STANDARD_ERROR)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter(_TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class QueuedHandler(logging.Handler):
    """Writes lines in a thread of its own, so that a reader who stalls does not stop the server.

    Lines beyond the queue are dropped. A line says how many were.
    """

    def __init__(self, descriptor: int, max_waiting: int = _MAX_WAITING_LINES) -> None:
        """Start the thread.

        Args:
            descriptor: where the lines go. No stream of Python's, because its lock would stop the end of the process.
            max_waiting: how many lines wait at most.
        """
        super().__init__()
        self._descriptor = descriptor
        self._lines: queue.Queue[str] = queue.Queue(max_waiting)
        self._dropped = 0
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record, or drop it."""
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._dropped += 1
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait until the waiting lines are written, but not for a reader who stalls."""
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, _CLOSE_SECONDS)

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            dropped, self._dropped = self._dropped, 0
            lines = [line, self.format(_dropped_record(dropped))] if dropped else [line]
            text = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
            with contextlib.suppress(OSError):  # the reader has gone
                while text:
                    text = text[os.write(self._descriptor, text) :]
            self._lines.task_done()


def _dropped_record(count: int) -> logging.LogRecord:
    message = "%d lines were dropped, because the reader of the log did not read them"
    return logging.LogRecord(_log.name, logging.WARNING, __file__, 0, message, (count,), None)


class TextFormatter(logging.Formatter):
    """Formats a record as one line, and its traceback as further lines that are indented.

    Texts of clients and models can neither look like another record nor control a terminal.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return visible_line(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        """Return the lines of the traceback."""
        return textwrap.indent(visible(super().formatException(ei)), "  ")


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
        return visible_json(json.dumps(fields, ensure_ascii=False, default=str))


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
        shown_id = request.request_id if _PLAIN_ID.fullmatch(request.request_id) else json.dumps(request.request_id)
        _log.info(message, request.name, status, model, request.milliseconds, shown_id, extra=known)
