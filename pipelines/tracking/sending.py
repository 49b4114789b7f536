"""Tell the trackers of a pipeline what happened; a tracker that is down costs a few seconds and one warning.

Events go through the outbox, and another process sends them: so a tracker that hangs can be given up, and its library
changes nothing in this process. The URI, which may have a password, goes to that process on stdin.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benison.pipelines.config import Pipeline
from benison.pipelines.records.runs import Run
from benison.pipelines.tracking import events, outbox, reachable
from benison.serving.files import file_lock
from benison.serving.promotion.history import Change

_START_S = 60.0  # for the imports of the sender, on a busy machine


@dataclass(frozen=True)
class Sent:
    """The result of sending.

    Attributes:
        count: the number of events that trackers took.
        warnings: one line for each tracker that did not take all.
    """

    count: int = 0
    warnings: tuple[str, ...] = ()


def trackers(config: Pipeline) -> dict[str, str]:
    """Return the trackers of a pipeline: by name, the URI or mode."""
    values = {"mlflow": config.tracking.mlflow, "wandb": config.tracking.wandb}
    return {name: value for name, value in values.items() if value}


def after_run(root: Path, run: Run, config: Pipeline) -> Sent:
    """Tell the trackers of a run that has ended. No failure of a tracker is an error.

    Args:
        root: ROOT.
        run: the run.
        config: its config, with the values of `--set`.
    """
    return _tell(root, config, lambda: events.of_run(run, config))


def after_change(base: Path, change: Change, config: Pipeline) -> Sent:
    """Tell the trackers of a label that has moved.

    Args:
        base: ROOT/serving/NAME.
        change: the change; one that moved nothing is not told.
        config: the pipeline's config.
    """
    if change.before == change.to:
        return Sent()
    return _tell(base.parents[1], config, lambda: events.of_change(change, base, config))


def _tell(root: Path, config: Pipeline, event: Any) -> Sent:
    names = trackers(config)
    if not names:
        return Sent()
    try:
        told = event()
        for name in names:
            outbox.put(root, name, told)
        return send(root, config, run_waits=True)
    except Exception as error:  # such as a full disk; what was run or promoted stays
        return Sent(warnings=(f"tracking: {type(error).__name__}: {error}",))


def send(root: Path, config: Pipeline, *, run_waits: bool = False) -> Sent:
    """Send what waits in the outbox, in order.

    Args:
        root: ROOT.
        config: the pipeline's config.
        run_waits: a run or a promotion waits for it, so a slow tracker is given up sooner.
    """
    names = trackers(config)
    with file_lock.hold(_lock(root, config.name)):
        damaged = [f"{file} was damaged in the outbox and is not sent" for file in outbox.refuse_damaged(root)]
        if not outbox.waiting(root, config.name, list(names)):
            return Sent(warnings=("tracking: " + "; ".join(damaged),) if damaged else ())
        # Without the seconds that a library takes to be imported.
        silent = {name: reason for name, target in names.items() if (reason := reachable.fault(target))}
        live = {name: target for name, target in names.items() if name not in silent}
        answers: list[dict[str, Any]] = [{"warning": reason} for reason in silent.values()]
        for name, target in live.items():  # one that hangs holds up no other
            if outbox.waiting(root, config.name, [name]):
                request = {"root": str(root), "pipeline": config.name, "tracker": name, "target": target}
                answers += _answers({**request, "run_waits": run_waits})
    sent = sum(answer.get("event") == "sent" for answer in answers)
    warnings = damaged + [str(answer["warning"]) for answer in answers if "warning" in answer]
    left = len(outbox.waiting(root, config.name, list(names)))
    if left:
        warnings.append(
            f"{left} event{'s wait' if left > 1 else ' waits'} in {outbox.folder(root) / 'outbox'}; the next run or "
            f"`benison track {config.name}` sends {'them' if left > 1 else 'it'}"
        )
    return Sent(sent, ("tracking: " + "; ".join(warnings),) if warnings else ())


def _lock(root: Path, name: str) -> Path:
    folder = outbox.folder(root)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f".{name}.lock"


def _answers(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the answers of a sender; end it if a step takes longer than it has said."""
    command = [sys.executable, "-m", "benison.pipelines.tracking.sender"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with suppress(BrokenPipeError), process.stdin:
                process.stdin.write(json.dumps(request).encode())
            limit, step, rest = _START_S, "the start of the sender", b""
            deadline = time.monotonic() + limit
            while True:
                if not select.select([process.stdout], [], [], max(deadline - time.monotonic(), 0))[0]:
                    yield {"warning": f"{step}: no answer within {limit:.0f} s"}
                    return
                part = os.read(process.stdout.fileno(), 1 << 16)
                if not part:
                    return
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    answer = json.loads(line)
                    if "step" in answer:
                        limit, step = answer["limit"], answer["step"]
                        deadline = time.monotonic() + limit
                    yield answer
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 9)  # also W&B's own process
