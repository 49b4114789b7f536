"""Start Benison's own processes as forks of a process that has imported TensorFlow and TFX already.

Most of the time of an integration test goes into these imports: 4 to 9 seconds of CPU for each command, node, worker
process and model server. `install` replaces `subprocess.Popen` by a class that asks a fork server for such processes
and starts all others as usual. A forked process has its own arguments, environment, folder, session, pipes and exit
code, so tests do not notice. Only its parent differs: it is the fork server.

A process starts from the interpreter all the same where the call names its `executable`, in a test with the fixture
`real_processes`, and everywhere under `pytest --real-processes`.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import gc
import hashlib
import importlib
import io
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benison.components import processes

SERVING, PIPELINES = "serving", "pipelines"  # TensorFlow alone, and with TFX
_BENISON = str(Path(sys.executable).with_name("benison"))
_MODEL_SERVER = "from benison.serving.server.main import main; main()"
_WORKER = 'runpy.run_module("benison.pipelines.worker"'
_FORKS = "from benison.components.forks import main"
_TASKS = {f"benison.pipelines.{name}" for name in ("begin", "node", "scheduled_node", "finish")}
# The tests' own, and an example.
_SCRIPTS = {"counting.py", "hello.py", "hello.v2.py", "ingesting.py", "my_pipeline.py", "pipeline.py"}
# A process runs these as its `__main__`, or a pipeline's config names them: they are imported where they are used.
_NOT_IMPORTED = {*_TASKS, *(f"benison.pipelines.{name}" for name in ("worker", "digits", "flights", "penguins"))}
_TFX = (
    "apache_beam.runners.direct.direct_runner",
    "apache_beam.runners.portability.fn_api_runner",
    "catboost",
    "httpx",
    "keras_tuner",
    "scipy.optimize",
    "tensorboard.summary",
    "tensorflow_model_analysis",
    "tfx.components.evaluator.executor",
    "tfx.components.statistics_gen.executor",
    "tfx.components.trainer.executor",
    "tfx.components.transform.executor",
    "tfx.components.tuner.executor",
    "tfx.orchestration.portable.launcher",
    "tfx.v1",
)
_NUMBER = struct.Struct("i")


def server_for(command: Sequence[str]) -> str | None:
    """Return the fork server that starts a command, or None if none does."""
    match command:
        case [sys.executable, "-c", code, *_] if code == _MODEL_SERVER:
            return SERVING
        case [sys.executable, "-c", code, _] if _WORKER in code:
            return PIPELINES
        case [sys.executable, "-c", code, *_] if _FORKS in code:
            return PIPELINES
        case [sys.executable, "-m", module, *_] if module in _TASKS:
            return PIPELINES
        case [sys.executable, script, *_] if Path(script).name in _SCRIPTS:
            return PIPELINES
        case [program, "serve", *_] if program == _BENISON:
            return SERVING
        case [program, *_] if program == _BENISON:
            return PIPELINES
    return None


# --- the side that starts processes -----------------------------------------------------------------------------------


class ForkServers:
    """The two fork servers of a test run, started when they are first needed.

    Args:
        folder: for their sockets; processes that name the same folder share the servers.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._leases: dict[str, socket.socket] = {}
        self._starting = threading.Lock()

    def connect(self, name: str) -> socket.socket:
        """Return a connection to a server; start the server if nobody has."""
        with self._starting:
            for needed in {name, SERVING} - self._leases.keys():  # a pipeline's process may start a model server
                self._leases[needed] = self._lease(needed)
        return self._dial(name)

    def record(self, pid: int) -> Path:
        """Return the file with the environment of a forked process."""
        return self._folder / f"{pid}.json"

    def release(self) -> None:
        """Close the leases; a server ends when nobody holds one."""
        while self._leases:
            self._leases.popitem()[1].close()

    def _lease(self, name: str) -> socket.socket:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with contextlib.suppress(OSError):
                return self._hold(name)
            command = [sys.executable, __file__, name, str(self._folder)]
            environment = {key: value for key, value in os.environ.items() if not key.startswith("BENISON_")}
            environment.pop("TF_USE_LEGACY_KERAS", None)  # a test that has imported TFT has it in its environment
            with (self._folder / f"{name}.log").open("w") as log:
                done = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
                )
            if done.returncode == 0:  # a child of it listens
                return self._hold(name)
        raise RuntimeError(f"the fork server {name} did not start:\n{(self._folder / f'{name}.log').read_text()}")

    def _hold(self, name: str) -> socket.socket:
        lease = self._dial(name)
        lease.sendall(b"L")
        if lease.recv(1) != b"L":
            lease.close()
            raise ConnectionError("it ends")
        return lease

    def _dial(self, name: str) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(_address(self._folder, name))
        except OSError:
            connection.close()
            raise
        return connection


def _address(folder: Path, name: str) -> str:
    """Return a server's abstract address; a path could be too long for a socket."""
    return f"\0{hashlib.sha256(os.fsencode(folder / name)).hexdigest()}"


