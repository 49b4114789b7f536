"""A copy to a store that is killed at a given moment: `python s3_publisher.py MOMENT BASE NUMBER STORE`.

Every piece of a request that leaves this process is a moment. With the moment 0 nothing is killed, and the number of
moments is printed.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benison.serving.versions import remote

moments = 0


def before(call: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*args: Any, **kwargs: Any) -> Any:
        global moments
        moments += 1
        if moments == int(sys.argv[1]):
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)

    return counted


if __name__ == "__main__":
    for name in ("send", "sendmsg"):
        setattr(socket.socket, name, before(getattr(socket.socket, name)))
    remote.publish(Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    print(moments)
