"""The processes of a search: a chief with KerasTuner's oracle, and workers that run its trials.

Chief and workers speak KerasTuner's own protocol over gRPC (OracleServicer and OracleClient). Around it, this adds what
KerasTuner lacks:

- A worker that was killed is started again under its name, and the oracle gives it its trial again. A trial that has
  killed its worker five times has failed.
- The chief listens on a free port of loopback, and ends with the last worker; KerasTuner's own sleeps 20 s at a time.
- A search that was interrupted continues (`finished_trials`).
- Each worker has its own part of the processor's cores.
"""

from __future__ import annotations

import json
import os
import pickle
import time
from concurrent import futures
from pathlib import Path
from typing import Any

from benison.components import forks
from benison.components.forks import Fork
from benison.components.tuning import finished_trials
from benison.components.tuning.finished_trials import FAILED
from benison.components.tuning.search import Search
from benison.serving.errors import NodeFailed
from benison.serving.files import atomic_file

_SEARCH, _CHIEF, _STOP = "search.pickle", "chief.json", "stop"  # files in the search's folder
_POLL_S = 0.05
_IDLE_S = 0.2  # between two requests for a trial while the oracle waits for others
_DEATHS_OF_A_TRIAL = 5
_DEATHS_WITHOUT_A_TRIAL = 5


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
    for name in (_CHIEF, _STOP):
        (folder / name).unlink(missing_ok=True)
    (folder / _SEARCH).write_bytes(pickle.dumps(search))
    with forks.run(f"{__name__}:supervise", folder):
        search.tuner()  # here too, so that what the user's code reads is known to this process, see `code.reads`


def supervise(folder: Path) -> None:
    """Start the chief and the workers of the search in a folder, and wait for its end.

    Raises:
        NodeFailed: processes die again and again.
    """
    import keras
    import keras_tuner
    import tensorflow_transform as tft

    del keras, keras_tuner, tft  # imported before the forks
    search: Search = pickle.loads((folder / _SEARCH).read_bytes())
    chief = Fork(folder, "tuner-chief", lambda: _chief(search))

    def start(number: int) -> Fork:
        return Fork(folder, f"tuner-worker-{number}", lambda: _work(search, number))

    workers = {number: start(number) for number in range(search.workers)}
    deaths, finished = 0, len(finished_trials.read(folder))  # deaths in turn, without a trial that has finished
    try:
        while workers:
            time.sleep(_POLL_S)
            _refuse_end_of(chief, folder)
            for number, worker in list(workers.items()):
                if (code := worker.ended()) is None:
                    continue
                del workers[number]
                if code == 0:
                    continue
                if error := forks.error_of(folder):
                    raise error
                before, finished = finished, len(finished_trials.read(folder))
                deaths = deaths + 1 if finished == before else 1
                print(f"worker {number} {forks.how_it_ended(code)}; it is started again", flush=True)
                if deaths >= _DEATHS_WITHOUT_A_TRIAL + _DEATHS_OF_A_TRIAL * search.workers:
                    raise NodeFailed(
                        f"worker processes died {deaths} times in turn; the last one {forks.how_it_ended(code)}"
                    )
                workers[number] = start(number)
        (folder / _STOP).touch()
        while chief.ended() is None:
            time.sleep(_POLL_S)
        _refuse_end_of(chief, folder)
    finally:
        for process in (chief, *workers.values()):
            process.kill()


def _refuse_end_of(chief: Fork, folder: Path) -> None:
    """Raise an error if the chief has ended before it should."""
    if code := chief.ended():
        raise forks.error_of(folder) or NodeFailed(f"the chief of the search {forks.how_it_ended(code)}")


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
    forks.take_cores(number, search.workers)
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
