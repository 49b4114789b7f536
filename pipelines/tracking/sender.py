"""The process that sends events to a tracker of a pipeline: a request on stdin, JSON lines on stdout.

{"step": "MLflow at http://host:5000", "limit": 8}   begins a step that takes at most so many seconds
{"event": "sent"}                                    a tracker took an event
{"warning": "…"}                                     a tracker did not
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from benison.pipelines.tracking import outbox
from benison.pipelines.tracking.refusal import Refused
from benison.serving.errors import BenisonError

EVENT_S = 60.0  # the longest time for an event if nothing else waits


class Tracker(Protocol):
    """A tracker.

    Attributes:
        shown: its name for messages, without secrets.
        first_s: the longest time until its first answer, in seconds.
        run_s: the longest time that it may delay the end of a run or of a promotion after that, in seconds.
    """

    shown: str
    first_s: float
    run_s: float

    def connect(self, experiment: str) -> None:
        """Find or create the experiment; this is the first request."""

    def send(self, event: Mapping[str, Any]) -> None:
        """Send an event; one that the tracker has already changes nothing.

        Raises:
            Refused: the tracker will never take this event.
        """

    def reason(self, error: Exception) -> str:
        """Return why the tracker did not take an event, in one line and without secrets."""


def main() -> None:
    """Send what waits."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer

    def answer(**fields: Any) -> None:
        print(json.dumps(fields), file=answers, flush=True)

    request = json.loads(sys.stdin.read())
    root, name = Path(request["root"]), request["tracker"]
    events = [(file, event) for _, file, event in outbox.waiting(root, request["pipeline"], [name])]
    if events:
        _send(root, name, request["target"], events, request["run_waits"], answer)
    sys.stdout.flush()
    os._exit(0)  # the threads of the libraries must not delay the end


def _send(root: Path, name: str, target: str, events: list[Any], run_waits: bool, answer: Callable[..., None]) -> None:
    """Send the events of one tracker in order, up to the first that it does not take."""
    try:
        tracker = _tracker(root, name, target)
    except BenisonError as error:
        answer(warning=str(error))
        return
    answer(step=tracker.shown, limit=tracker.first_s)
    try:
        for number, (file, event) in enumerate(events):
            tracker.connect(event["experiment"])
            if number == 0 or not run_waits:
                answer(step=tracker.shown, limit=tracker.run_s if run_waits else EVENT_S)
            try:
                tracker.send(event)
            except Refused as refused:
                answer(warning=f"{tracker.shown} refused {event['id']}: {refused} ({outbox.refuse(root, file)})")
                continue
            file.unlink(missing_ok=True)
            answer(event="sent")
    except Exception as error:
        answer(warning=f"{tracker.shown}: {tracker.reason(error)}")


def _tracker(root: Path, name: str, target: str) -> Tracker:
    if name == "mlflow":
        from benison.pipelines.tracking.mlflow_tracker import MlflowTracker

        return MlflowTracker(target)
    from benison.pipelines.tracking.wandb_tracker import WandbTracker

    return WandbTracker(outbox.folder(root), "online" if target == "online" else "offline")


if __name__ == "__main__":
    main()
