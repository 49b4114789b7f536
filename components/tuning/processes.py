"""The processes of a search: a chief with KerasTuner's oracle, and workers that run its trials.

The process of the node starts another one, which starts the chief and the workers and ends with them. They are forks of
it: it has imported TensorFlow, but runs no operation of it and no gRPC. The node's own process has a server of TFX's in
it, so it could not be forked.

Chief and workers speak KerasTuner's own protocol over gRPC (OracleServicer and OracleClient). Around it, this adds what
KerasTuner lacks:

- A worker that was killed is started again under its name, and the oracle gives it its trial again. A trial that has
  killed its worker three times has failed.
- The chief listens on a free port of loopback, and ends with the last worker; KerasTuner's own sleeps 20 s at a time.
- A search that was interrupted continues (`finished_trials`).
- Each worker has its own part of the processor's cores.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import pickle
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent import futures
from pathlib import Path
from typing import Any, NoReturn

from benison.components import legacy_keras, modules, processes
from benison.components.tuning import finished_trials
from benison.components.tuning.finished_trials import FAILED
from benison.components.tuning.search import Search
from benison.serving import errors
from benison.serving.errors import BenisonError, NodeFailed
from benison.serving.files import atomic_file

_SEARCH, _CHIEF, _STOP, _ERROR = "search.pickle", "chief.json", "stop", "error.json"  # files in the search's folder
_POLL_S = 0.05
_IDLE_S = 0.2  # between two requests for a trial while the oracle waits for others
_DEATHS_OF_A_TRIAL = 3
_DEATHS_WITHOUT_A_TRIAL = 5
_START = """
import json, sys, warnings
sys.path[:] = json.loads(sys.argv.pop(1))
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from benison.components.tuning.processes import main
main()
"""


def run(search: Search) -> None:
    """Run the trials of a search; their results are in `finished_trials` afterwards.

    Raises:
        BenisonError: the user's code cannot be used, or processes die again and again.
    """
    if search.workers == 1:
        tuner = search.tuner()
        finished_trials.keep(tuner.oracle, Path(search.folder))
        tuner.run()
        return
    folder = Path(search.folder)
    for name in (_CHIEF, _STOP, _ERROR):
        (folder / name).unlink(missing_ok=True)
    (folder / _SEARCH).write_bytes(pickle.dumps(search))
    command = [sys.executable, "-c", _START, json.dumps([os.path.abspath(entry) for entry in sys.path])]
    environment = {
        **legacy_keras.environment_for_child(),
        "PYTHONPATH": os.pathsep.join(modules.import_path()),
    }
    with subprocess.Popen(
        processes.ending_with_this_process([*command, str(folder / _SEARCH)]),
        stdin=subprocess.DEVNULL,
        env=environment,
    ) as process:
        try:
            search.tuner()  # here too, so that what the user's code reads is known to this process, see `code.reads`
            code = process.wait()
        finally:
            process.kill()
    if code:
        raise _error(folder) or NodeFailed(f"the search {_how(code)}; run it again to continue")


def main() -> None:
    """Start the chief and the workers of a search; see the module."""
    legacy_keras.settle_keras()
    import keras
    import keras_tuner
    import tensorflow_transform as tft

    del keras, keras_tuner, tft  # imported before the forks
    search: Search = pickle.loads(Path(sys.argv[1]).read_bytes())
    sys.exit(_guarded(search, lambda: _supervise(search)))


def _supervise(search: Search) -> None:
    folder = Path(search.folder)
    chief = _Fork(search, "chief", _chief)

    def start(number: int) -> _Fork:
        return _Fork(search, f"worker-{number}", _work, number)

    workers = {number: start(number) for number in range(search.workers)}
    deaths, finished = 0, len(finished_trials.read(folder))  # deaths in turn, without a trial that has finished
    try:
        while workers:
            time.sleep(_POLL_S)
            _refuse_end_of(chief)
            for number, worker in list(workers.items()):
                if (code := worker.ended()) is None:
                    continue
                del workers[number]
                if code == 0:
                    continue
                if error := _error(folder):
                    raise error
                before, finished = finished, len(finished_trials.read(folder))
                deaths = deaths + 1 if finished == before else 1
                print(f"worker {number} {_how(code)}; it is started again", flush=True)
                if deaths >= _DEATHS_WITHOUT_A_TRIAL + _DEATHS_OF_A_TRIAL * search.workers:
                    raise NodeFailed(f"worker processes died {deaths} times in turn; the last one {_how(code)}")
                workers[number] = start(number)
        (folder / _STOP).touch()
        while chief.ended() is None:
            time.sleep(_POLL_S)
        _refuse_end_of(chief)
    finally:
        for process in (chief, *workers.values()):
            process.kill()


def _refuse_end_of(chief: _Fork) -> None:
    """Raise an error if the chief has ended before it should."""
    if chief.ended():
        raise _error(chief.folder) or NodeFailed(f"the chief of the search {_how(chief.ended() or 0)}")


def _chief(search: Search) -> None:
    """Answer the workers until the search ends."""
    import grpc
    from keras_tuner.src import protos
    from keras_tuner.src.distribute.oracle_chief import OracleServicer

    oracle = search.oracle()
    deaths: dict[str, int] = {}

    class Servicer(OracleServicer):
        def CreateTrial(self, request: Any, context: Any) -> Any:
            if (trial := oracle.ongoing_trials.get(request.tuner_id)) is not None:  # its worker died
                deaths[trial.trial_id] = deaths.get(trial.trial_id, 0) + 1
                if deaths[trial.trial_id] >= _DEATHS_OF_A_TRIAL:
                    trial.status = FAILED
                    trial.message = f"the worker process died {_DEATHS_OF_A_TRIAL} times while it ran this trial"
                    oracle.end_trial(trial)
            return super().CreateTrial(request, context)

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))  # KerasTuner's locks are for one thread
    protos.get_service_grpc().add_OracleServicer_to_server(Servicer(oracle), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    folder = Path(search.folder)
    atomic_file.write(folder / _CHIEF, json.dumps({"host": "127.0.0.1", "port": port}))
    while not (folder / _STOP).exists():
        time.sleep(_POLL_S)
    server.stop(None)


def _work(search: Search, number: int) -> None:
    """Run trials as one of the workers until the oracle has no more."""
    cores = sorted(os.sched_getaffinity(0))
    share = max(1, len(cores) // search.workers)
    first = number * share % len(cores)
    os.sched_setaffinity(0, cores[first : first + share])  # TensorFlow, CatBoost and OpenMP start as many threads
    while not (Path(search.folder) / _CHIEF).exists():
        time.sleep(_POLL_S)
    chief = json.loads((Path(search.folder) / _CHIEF).read_text(encoding="utf-8"))
    os.environ["KERASTUNER_TUNER_ID"] = f"worker-{number}"
    os.environ["KERASTUNER_ORACLE_IP"], os.environ["KERASTUNER_ORACLE_PORT"] = chief["host"], str(chief["port"])
    tuner = search.tuner()
    create = tuner.oracle.create_trial

    def create_trial(tuner_id: str) -> Any:
        trial = create(tuner_id)
        if trial.status == "IDLE":
            time.sleep(_IDLE_S)
        return trial

    tuner.oracle.create_trial = create_trial
    # The chief builds no model, so it does not know the hyperparameters that only a member's function declares.
    tuner.oracle.update_space(tuner.space)
    tuner.run()


class _Fork:
    """A function of a search in a fork of this process, which ends with this process.

    Args:
        search: the search.
        name: name of the process, for `ps` and `top`.
        function: is called with the search and the other arguments.
        arguments: the other arguments.
    """

    def __init__(self, search: Search, name: str, function: Callable[..., None], *arguments: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self.folder = Path(search.folder)
        self._code: int | None = None
        self._pid = os.fork()
        if self._pid == 0:
            gc.freeze()  # a collection would copy the memory that this process shares with its parent
            _end_as(name, search, lambda: function(search, *arguments))

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


def _end_as(name: str, search: Search, function: Callable[[], None]) -> NoReturn:
    """Call a function as the only task of this process."""
    code = 1
    try:
        processes.end_with_parent(signal.SIGKILL)
        Path("/proc/self/comm").write_text(f"tuner-{name}")
        code = _guarded(search, function)
    finally:
        os._exit(code)


def _guarded(search: Search, function: Callable[[], None]) -> int:
    """Call a function; write its error into the search's folder, and return the exit code."""
    try:
        function()
    except BaseException as error:
        traceback.print_exc()
        kind = type(error).__name__ if isinstance(error, BenisonError) else NodeFailed.__name__
        message = str(error) if isinstance(error, BenisonError) else f"{type(error).__name__}: {error}"
        atomic_file.write(Path(search.folder) / _ERROR, json.dumps({"kind": kind, "message": message}))
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _error(folder: Path) -> BenisonError | None:
    """Return the error that a process has left."""
    if not (folder / _ERROR).exists():
        return None
    left: Mapping[str, str] = json.loads((folder / _ERROR).read_text(encoding="utf-8"))
    kind: type[BenisonError] = getattr(errors, left["kind"])
    return kind(left["message"])


def _how(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
