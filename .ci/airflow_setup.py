#!/usr/bin/env python3
"""Make `.airflow-venv` from `dags/uv.lock`: what `make airflow-setup` runs.

    python3 .ci/airflow_setup.py [--python PYTHON]   make or refresh .airflow-venv; quick when nothing changed

Airflow cannot share an environment with TFX. Standard library of Python 3.8 or newer, as `bootstrap.py` beside it,
which finds uv and the interpreters.
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

# Airflow's own order: the one that most of it is tested on first. Any Python that Benison runs on will do.
PYTHONS: tuple[Version, ...] = ((3, 12), (3, 11), (3, 13), (3, 10))
VENV = ".airflow-venv"


def usable(interpreter: Interpreter) -> bool:
    """Whether Airflow can be installed on it: nothing is built, so it needs no headers."""
    lacks = [name for name in interpreter.lacks if name != "Python.h"]
    return interpreter.minor in PYTHONS and not lacks


def choose(found: Sequence[Interpreter]) -> Interpreter | None:
    """The best usable one: by version first, and among equals the one found first."""
    fit = [interpreter for interpreter in found if usable(interpreter)]
    return min(fit, key=lambda interpreter: PYTHONS.index(interpreter.minor), default=None)


def pick(uv: str, override: str | None) -> Interpreter:
    """The interpreter that `.airflow-venv` gets.

    Raises:
        SetupError: the one asked for does not fit, or there is none and uv could not download one.
    """
    wanted = " or ".join(map(dotted, PYTHONS))
    if override:
        asked = bootstrap.probe(shutil.which(override) or override)
        if asked is None or not usable(asked):
            raise SetupError(f"PYTHON={override}: expected a Python that starts, of version {wanted}")
        return asked
    chosen = choose(bootstrap.found_interpreters()) or bootstrap.download_interpreter(uv, PYTHONS[0])
    if chosen is None:
        raise SetupError(f"no Python here that Airflow runs on: {wanted}; give one with make airflow-setup PYTHON=…")
    return chosen


def stamp_of(root: Path, override: str | None) -> dict[str, str]:
    """What the environment is made from."""
    files = b"".join((root / "dags" / name).read_bytes() for name in ("uv.lock", "pyproject.toml"))
    return {"root": str(root), "files": hashlib.sha256(files).hexdigest(), "python": override or ""}


def setup(root: Path, override: str | None) -> None:
    """Make or refresh `.airflow-venv`.

    Raises:
        SetupError: something that cannot be had without the user.
    """
    venv = root / VENV
    stamp, wanted = read_stamp(venv), stamp_of(root, override)
    starts = bootstrap.run([str(venv / "bin/python"), "-c", ""]).returncode == 0
    if stamp and starts and bootstrap.is_same(stamp, wanted):
        return
    uv = bootstrap.find_uv(root) or bootstrap.install_uv(root)
    python = pick(uv, override)
    if stamp.get("root", str(root)) != str(root):  # a clone that was moved: its scripts name the old folder
        shutil.rmtree(venv)
    bootstrap.say(f"Airflow on Python {dotted(python.version)} ({python.path})")
    bootstrap.say(f"installing the packages of dags/uv.lock into {VENV} (the first time: about 350 MB)")
    environment = {**bootstrap.ENVIRONMENT, "UV_PROJECT_ENVIRONMENT": str(venv)}
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    command = [uv, "sync", "--locked", "--all-extras", "--python", python.path, "--project", str(root / "dags"), *quiet]
    if subprocess.run(command, env=environment, cwd=root).returncode:
        raise SetupError("uv could not install the packages; its own message is above")
    (venv / bootstrap.STAMP).write_text(json.dumps(wanted))
    bootstrap.say(f"done: {VENV} is ready")


def read_stamp(venv: Path) -> dict[str, str]:
    """The stamp that the last complete setup left; empty if there is none."""
    try:
        return dict(json.loads((venv / bootstrap.STAMP).read_text()))
    except (OSError, ValueError):
        return {}


def main(arguments: Sequence[str]) -> int:
    """Make the environment; 1 with a message where something is missing."""
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
