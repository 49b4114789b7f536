"""What the server logs: as text or as one JSON object per line, and a line per request where that is asked for."""

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
    from benison.serving.server.observing.observers import Seen

Form = Literal["text", "json"]

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_STANDARD = frozenset([*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"])
_log = logging.getLogger("benison.access")


def configure(form: Form) -> None:
    """Sends every log to standard error.

    Args:
        form: `text`, or `json` for a machine that collects them.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class JsonFormatter(logging.Formatter):
    """A record as one line: `time` (UTC), `level`, `logger`, `message`, and what was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        time = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        line = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _STANDARD},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class AccessLog:
    """An observer that writes a line for each request, or for a share of them."""

    def __init__(self, share: float) -> None:
        """Nothing is written yet.

        Args:
            share: of the requests, above 0 and up to 1; which ones is left to chance.
        """
        self._share = share

    def wants(self) -> bool:
        """See Observer."""
        return self._share >= 1 or random.random() < self._share

    @contextmanager
    def around(self, seen: Seen) -> Iterator[None]:
        """See Observer."""
        try:
            yield
        finally:
            self._write(seen)

    def around_run(self, seen: Seen) -> AbstractContextManager[None]:
        """See Observer."""
        return nullcontext()

    def _write(self, seen: Seen) -> None:
        status = seen.status or "gone"  # whoever asked did not wait for the answer
        fields = {
            "request_id": seen.request_id,
            "protocol": seen.protocol,
            "request": seen.name,
            "model": seen.model,
            "version": seen.version,
            "signature": seen.signature,
            "rows": seen.rows,
            "status": int(status) if status.isdigit() else status,
            "ms": round(seen.ms, 3),
            "trace_id": seen.trace_id,
        }
        known = {name: value for name, value in fields.items() if value not in ("", 0)}
        place = f" by {seen.model} version {seen.version}, {seen.rows} rows" if seen.model else ""
        _log.info("%s: %s%s, %.1f ms, id %s", seen.name, status, place, seen.ms, seen.request_id, extra=known)
