"""KerasTuner's protocol by files, for workers on other machines.

They share a folder with the chief, but perhaps no network in which it can listen. A worker writes each call of
OracleClient as a file, and the chief writes the answer of OracleServicer beside it. Both show by a number that changes
that they live, because the clocks of two machines differ.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benison.serving.errors import NodeFailed

# Names the file in which a search announces itself to workers elsewhere; this machine then runs one worker.
ANNOUNCEMENT = "BENISON_SEARCH_ANNOUNCEMENT"
CHIEF_FILE = "chief.json"  # in the folder of a search, when its chief answers
SILENCE_S = 60.0  # after which the other side counts as dead
_FOLDER, _REQUEST, _REPLY, _BEAT, _CHIEF = "mail", ".request", ".reply", ".beat", "chief"
_METHODS = ("GetSpace", "UpdateSpace", "CreateTrial", "UpdateTrial", "EndTrial", "GetTrial", "GetBestTrials")
_POLL_S, _BEAT_S = 0.1, 2.0


def open_mail(folder: Path) -> None:
    """Create an empty mailbox in the folder of a search."""
    (folder / _FOLDER).mkdir(exist_ok=True)
    for file in (folder / _FOLDER).iterdir():
        file.unlink(missing_ok=True)


class Pulse:
    """Tells which names have given a sign of life in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / _FOLDER
        self._seen: dict[str, tuple[str, float]] = {}

    def is_dead(self, name: str) -> bool:
        """Return True if a name has given no sign for SILENCE_S seconds."""
        try:
            sign = (self._folder / f"{name}{_BEAT}").read_text()
        except OSError:
            sign = ""
        last, since = self._seen.get(name, (None, 0.0))
        if sign != last:
            since = time.monotonic()
            self._seen[name] = sign, since
        return time.monotonic() - since > SILENCE_S


def beat(folder: Path, name: str = _CHIEF) -> None:
    """Give signs of life in a thread, until this process ends."""

    def work() -> None:
        number = 0
        while True:
            number += 1
            try:
                _write(folder / _FOLDER / f"{name}{_BEAT}", f"{os.getpid()} {number}".encode())
            except OSError:  # the search has ended, and its folder is gone
                return
            time.sleep(_BEAT_S)

    threading.Thread(target=work, daemon=True).start()


class Stub:
    """KerasTuner's OracleStub by files.

    Args:
        folder: folder of the search.
        name: name of the worker.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder / _FOLDER, name
        self._pulse = Pulse(folder)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method not in _METHODS:
            raise AttributeError(method)
        return partial(self._call, method)

    def _call(self, method: str, request: Any, **_: Any) -> Any:
        from keras_tuner.src import protos

        stem = self._folder / f"{self._name}-{uuid.uuid4().hex}"
        reply = stem.with_suffix(_REPLY)
        try:
            _write(stem.with_suffix(_REQUEST), method.encode() + b"\n" + request.SerializeToString())
            while not reply.exists():
                time.sleep(_POLL_S)
                if not self._folder.is_dir():
                    raise FileNotFoundError
                if self._pulse.is_dead(_CHIEF):
                    raise NodeFailed(f"the chief of the search has given no sign for {SILENCE_S:g} s")
            answer = getattr(protos.get_service(), f"{method}Response").FromString(reply.read_bytes())
        except FileNotFoundError as error:
            raise NodeFailed("the search has ended") from error
        reply.unlink(missing_ok=True)
        return answer


def answer(folder: Path, servicer: Any, call: Callable[..., Any]) -> None:
    """Answer the calls that have arrived.

    Args:
        folder: folder of the search.
        servicer: KerasTuner's OracleServicer.
        call: calls a function with arguments, one at a time.
    """
    from keras_tuner.src import protos

    for file in sorted((folder / _FOLDER).glob(f"*{_REQUEST}")):
        method, _, content = file.read_bytes().partition(b"\n")
        name = method.decode()
        if name not in _METHODS:
            raise NodeFailed(f"{file}: no call of KerasTuner's protocol")
        request = getattr(protos.get_service(), f"{name}Request").FromString(content)
        _write(file.with_suffix(_REPLY), call(getattr(servicer, name), request, None).SerializeToString())
        file.unlink()


def _write(file: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it, or none."""
    temporary = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    temporary.write_bytes(content)
    os.replace(temporary, file)
