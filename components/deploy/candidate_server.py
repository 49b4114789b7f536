"""A temporary model server for candidates: a new process on loopback that ends after the measurement.

It is `benison-model-server`, or the `tensorflow_model_server` that BENISON_TF_SERVING names; both have the same flags.
It is started as a command, so that no module of the server is imported here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benison.components import processes
from benison.serving.client import GrpcClient, RestClient, ServerError
from benison.serving.errors import BenisonError

VERSION = 1
_MODEL_SERVER = (sys.executable, "-c", "from benison.serving.server.main import main; main()")
_POLL_S = 0.05
_MODELS, _LOG = "models", "log"


class CandidateError(BenisonError):
    """The server did not start, or did not load a model in time; the message ends with the server's last output."""


class CandidateTimeout(CandidateError):
    """The server was still working when the time was over."""


@dataclass(frozen=True)
class CandidateServer:
    """A running server.

    Attributes:
        target: `host:port` of gRPC.
        grpc: gRPC client.
        rest: REST client.
        load_s: time from the start of the process until every model of `serve` was available (seconds).
        load_processor_s: processor time that the process and its children have used until then (seconds).
        process: the process.
        folder: its models, config and log.
        token: its admin token.
        fills_missing: True if it takes null and an absent key for a missing cell: Benison's server, not TF Serving.
    """

    target: str
    grpc: GrpcClient
    rest: RestClient
    load_s: float
    load_processor_s: float
    process: subprocess.Popen[bytes]
    folder: Path
    token: str
    fills_missing: bool = True

    def peak_memory_mb(self) -> float:
        """Return the peak resident memory of the process and its children so far (MB of 2^20 bytes)."""
        return sum(_peak_kb(pid) for pid in processes.process_tree(self.process.pid)) / 1024

    def processor_s(self) -> float:
        """Return the processor time that the process and its children have used so far (seconds)."""
        return _processor_s(self.process)

    async def add(self, models: Mapping[str, Path], timeout_s: float) -> None:
        """Serve more SavedModels, each as version 1.

        Args:
            models: folders by model name.
            timeout_s: maximum time for loading them (seconds).

        Raises:
            CandidateError: the server did not load all of them in time.
        """
        started = time.monotonic()
        config = _place(models, self.folder)
        with contextlib.suppress(ServerError):  # the state of the models says what failed
            await self.grpc.reload(config, token=self.token, timeout=timeout_s)
        await _wait_until_available(self.grpc, models, self.process, self.folder / _LOG, started + timeout_s)


@contextlib.asynccontextmanager
async def serve(
    models: Mapping[str, Path], timeout_s: float, plain: Iterable[str] = (), *, own: bool = False
) -> AsyncIterator[CandidateServer]:
    """Serve SavedModels, each as version 1, until the block ends.

    Args:
        models: folders by model name.
        timeout_s: maximum time for the start and all loading (seconds).
        own: whether the models are this project's own, which may use files, the network and Python.
        plain: models, of these and of later ones, for which the server looks for no fast path when it loads them.

    Raises:
        CandidateError: the server did not start, or did not load all models; a CandidateTimeout if it was still at it.
    """
    with tempfile.TemporaryDirectory(prefix="benison-candidate-") as scratch:
        folder = Path(scratch)
        config = folder / "models.config"
        config.write_text(_place(models, folder), encoding="utf-8")
        port, rest_port = _free_ports(2)
        log, token = folder / _LOG, secrets.token_hex()
        started = time.monotonic()
        with log.open("wb") as output:
            command = [*_command(), f"--port={port}", f"--rest_api_port={rest_port}", f"--model_config_file={config}"]
            command.append("--max_num_load_retries=0")  # the default is 5 retries, one minute apart
            # In a temporary folder, so that no module in the user's working folder hides one of the server's.
            environment = {**os.environ, "BENISON_ADMIN_TOKEN": token, "BENISON_PLAIN_MODELS": ",".join(plain)}
            if own:
                environment["BENISON_REFUSE_OPS"] = "0"
            process = subprocess.Popen(
                processes.ending_with_this_process(command),
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environment,
            )
        try:
            async with GrpcClient(f"127.0.0.1:{port}") as grpc, RestClient(port=rest_port) as rest:
                await _wait_until_available(grpc, models, process, log, started + timeout_s)
                seconds = time.monotonic() - started
                is_own = _command() == _MODEL_SERVER
                used = _processor_s(process)
                yield CandidateServer(f"127.0.0.1:{port}", grpc, rest, seconds, used, process, folder, token, is_own)
        finally:
            await asyncio.to_thread(_stop, process)


def _command() -> tuple[str, ...]:
    tf_serving = os.environ.get("BENISON_TF_SERVING", "")
    return (tf_serving,) if tf_serving else _MODEL_SERVER


def _place(models: Mapping[str, Path], folder: Path) -> str:
    """Put models into the server's folder and return the config of all models there."""
    for name, model in models.items():
        # Hard links if possible: a copy of a large model takes time and page cache.
        shutil.copytree(model, folder / _MODELS / name / str(VERSION), copy_function=_link_or_copy)
    entries = "".join(
        f'  config {{ name: "{base.name}" base_path: "{base}" model_platform: "tensorflow" }}\n'
        for base in sorted((folder / _MODELS).iterdir())
    )
    return f"model_config_list {{\n{entries}}}\n"


async def _wait_until_available(
    client: GrpcClient, models: Mapping[str, Path], process: subprocess.Popen[bytes], log: Path, until: float
) -> None:
    waiting = set(models)
    while True:
        for name in sorted(waiting):
            with contextlib.suppress(ServerError):
                states = await client.status(name)
                if any(status.state == "AVAILABLE" for status in states):
                    waiting.discard(name)
                failed = [s for s in states if s.state == "END" and s.error_code != "OK"]
                if failed:
                    raise CandidateError(f"the server could not load {name}: {failed[0].error_message}")
        if not waiting:
            return
        if process.poll() is not None:
            raise CandidateError(f"the server exited with code {process.returncode}: {_tail(log)}")
        if time.monotonic() > until:
            raise CandidateTimeout(f"the server did not load {', '.join(sorted(waiting))} in time: {_tail(log)}")
        await asyncio.sleep(_POLL_S)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # it has no other clients, so there are no requests to finish
    process.wait()


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return " / ".join(lines[-3:]) or "no output"


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]


def _link_or_copy(source: str, target: str) -> Any:
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copyfile(source, target)
    return target


def _processor_s(process: subprocess.Popen[bytes]) -> float:
    return sum(processes.processor_seconds(pid) for pid in processes.process_tree(process.pid))


def _peak_kb(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0
