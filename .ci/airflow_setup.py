#!/usr/bin/env python3
"""Create `.airflow-venv` from `dags/uv.lock`. `make airflow-setup` runs this.

    python3 .ci/airflow_setup.py [--python PYTHON]   create or update .airflow-venv; fast if nothing changed

Airflow cannot share an environment with TFX. Like `bootstrap.py`, which finds uv and the interpreters, this file needs
only the standard library of Python 3.8 or newer.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import bootstrap
from bootstrap import Interpreter, SetupError, Version, dotted

# The version that Airflow's packages are tested on most comes first. Airflow runs on every Python that Benison runs on.
PYTHONS: tuple[Version, ...] = ((3, 12), (3, 11), (3, 13), (3, 10))
VENV = ".airflow-venv"


def usable(interpreter: Interpreter) -> bool:
    """Return True if Airflow can be installed on an interpreter; it needs no headers, because nothing is compiled."""
    lacks = [name for name in interpreter.lacks if name != "Python.h"]
    return interpreter.minor in PYTHONS and not lacks


def choose(interpreters: Sequence[Interpreter]) -> Interpreter | None:
    """Return the usable interpreter of the best version; of several with that version, the first one."""
    candidates = [interpreter for interpreter in interpreters if usable(interpreter)]
    return min(candidates, key=lambda interpreter: PYTHONS.index(interpreter.minor), default=None)


def pick(uv: str, override: str | None) -> Interpreter:
    """Return the interpreter for `.airflow-venv`.

    Raises:
        SetupError: the requested interpreter cannot be used, or none was found and uv could not download one.
    """
    versions = " or ".join(map(dotted, PYTHONS))
    if override:
        requested = bootstrap.probe(shutil.which(override) or override)
        if requested is None or not usable(requested):
            raise SetupError(f"PYTHON={override}: expected a Python that starts, of version {versions}")
        return requested
    chosen = choose(bootstrap.found_interpreters()) or bootstrap.download_interpreter(uv, PYTHONS[0])
    if chosen is None:
        raise SetupError(
            f"found no Python that Airflow runs on; it needs {versions}: install one, or run "
            "make airflow-setup PYTHON=/path/to/python3.N"
        )
    return chosen


def stamp_of(root: Path, override: str | None) -> dict[str, str]:
    """Return what the environment depends on: the clone's folder, the lock, and the requested Python."""
    files = b"".join((root / "dags" / name).read_bytes() for name in ("uv.lock", "pyproject.toml"))
    return {"root": str(root), "files": hashlib.sha256(files).hexdigest(), "python": override or ""}


def setup(root: Path, override: str | None) -> None:
    """Create or update `.airflow-venv`.

    Raises:
        SetupError: something is missing that the user must install.
    """
    venv = root / VENV
    stamp, new_stamp = read_stamp(venv), stamp_of(root, override)
    starts = bootstrap.run([str(venv / "bin/python"), "-c", ""]).returncode == 0
    if stamp and starts and bootstrap.is_same(stamp, new_stamp):
        return
    uv = bootstrap.find_uv(root) or bootstrap.install_uv(root)
    python = pick(uv, override)
    if stamp.get("root", str(root)) != str(root):
        # The clone was moved, and the environment's scripts name the old folder.
        shutil.rmtree(venv)
    bootstrap.say(f"Airflow on Python {dotted(python.version)} ({python.path})")
    bootstrap.say(f"installing the packages of dags/uv.lock into {VENV} (about 350 MB the first time)")
    environment = {**bootstrap.ENVIRONMENT, "UV_PROJECT_ENVIRONMENT": str(venv)}
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    command = [uv, "sync", "--locked", "--all-extras", "--python", python.path, "--project", str(root / "dags"), *quiet]
    if subprocess.run(command, env=environment, cwd=root).returncode:
        raise SetupError("uv could not install the packages; see its message above")
    (venv / bootstrap.STAMP).write_text(json.dumps(new_stamp))
    bootstrap.say(f"done: {VENV} is ready")


def read_stamp(venv: Path) -> dict[str, str]:
    """Return the stamp of the last complete setup; an empty dict if there is none."""
    try:
        return dict(json.loads((venv / bootstrap.STAMP).read_text()))
    except (OSError, ValueError):
        return {}


def main(arguments: Sequence[str]) -> int:
    """Create the environment; print a message and return 1 if something is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", default=os.environ.get("BENISON_AIRFLOW_PYTHON") or None)
    try:
        setup(Path(__file__).resolve().parent.parent, parser.parse_args(arguments).python)
    except SetupError as error:
        print(f"airflow-setup: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
