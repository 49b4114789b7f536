"""A push, as Pusher does it, that is killed at a given moment: `python publisher.py MOMENT BASE MODELS`.

MODELS holds the ensemble's SavedModel, `whole`, its spec, and its members' SavedModels. Every call that changes the disk is a moment, and so is each 256 KiB of a file that is copied. With the moment 0 nothing
is killed, and the number of moments is printed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benison.serving.promotion import promote
from benison.serving.promotion.rollout import ChangeRequest
from benison.serving.versions import sets
from benison.serving.versions.manifest import Manifest
from benison.serving.versions.sets import Candidate

CHUNK = 256 << 10
moments = 0


def moment(*_: Any) -> None:
    global moments
    moments += 1
    if moments == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)


def before(call: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*args: Any, **kwargs: Any) -> Any:
        moment()
        return call(*args, **kwargs)

    return counted


def in_chunks(send: Callable[..., int]) -> Callable[..., int]:
    def sent(to: int, source: int, offset: int, count: int) -> int:
        moment()
        return send(to, source, offset, min(count, CHUNK))

    return sent


def on_event(event: str, args: tuple[Any, ...]) -> None:
    writes = event == "open" and isinstance(args[2], int) and bool(args[2] & (os.O_WRONLY | os.O_RDWR))
    if writes or event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir"):
        moment()


def push(base: Path, models: Path) -> None:
    promote.pin(base)
    version = sets.publish(
        Candidate(models / "whole", Manifest(), {"assets.extra/ensemble.json": models / "ensemble.json"}),
        base,
        {name: Candidate(models / name, Manifest()) for name in ("deep", "wide")},
    )
    promote.promote(base, version.number, ChangeRequest("Pusher", "blessed"))


if __name__ == "__main__":
    os.fsync = before(os.fsync)
    os.sendfile = in_chunks(os.sendfile)
    sys.addaudithook(on_event)
    push(Path(sys.argv[2]), Path(sys.argv[3]))
    print(moments)