_Popen = subprocess.Popen
_servers: ForkServers | None = None


class ForkingPopen(_Popen):
    """`subprocess.Popen`, except that fork servers start the commands that they know."""

    _connection: socket.socket | None = None

    def __init__(self, args: Any, *more: Any, **options: Any) -> None:
        command = [os.fspath(word) for word in args] if isinstance(args, (list, tuple)) else []
        known = not more and not any(options.get(name) for name in ("preexec_fn", "pass_fds", "executable"))
        leash = processes.ending_with_this_process([])
        # A forked process would end with the fork server instead of its parent.
        plain = command[len(leash) :] if command[: len(leash)] == leash else command
        self._server = server_for(plain) if known and _servers else None
        if self._server:
            args = plain
        super().__init__(args, *more, **options)

    def _execute_child(self, args: Any, *details: Any) -> None:
        if self._server is None:
            super()._execute_child(args, *details)  # type: ignore[misc]
            return
        # executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell, then the pipes' ends
        cwd, env, pipes = details[4], details[5], details[9:15]
        request = {
            "command": [os.fspath(word) for word in args],
            "cwd": os.fspath(cwd or os.getcwd()),
            "environment": dict(os.environ if env is None else env),
        }
        assert _servers is not None
        self._connection = _servers.connect(self._server)
        fds = [own if fd == -1 else fd for own, fd in enumerate((pipes[0], pipes[3], pipes[5]))]
        socket.send_fds(self._connection, [b"F"], fds)
        self._connection.sendall(json.dumps(request).encode())
        self._connection.shutdown(socket.SHUT_WR)
        (self.pid,) = _NUMBER.unpack(self._connection.recv(_NUMBER.size))
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _try_wait(self, flags: int) -> tuple[int, int]:
        if self._connection is None:
            return super()._try_wait(flags)  # type: ignore[misc]
        self._connection.setblocking(not flags & os.WNOHANG)
        try:
            status = self._connection.recv(_NUMBER.size)
        except BlockingIOError:
            return 0, 0
        self._connection.close()
        return self.pid, _NUMBER.unpack(status)[0] if status else signal.SIGKILL

    def _internal_poll(self, _deadstate: Any = None, **more: Any) -> int | None:
        if self._connection is None:
            return super()._internal_poll(_deadstate=_deadstate, **more)  # type: ignore[misc]
        if self.returncode is None and self._waitpid_lock.acquire(False):  # type: ignore[attr-defined]
            try:
                with contextlib.suppress(OSError):  # another thread waited, and the connection is closed
                    pid, status = self._try_wait(os.WNOHANG)
                    if pid:
                        self._handle_exitstatus(status)  # type: ignore[attr-defined]
            finally:
                self._waitpid_lock.release()  # type: ignore[attr-defined]
        return self.returncode


def environment_of(pid: int) -> dict[str, str]:
    """Return the environment that a process was started with.

    /proc shows that of the fork server for a forked process.

    Raises:
        OSError: the process has ended, or belongs to somebody else.
    """
    entries = Path(f"/proc/{pid}/environ").read_bytes()
    if _servers is not None:
        with contextlib.suppress(FileNotFoundError):
            return dict(json.loads(_servers.record(pid).read_text()))
    pairs = (entry.partition("=") for entry in entries.decode(errors="replace").split("\0") if entry)
    return {name: value for name, _, value in pairs}


@contextlib.contextmanager
def install(folder: Path) -> Iterator[None]:
    """Let fork servers start Benison's processes until the block ends.

    Args:
        folder: as for `ForkServers`.
    """
    global _servers
    _servers = ForkServers(folder)
    subprocess.Popen = ForkingPopen  # type: ignore[misc]
    try:
        yield
    finally:
        subprocess.Popen = _Popen  # type: ignore[misc]
        _servers.release()
        _servers = None


@contextlib.contextmanager
def bypassed() -> Iterator[None]:
    """Start every process from the interpreter until the block ends."""
    global _servers
    kept, _servers = _servers, None
    try:
        yield
    finally:
        _servers = kept


# --- the fork server --------------------------------------------------------------------------------------------------


