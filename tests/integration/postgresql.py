"""PostgreSQL's own server on loopback, for a test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.model_server import free_port
from tests.waiting import eventually


def system_program(name: str) -> str:
    """Return the path of a system program."""
    places = [os.environ.get("PATH", ""), "/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/16/bin", "/usr/sbin"]
    path = shutil.which(name, path=os.pathsep.join(places))
    assert path, f"no {name}: make system-deps"
    return path


@contextmanager
def postgresql(folder: Path, database: str) -> Iterator[str]:
    """Start a server and create a database; yield the database's address, `postgresql://…`.

    Args:
        folder: where the server keeps its data and log.
        database: the database's name.
    """
    data, port = folder / "postgres", free_port()
    data.mkdir()
    as_user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        for folder in (data, *data.parents):
            if folder.owner() == "root" and folder != Path("/") and not folder.stat().st_mode & 0o001:
                folder.chmod(folder.stat().st_mode | 0o011)
        shutil.chown(data, "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    run = [*as_user, system_program("initdb"), "-D", str(data), "-U", "me", "--auth=trust"]
    subprocess.run(run, check=True, capture_output=True)
    options = ["-k", str(data), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-p", str(port)]
    with (folder / "postgres.log").open("w") as log:
        server = subprocess.Popen(
            [*as_user, system_program("postgres"), "-D", str(data), *options], stdout=log, stderr=log
        )
    try:
        address = ["-h", "127.0.0.1", "-p", str(port), "-U", "me"]
        eventually(
            lambda: subprocess.run([system_program("pg_isready"), *address], capture_output=True).returncode == 0
        )
        subprocess.run([system_program("createdb"), *address, database], check=True)
        yield f"postgresql://me@127.0.0.1:{port}/{database}"
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
