"""Work that several processes of this machine share, each a fork of one that has imported TensorFlow.

A node cannot be forked: TensorFlow or a server of TFX's may have threads in it. So `run` starts another process, which
imports what the work needs, runs no operation of TensorFlow, and forks; `Fork` is one of the forks. An error in any of
them becomes the error of `run`. All of them end with the process that started them.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from benison.components import legacy_keras, modules, processes
from benison.serving import errors
from benison.serving.errors import BenisonError, NodeFailed
from benison.serving.files import atomic_file

_ERROR = "error.json"  # in the folder of the work
_START = """
import json, sys, warnings
sys.path[:] = json.loads(sys.argv.pop(1))
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from benison.components.forks import main
main()
"""


@contextlib.contextmanager
def run(function: str, folder: Path) -> Iterator[None]:
    """Call a function in a process of its own, beside the block, and wait for its end after it.

    Args:
        function: `module:function` of Benison; it is called with the folder, and forks.
        folder: folder of the work.

    Raises:
        BenisonError: the process, or one of its forks, failed.
    """
    (folder / _ERROR).unlink(missing_ok=True)
    command = [sys.executable, "-c", _START, json.dumps([os.path.abspath(entry) for entry in sys.path])]
    environment = {**legacy_keras.environment_for_child(), "PYTHONPATH": os.pathsep.join(modules.import_path())}
    with subprocess.Popen(
        processes.ending_with_this_process([*command, function, str(folder)]),
        stdin=subprocess.DEVNULL,
        env=environment,
    ) as process:
        try:
            yield
            code = process.wait()
        finally:
            process.kill()
    if code:
        raise error_of(folder) or NodeFailed(f"the process {how_it_ended(code)}; run it again")


def main() -> None:
    """Be the process that `run` starts."""
    legacy_keras.settle_keras()
    module, _, name = sys.argv[1].partition(":")
    folder = Path(sys.argv[2])
    function = getattr(__import__(module, fromlist=[name]), name)
    sys.exit(_guarded(folder, lambda: function(folder)))


class Fork:
    """A function in a fork of this process, which ends with this process.

    Args:
        folder: folder of the work.
        name: name of the process, for `ps` and `top`, of at most 15 characters.
        function: the function.
    """

    def __init__(self, folder: Path, name: str, function: Callable[[], None]) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self._code: int | None = None
        self._pid = os.fork()
        if self._pid == 0:
            code = 1
            try:
                gc.freeze()  # a collection would copy the memory that this process shares with its parent
                processes.end_with_parent(signal.SIGKILL)
                Path("/proc/self/comm").write_text(name)
                code = _guarded(folder, function)
            finally:
                os._exit(code)

    def ended(self) -> int | None:
        """Return the exit code, negative for a signal; None while the process runs."""
        if self._code is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def kill(self) -> None:
        """End the process, if it runs."""
        if self.ended() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)


def error_of(folder: Path) -> BenisonError | None:
    """Return the error that a process of the work has left."""
    if not (folder / _ERROR).exists():
        return None
    left: Mapping[str, str] = json.loads((folder / _ERROR).read_text(encoding="utf-8"))
    kind: type[BenisonError] = getattr(errors, left["kind"])
    return kind(left["message"])


def how_it_ended(code: int) -> str:
    """Describe the end of a process by its exit code, which is negative for a signal."""
    if code >= 0:
        return f"ended with exit code {code}"
    hint = "; the kernel does this when memory runs out" if -code == signal.SIGKILL else ""
    return f"was killed by {signal.Signals(-code).name}{hint}"


def take_cores(number: int, of: int) -> None:
    """Keep this process to its part of the cores; TensorFlow, CatBoost and OpenMP start as many threads.

    Args:
        number: the number of the part, from 0.
        of: number of parts.
    """
    cores = sorted(os.sched_getaffinity(0))
    share = max(1, len(cores) // of)
    first = number * share % len(cores)
    os.sched_setaffinity(0, cores[first : first + share])


def _guarded(folder: Path, function: Callable[[], None]) -> int:
    """Call a function; write its error into the folder, and return the exit code."""
    try:
        function()
    except BaseException as error:
        traceback.print_exc()
        kind = type(error).__name__ if isinstance(error, BenisonError) else NodeFailed.__name__
        message = str(error) if isinstance(error, BenisonError) else f"{type(error).__name__}: {error}"
        if not (folder / _ERROR).exists():  # the first one is the cause of the others
            atomic_file.write(folder / _ERROR, json.dumps({"kind": kind, "message": message}))
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0