def _import_all(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from benison.pipelines.quiet import quieten

        quieten()
        import benison.serving

        packages = [benison.serving]
        importlib.import_module("tensorflow")
        if name == PIPELINES:
            for module in _TFX:
                importlib.import_module(module)
            import benison.components
            import benison.pipelines

            packages += [benison.components, benison.pipelines]
        quieten()
        for package in packages:
            for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                if not any(f"{found.name}.".startswith(f"{module}.") for module in _NOT_IMPORTED):
                    with contextlib.suppress(ImportError):  # the process that needs it shows the error
                        importlib.import_module(found.name)


class _Server:
    """Forks on request, and tells who asked when the process has ended."""

    def __init__(self, listener: socket.socket, servers: ForkServers) -> None:
        self._listener = listener
        self._servers = servers
        self._leases: set[socket.socket] = set()
        self._asked: dict[int, socket.socket] = {}
        self._woken, wake = socket.socketpair()
        wake.setblocking(False)
        self._wake = wake
        signal.set_wakeup_fd(wake.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector = selectors.DefaultSelector()
        for readable in (listener, self._woken):
            self._selector.register(readable, selectors.EVENT_READ)

    def serve(self) -> Callable[[], int] | None:
        """Serve until the last lease is gone; in a forked process, return what it runs."""
        leased = False
        while not leased or self._leases:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    if (forked := self._accept()) is not None:
                        return forked
                elif key.fileobj is self._woken:
                    self._woken.recv(4096)
                    self._reap()
                else:
                    assert isinstance(key.fileobj, socket.socket)
                    self._selector.unregister(key.fileobj)
                    self._leases.remove(key.fileobj)
                    key.fileobj.close()
            leased = leased or bool(self._leases)
        return None

    def _accept(self) -> Callable[[], int] | None:
        connection, _ = self._listener.accept()
        what, fds, _, _ = socket.recv_fds(connection, 1, 3)
        if what == b"L":
            self._leases.add(connection)
            self._selector.register(connection, selectors.EVENT_READ)
            connection.sendall(b"L")
            return None
        text = b"".join(iter(lambda: connection.recv(1 << 16), b""))
        if not (pid := os.fork()):
            connection.close()
            self._close()
            request = json.loads(text)
            return lambda: _run(request, fds)
        for fd in fds:
            os.close(fd)
        self._asked[pid] = connection
        self._servers.record(pid).write_text(json.dumps(json.loads(text)["environment"]))
        connection.sendall(_NUMBER.pack(pid))
        return None

    def _reap(self) -> None:
        while self._asked:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            self._servers.record(pid).unlink(missing_ok=True)
            with self._asked.pop(pid) as connection, contextlib.suppress(OSError):
                connection.sendall(_NUMBER.pack(status))

    def _close(self) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for own in (self._listener, self._woken, self._wake, *self._leases, *self._asked.values()):
            own.close()


def _run(request: dict[str, Any], fds: Sequence[int]) -> int:
    """Become the process that was asked for, and return its exit code."""
    os.setsid()
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
    for fd in fds:
        os.close(fd)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None  # read from the environment again
    if "tensorflow_transform" in sys.modules:
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # TFT sets it at its import, which happened before the fork
    _open_streams(unbuffered=bool(os.environ.get("PYTHONUNBUFFERED")))
    program, *words = request["command"]
    if program == _BENISON:
        code = "from benison.pipelines.cli import main; main()"
        run: Callable[[], object] = functools.partial(_main_module, _BENISON, code)
        first, sys.argv = str(Path(_BENISON).parent), [_BENISON, *words]
    elif words[0].endswith(".py"):
        script = os.path.abspath(words[0])
        run = functools.partial(_main_module, script, Path(script).read_text())
        first, sys.argv = os.path.dirname(script), words
    elif words[0] == "-c":
        run = functools.partial(_main_module, None, words[1])
        first, sys.argv = "", ["-c", *words[2:]]
    else:
        run = functools.partial(runpy.run_module, words[1], run_name="__main__", alter_sys=True)
        first, sys.argv = os.getcwd(), words[1:]
    given = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[:] = [first, *given, *sys.path]
    return _exit_code(run)


def _open_streams(unbuffered: bool) -> None:
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # type: ignore[misc]  # noqa: SIM115
    for number, name, errors in ((1, "stdout", "strict"), (2, "stderr", "backslashreplace")):
        raw = open(number, "wb", 0 if unbuffered else -1, closefd=False)  # noqa: SIM115
        stream = io.TextIOWrapper(
            raw, "utf-8", errors, line_buffering=number == 2 or os.isatty(number), write_through=unbuffered
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _main_module(file: str | None, code: str) -> None:
    main = types.ModuleType("__main__")
    if file is not None:
        main.__file__ = file
    sys.modules["__main__"] = main
    exec(compile(code, file or "<string>", "exec", dont_inherit=True), main.__dict__)


def _exit_code(run: Callable[[], object]) -> int:
    """Run something and return the exit code that the interpreter would end with."""
    try:
        run()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main(name: str, folder: Path) -> None:
    """Run a fork server."""
    global _servers
    del sys.path[0]  # this file's folder
    _import_all(name)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(_address(folder, name))
    listener.listen(128)
    if os.fork():
        os._exit(0)  # whoever started the server may connect
    gc.collect()
    gc.freeze()  # so that collections do not copy the memory that forked processes share
    servers = ForkServers(folder)
    forked = _Server(listener, servers).serve()
    if forked is None:
        return
    _servers = servers
    subprocess.Popen = ForkingPopen  # type: ignore[misc]
    code = 1
    try:
        code = forked()
        threading._shutdown()  # type: ignore[attr-defined]
    finally:
        atexit._run_exitfuncs()
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
