"""Containers without an engine: commands run at the paths, as the user and on the ports that a rendered file names.

Namespaces of Linux do the work, so it needs root. The image is this machine's /usr, in which the model server of
Benison has the place of tensorflow_model_server.
"""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

CLONE = Path(__file__).parents[2]
SERVER = "usr/bin/tensorflow_model_server"
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET of sched.h


@dataclass(frozen=True)
class Mount:
    """A folder of this machine at a path of the container."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class Container:
    """Describe a container as a file does: user, mounts and variables; its root is read-only."""

    scratch: Path
    user: str
    mounts: Sequence[Mount]
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self, words: Sequence[str], network: Network | None = None) -> list[str]:
        """Return the command that runs words in the container.

        Args:
            words: the command of the container.
            network: the pod's network; by default this machine's.
        """
        enter = ["nsenter", f"--net=/proc/{network.process.pid}/ns/net"] if network else []
        # Engines set HOME too: a user without an entry in /etc/passwd has no other.
        variables = {"PATH": "/opt/benison/bin:/usr/bin:/bin", "HOME": "/", **self.environment}
        clean = ["env", "-i", *(f"{name}={text}" for name, text in variables.items())]
        inside = ["chroot", f"--userspec={self.user}", str(self.scratch / "root"), *clean, *words]
        return [*enter, "unshare", "--mount", "bash", "-c", f"{self._mounts()}\nexec {shlex.join(inside)}"]

    def run(
        self, words: Sequence[str], network: Network | None = None, **options: object
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        command = self.command(words, network)
        return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload]

    @contextlib.contextmanager
    def running(
        self, words: Sequence[str], network: Network | None = None
    ) -> Iterator[tuple[subprocess.Popen[str], Path]]:
        """Run a command until the end of the block; the second value is the file of its output."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        log = self.scratch / f"{Path(words[0]).name}.log"
        with log.open("w") as output:
            process = subprocess.Popen(self.command(words, network), stdout=output, stderr=subprocess.STDOUT, text=True)
        try:
            yield process, log
        finally:
            process.kill()
            process.wait()

    def _mounts(self) -> str:
        """Return the shell commands that make the container's root; the mounts vanish with its processes."""
        root, extra = self.scratch / "root", self.scratch / "image"
        program = extra / SERVER
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(
            f"#!{sys.executable}\nfrom benison.serving.server.main import main\n"
            'import sys\nsys.argv[0] = "benison-model-server"\nmain()\n'
        )
        program.chmod(0o755)
        lines = [
            "set -e",
            "mount --make-rprivate /",
            f"mkdir -p {root}",
            f"mount -t tmpfs tmpfs {root}",
            f"mkdir -p {root}/usr {root}/opt/benison",
            f"mount -t overlay overlay -o lowerdir={extra}/usr:/usr {root}/usr",
            f"for link in bin lib lib64 sbin; do [ ! -e /$link ] || ln -s usr/$link {root}/$link; done",
            f"ln -s {sys.prefix}/bin {root}/opt/benison/bin",
        ]
        code = [
            path
            for path in map(Path, ("/etc", sys.base_prefix, sys.prefix, str(CLONE)))
            if not path.is_relative_to("/usr")
        ]
        image = [Mount(path, str(path), read_only=True) for path in code]
        devices = [Mount(Path(path), path) for path in ("/proc", "/dev")]
        # Outer folders first, because a mount hides what was mounted below it.
        mounts = sorted([*devices, *self.mounts, *image], key=lambda mount: mount.target.count("/"))
        lines += [_bound(mount, root) for mount in mounts]
        return "\n".join([*lines, f"mount -o remount,ro {root}"])


def _bound(mount: Mount, root: Path) -> str:
    target = shlex.quote(f"{root}{mount.target}")
    bind = f"mkdir -p {target}; mount --rbind {shlex.quote(str(mount.source))} {target}"
    return f"{bind}; mount -o remount,bind,ro {target}" if mount.read_only else bind


class Network:
    """A network of a pod: only loopback, with all its ports free."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "up\n"
        self._thread = ThreadPoolExecutor(1, initializer=self._enter)

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        self.process.kill()
        self.process.communicate()

    def ask(self, port: int, path: str, body: str | None = None) -> tuple[int, str]:
        """Send a request as the kubelet does, from within the pod's network; 0 if nobody listens."""
        return self._thread.submit(self._ask, port, path, body).result()

    def _enter(self) -> None:
        descriptor = os.open(f"/proc/{self.process.pid}/ns/net", os.O_RDONLY)
        try:
            # Of this thread only.
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, _NEW_NETWORK):
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(descriptor)

    def _ask(self, port: int, path: str, body: str | None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET" if body is None else "POST", path, body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except ConnectionError:
            return 0, ""
        finally:
            connection.close()
