"""The processes of a search: a chief with KerasTuner's oracle, and workers that run its trials.

Chief and workers speak KerasTuner's own protocol over gRPC (OracleServicer and OracleClient). Around it, this adds what
KerasTuner lacks:

- A worker that was killed is started again under its name, and the oracle gives it its trial again. A trial that has
  killed its worker five times has failed.
- The chief listens on a free port of loopback, and ends with the last worker; KerasTuner's own sleeps 20 s at a time.
- A search that was interrupted continues (`finished_trials`).
- Each worker has its own part of the processor's cores.
- Workers elsewhere can join a search by files (`mailbox`), as the mapped tasks of Airflow do. A trial whose worker has
  given no sign for a minute is run by another one.
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
from benison.components.tuning import finished_trials, mailbox
from benison.components.tuning.finished_trials import FAILED, IDLE, STOPPED
from benison.components.tuning.mailbox import ANNOUNCEMENT, CHIEF_FILE
from benison.components.tuning.search import Search
from benison.serving.errors import NodeFailed
from benison.serving.files import atomic_file

_SEARCH, _STOP = "search.pickle", "stop"  # files in the search's folder
_ELSEWHERE = "task-"  # begins the names of workers elsewhere
_POLL_S = 0.05
_IDLE_S = 0.2  # between two requests for a trial while the oracle waits for others
_DEATHS_OF_A_TRIAL = 5
_DEATHS_WITHOUT_A_TRIAL = 5


def run(search: Search) -> None:
    """Run the trials of a search; their results are in `finished_trials` afterwards.

    Raises:
        BenisonError: the user's code cannot be used, or processes die again and again.
    """
    announcement = os.environ.get(ANNOUNCEMENT)
    if search.workers == 1 and not announcement:
        tuner = search.tuner()
        finished_trials.keep(tuner.oracle, Path(search.folder))
        tuner.run()
        return
    folder = Path(search.folder)
    for name in (CHIEF_FILE, _STOP):
        (folder / name).unlink(missing_ok=True)
    mailbox.open_mail(folder)
    (folder / _SEARCH).write_bytes(pickle.dumps(search))
    if announcement:
        atomic_file.write(Path(announcement), json.dumps({"folder": str(folder)}))
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

    local = 1 if os.environ.get(ANNOUNCEMENT) else search.workers

    def start(number: int) -> Fork:
        return Fork(folder, f"tuner-worker-{number}", lambda: _work(search, number, local))

    workers = {number: start(number) for number in range(local)}
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
                if deaths >= _DEATHS_WITHOUT_A_TRIAL + _DEATHS_OF_A_TRIAL * local:
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

    oracle, folder = search.oracle(), Path(search.folder)
    deaths: dict[str, int] = {}

    def count_death(trial: Any) -> None:
        deaths[trial.trial_id] = deaths.get(trial.trial_id, 0) + 1
        if deaths[trial.trial_id] >= _DEATHS_OF_A_TRIAL:
            trial.status = FAILED
            trial.message = f"the worker process died {_DEATHS_OF_A_TRIAL} times while it ran this trial"
            oracle.end_trial(trial)

    class Servicer(OracleServicer):
        def CreateTrial(self, request: Any, context: Any) -> Any:
            if (trial := oracle.ongoing_trials.get(request.tuner_id)) is not None:  # its worker died
                count_death(trial)
            trial = oracle.create_trial(request.tuner_id)
            if trial.status == STOPPED and oracle.ongoing_trials:  # another worker may die, and leave its trial
                trial.status = IDLE
            return protos.get_service().CreateTrialResponse(trial=trial.to_proto())

        def EndTrial(self, request: Any, context: Any) -> Any:
            # A worker that was only slow may end a trial that another one has.
            if request.trial.trial_id in {trial.trial_id for trial in oracle.ongoing_trials.values()}:
                return super().EndTrial(request, context)
            return protos.get_service().EndTrialResponse()

    def release(name: str) -> None:
        """Give the trial of a dead worker to the next one that asks."""
        if (trial := oracle.ongoing_trials.get(name)) is None:
            return
        print(f"{name} has given no sign for {mailbox.SILENCE_S:g} s; another worker runs its trial", flush=True)
        count_death(trial)
        if oracle.ongoing_trials.pop(name, None) is not None:
            oracle._retry_queue.append(trial.trial_id)

    one_at_a_time = futures.ThreadPoolExecutor(max_workers=1)  # KerasTuner's locks are for one thread

    def call(function: Any, *arguments: Any) -> Any:
        return one_at_a_time.submit(function, *arguments).result()

    servicer, pulse = Servicer(oracle), mailbox.Pulse(folder)
    server = grpc.server(one_at_a_time)
    protos.get_service_grpc().add_OracleServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    mailbox.beat(folder)
    atomic_file.write(folder / CHIEF_FILE, json.dumps({"host": "127.0.0.1", "port": port}))
    while not (folder / _STOP).exists():
        time.sleep(_POLL_S)
        mailbox.answer(folder, servicer, call)
        for name in [name for name in list(oracle.ongoing_trials) if name.startswith(_ELSEWHERE)]:
            if pulse.is_dead(name):
                call(release, name)
    mailbox.answer(folder, servicer, call)
    server.stop(None)


def _work(search: Search, number: int, of: int) -> None:
    """Run trials as one of the workers of this machine until the oracle has no more."""
    forks.take_cores(number, of)
    while not (Path(search.folder) / CHIEF_FILE).exists():
        time.sleep(_POLL_S)
    chief = json.loads((Path(search.folder) / CHIEF_FILE).read_text(encoding="utf-8"))
    _run_trials(search, f"worker-{number}", chief["host"], chief["port"])


def join(folder: Path, number: int) -> None:
    """Run trials of a search as a worker elsewhere, until the oracle has no more or the search has ended.

    Args:
        folder: folder of the search.
        number: number of the worker.

    Raises:
        NodeFailed: the search has ended, or its chief is dead.
    """
    search: Search = pickle.loads((folder / _SEARCH).read_bytes())
    name = f"{_ELSEWHERE}{number}"
    mailbox.beat(folder, name)
    _run_trials(search, name, "127.0.0.1", 0, mailbox.Stub(folder, name))


def _run_trials(search: Search, name: str, host: str, port: int, stub: Any = None) -> None:
    os.environ["KERASTUNER_TUNER_ID"] = name
    os.environ["KERASTUNER_ORACLE_IP"], os.environ["KERASTUNER_ORACLE_PORT"] = host, str(port)
    tuner = search.tuner()
    if stub is not None:
        tuner.oracle.stub = stub
    create = tuner.oracle.create_trial

    def create_trial(tuner_id: str) -> Any:
        trial = create(tuner_id)
        if trial.status == IDLE:
            time.sleep(_IDLE_S)
        return trial

    tuner.oracle.create_trial = create_trial
    # The chief builds no model, so it does not know the hyperparameters that only a member's function declares.
    tuner.oracle.update_space(tuner.space)
    tuner.run()
