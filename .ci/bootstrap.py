#!/usr/bin/env python3
"""Create `.venv` from `uv.lock`. `make setup` runs this.

    python3 .ci/bootstrap.py setup [--python PYTHON]   create or update .venv; fast if nothing changed
    python3 .ci/bootstrap.py uv ARGUMENT...            run the uv that setup uses

It needs only the standard library of Python 3.8 or newer, because it runs before anything is installed. `.venv` may get
another Python than the one that runs this file: setup chooses one that fits this machine's glibc.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Mapping, Sequence, Tuple

Version = Tuple[int, int]  # evaluated at import, so not `tuple[…]`, which needs Python 3.9

# The newer TFX needs ml-metadata 1.21, whose wheels are built against glibc 2.39; the rest of the lock needs 2.27.
OLDEST_GLIBC: Version = (2, 27)
NEWER_TRACK_GLIBC: Version = (2, 39)
NEWER_TRACK: tuple[Version, ...] = ((3, 13), (3, 12))
OLDER_TRACK: tuple[Version, ...] = ((3, 11), (3, 10))
OLDEST_UV: Version = (0, 8)
UV_REQUIREMENT = ".ci/uv.txt"
STAMP = ".setup-stamp"

# The paths of Debian and Ubuntu, and of Fedora and Red Hat.
CERTIFICATE_STORES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")

PYTHON_NAMES = ("python3.11", "python3.10", "python3.13", "python3.12", "python3")
# With any of these set, uv or pip would not install into this clone's own folders.
CONFLICTING = (
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYTHONPATH",
    "PYTHONHOME",
    "PIP_PREFIX",
    "PIP_REQUIRE_VIRTUALENV",
    "PIP_TARGET",
    "PIP_USER",
    "UV_PYTHON",
    "UV_SYSTEM_PYTHON",
    "UV_NO_DEV",
)

UNREACHABLE = (
    "  (pip prints this also if it cannot reach the package index: check the network, proxy and pip's settings)"
)

# Run in every candidate, because only a start shows if it works: a pyenv shim fails unless its version is selected, and
# a Python built without some library lacks the module. Python.h is needed because pyfarmhash has no wheel.
PROBE = """
import importlib, json, os, platform, sys, sysconfig
lacks = []
for name in ("bz2", "ctypes", "lzma", "sqlite3", "ssl", "zlib"):
    try:
        importlib.import_module(name)
    except ImportError:
        lacks.append("module " + name)
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    lacks.append("Python.h")
if platform.python_implementation() != "CPython":
    lacks.append("CPython")
if sysconfig.get_config_var("Py_GIL_DISABLED"):
    lacks.append("the GIL")
base = getattr(sys, "_base_executable", sys.executable)
print(json.dumps({"path": base, "version": sys.version_info[:3], "lacks": lacks}))
"""


class SetupError(Exception):
    """Setup cannot continue; the message says what is missing and how to get it."""


@dataclass(frozen=True)
class Interpreter:
    """A Python that starts: its path, its full version, and what Benison's environment needs but it lacks."""

    path: str
    version: tuple[int, int, int]
    lacks: tuple[str, ...] = ()

    @property
    def minor(self) -> Version:
        """Major and minor version, such as (3, 11)."""
        return self.version[:2]

    def refusal(self, allowed: Sequence[Version]) -> str:
        """Return why this interpreter cannot be used if these versions are allowed; an empty string if it can."""
        if self.minor not in allowed:
            return f"{dotted(self.version)}, but this machine needs {' or '.join(map(dotted, allowed))}"
        if self.lacks:
            remedy = f" (Debian, Ubuntu: python{dotted(self.minor)}-dev)" if "Python.h" in self.lacks else ""
            return f"{dotted(self.version)}, without {', '.join(self.lacks)}{remedy}"
        return ""


# ---- decisions, on plain data ----------------------------------------------------------------------------------------


def dotted(version: Iterable[int]) -> str:
    """Format (3, 11) as `3.11`."""
    return ".".join(map(str, version))


def first_version(text: str) -> Version | None:
    """Return the first `N.N` in a text such as `glibc 2.36` or `uv 0.13.8 (…)`, or None."""
    match = re.search(r"(\d+)\.(\d+)", text)
    return (int(match.group(1)), int(match.group(2))) if match else None


def machine_problem(system: str, machine: str, glibc: Version | None) -> str:
    """Return why TFX's libraries cannot be installed on this kind of machine; an empty string if they can."""
    if system != "Linux":
        return (
            f"TFX's libraries are built for Linux; this is {system}. Use a Linux container, virtual machine or WSL 2."
        )
    if machine not in ("x86_64", "AMD64"):
        return f"TFX's libraries are built for x86_64 only; this machine is {machine}."
    if glibc is None:
        return (
            "TFX's libraries need glibc, and this system has another C library (musl, as on Alpine?). "
            "Use a Debian or Ubuntu system or container."
        )
    if glibc < OLDEST_GLIBC:
        return f"TFX's libraries need glibc {dotted(OLDEST_GLIBC)} or newer; this system has {dotted(glibc)}."
    return ""


def allowed_versions(glibc: Version) -> tuple[Version, ...]:
    """Return the Python versions on which TFX runs with this glibc: the newest TFX first, then the newest Python."""
    return NEWER_TRACK + OLDER_TRACK if glibc >= NEWER_TRACK_GLIBC else OLDER_TRACK


def choose(interpreters: Sequence[Interpreter], allowed: Sequence[Version]) -> Interpreter | None:
    """Return the usable interpreter of the best version; of several with that version, the first one."""
    usable = [interpreter for interpreter in interpreters if not interpreter.refusal(allowed)]
    return min(usable, key=lambda interpreter: allowed.index(interpreter.minor), default=None)


def no_interpreter(interpreters: Sequence[Interpreter], allowed: Sequence[Version], glibc: Version) -> str:
    """Return the message if no interpreter can be used: the reason for each, and how to install one."""
    refused = [f"  {interpreter.path}: {interpreter.refusal(allowed)}" for interpreter in interpreters]
    return "\n".join(
        [
            f"no usable Python. With glibc {dotted(glibc)}, Benison needs {' or '.join(map(dotted, allowed))}. Found:",
            *(refused or ["  none"]),
            "uv could not download one either. Install one in any of these ways, then run the command again:",
            "  Debian 12 and 13, Ubuntu 22.04 and 24.04: apt install python3 python3-dev",
            f"  pyenv: pyenv install {dotted(allowed[0])}",
            "  elsewhere: make setup PYTHON=/path/to/python3.N",
        ]
    )


def no_uv(pip_errors: Sequence[str]) -> str:
    """Return the message if uv is missing and cannot be installed.

    Args:
        pip_errors: the last line of each attempt's output; without pip it is `No module named pip`.
    """
    return "\n".join(
        [
            "setup needs uv. It is not on PATH and could not be installed into .uv:",
            *[f"  {error}" for error in pip_errors],
            *([UNREACHABLE] if any("No matching distribution" in error for error in pip_errors) else []),
            "Install it in any of these ways, then run the command again:",
            "  Debian, Ubuntu: apt install python3-pip (or python3-venv); this command then installs uv itself",
            "  elsewhere: see uv's documentation (docs.astral.sh/uv)",
        ]
    )


def python_candidates(search_path: str, pyenv_root: Path) -> list[str]:
    """Return the paths of possible interpreters: those on PATH first, then pyenv's versions, newest first."""
    on_path = [Path(folder) / name for name in PYTHON_NAMES for folder in search_path.split(os.pathsep) if folder]
    by_pyenv = sorted(
        (path for name in PYTHON_NAMES[:-1] for path in pyenv_root.glob(f"versions/*/bin/{name}")),
        key=lambda path: [int(number) for number in re.findall(r"\d+", path.parent.parent.name)],
        reverse=True,
    )
    return [str(path) for path in (*on_path, *by_pyenv) if os.access(path, os.X_OK)]


def clean_environment(environment: Mapping[str, str], has_certificates: bool) -> dict[str, str]:
    """Return the environment for uv and pip: without conflicting variables, and with the settings that they need.

    Args:
        environment: the environment of this command; its own settings of certificates take precedence.
        has_certificates: the system has a certificate store. uv has its own, which does not contain the certificates
            that a company has added to the system, such as its proxy's.
    """
    kept = {name: value for name, value in environment.items() if name not in CONFLICTING}
    certificates = {"UV_NATIVE_TLS": "1", "UV_SYSTEM_CERTS": "1"} if has_certificates else {}  # the old and new name
    # Importing TFX takes 22 s without compiled bytecode and 9 s with it, in every process that cannot write bytecode.
    return {**certificates, **kept, "UV_COMPILE_BYTECODE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def stamp_of(root: Path, override: str | None) -> dict[str, str]:
    """Return what `.venv` depends on: the clone's folder (scripts name it), the lock, and the requested Python."""
    digest = hashlib.sha256()
    for name in ("uv.lock", "pyproject.toml"):
        digest.update(hashlib.sha256((root / name).read_bytes()).digest())
    return {"root": str(root), "files": digest.hexdigest(), "python": override or ""}


def is_same(stamp: Mapping[str, str], new_stamp: Mapping[str, str]) -> bool:
    """Return True if an environment with this stamp is up to date; without a requested Python, any Python will do."""
    return {**stamp, "python": ""} == {**new_stamp, "python": ""} and new_stamp["python"] in ("", stamp["python"])


# ---- the machine -----------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """Print one line of progress without buffering."""
    print(f"setup: {text}", flush=True)


def run(command: Sequence[str], timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command and capture its output; a command that cannot start, or that times out (seconds), has failed."""
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=ENVIRONMENT, timeout=timeout
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def last_line(text: str) -> str:
    """Return the last line that is not empty, where pip and Python print the reason of a failure."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no message"


def pip_error(text: str) -> str:
    """Return the reason in pip's output; after a wrong hash, its last line is only the hash."""
    if "DO NOT MATCH THE HASHES" in text:
        return f"the index has a uv that does not have the hashes in {UV_REQUIREMENT}; it was not installed"
    return last_line(text)


def machine_glibc() -> Version | None:
    """Return the version of this system's glibc, or None if it has another C library."""
    try:
        return first_version(os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (ValueError, OSError):  # musl does not know this name
        return None


def probe(path: str) -> Interpreter | None:
    """Start an interpreter and return its description; None if it does not start."""
    done = run([path, "-I", "-c", PROBE], timeout=30)
    if done.returncode:
        return None
    facts = json.loads(last_line(done.stdout))
    return Interpreter(os.path.realpath(facts["path"]), tuple(facts["version"]), tuple(facts["lacks"]))


def found_interpreters() -> list[Interpreter]:
    """Return every interpreter that starts, without duplicates, in the order of the search."""
    pyenv_root = Path(ENVIRONMENT.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = python_candidates(ENVIRONMENT.get("PATH", os.defpath), pyenv_root)
    described = (probe(path) for path in dict.fromkeys(candidates))
    return list({known.path: known for known in described if known}.values())


def find_uv(root: Path) -> str | None:
    """Return a uv that starts and is new enough: the one on PATH, else the one in `.uv`."""
    for uv in (shutil.which("uv", path=ENVIRONMENT.get("PATH")), str(root / ".uv/bin/uv")):
        if uv and (first_version(run([uv, "--version"]).stdout) or (0, 0)) >= OLDEST_UV:
            return uv
    return None


def install_uv(root: Path) -> str:
    """Install the uv of `.ci/uv.txt` into `.uv` with pip, or else with the pip of a virtual environment.

    Raises:
        SetupError: both failed; the message holds the last line of each attempt.
    """
    target = root / ".uv"
    # uv installs everything else, with the hashes of uv.lock, so it is not whatever file an index has today.
    requirement = ["--require-hashes", "--only-binary", ":all:", "--requirement", str(root / UV_REQUIREMENT)]
    say("installing uv into .uv")
    # pip allows --target even if the system's Python is marked as externally managed.
    by_pip = [[sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), *requirement]]
    by_venv = [
        [sys.executable, "-m", "venv", str(target)],
        [str(target / "bin/python"), "-m", "pip", "install", "--quiet", *requirement],
    ]
    errors = []
    for attempt in (by_pip, by_venv):
        shutil.rmtree(target, ignore_errors=True)
        for command in attempt:
            done = run(command)
            if done.returncode:
                errors.append(f"{' '.join(command[:3])}: {pip_error(done.stderr or done.stdout)}")
                break
        else:
            uv = find_uv(root)
            if uv:
                return uv
            errors.append(f"{' '.join(command[:3])}: installed a uv that does not start")
    shutil.rmtree(target, ignore_errors=True)
    raise SetupError(no_uv(errors))


def download_interpreter(uv: str, version: Version) -> Interpreter | None:
    """Let uv download a Python, which includes the headers; return None if that fails."""
    say(f"no usable Python on this machine; downloading {dotted(version)} with uv")
    if run([uv, "python", "install", dotted(version)]).returncode:
        return None
    where = run([uv, "python", "find", "--python-preference", "only-managed", dotted(version)])
    return probe(where.stdout.strip()) if where.returncode == 0 else None


def pick_interpreter(root: Path, uv: str, glibc: Version, override: str | None) -> Interpreter:
    """Return the interpreter for `.venv`: the requested one, the one that it has already, or the best one found.

    Raises:
        SetupError: the requested interpreter cannot be used, or none was found and uv could not download one.
    """
    allowed = allowed_versions(glibc)
    if override:
        requested = probe(shutil.which(override, path=ENVIRONMENT.get("PATH")) or override)
        refusal = requested.refusal(allowed) if requested else "it does not start"
        if requested is None or refusal:
            raise SetupError(f"PYTHON={override}: {refusal}")
        return requested
    present = probe(str(root / ".venv/bin/python"))
    if present and not present.refusal(allowed):
        return present
    interpreters = found_interpreters()
    chosen = choose(interpreters, allowed) or download_interpreter(uv, allowed[0])
    if chosen is None or chosen.refusal(allowed):
        raise SetupError(no_interpreter(interpreters, allowed, glibc))
    return chosen


def read_stamp(root: Path) -> dict[str, str]:
    """Return the stamp of the last complete setup; an empty dict if there is none."""
    try:
        return dict(json.loads((root / ".venv" / STAMP).read_text()))
    except (OSError, ValueError):
        return {}


def sync(root: Path, uv: str, python: Interpreter) -> None:
    """Install all packages of the lock into `.venv`.

    Raises:
        SetupError: uv failed; it has printed the reason.
    """
    if not (shutil.which("g++") or shutil.which("c++")):
        raise SetupError("found no C++ compiler, which pyfarmhash needs (Debian, Ubuntu: apt install g++)")
    say(f"Python {dotted(python.version)} ({python.path}), {uv}")
    say("installing the packages of uv.lock into .venv (about 1 GB and some minutes the first time)")
    environment = {**ENVIRONMENT, "UV_PROJECT_ENVIRONMENT": str(root / ".venv")}
    quiet = [] if sys.stderr.isatty() else ["--quiet"]  # without a terminal, uv prints one line per package
    command = [uv, "sync", "--locked", "--all-extras", "--python", python.path, "--project", str(root), *quiet]
    if subprocess.run(command, env=environment, cwd=root).returncode:
        raise SetupError("uv could not install the packages; see its message above")


def setup(root: Path, override: str | None) -> None:
    """Create or update `.venv`.

    Raises:
        SetupError: something is missing that the user must install.
    """
    stamp, new_stamp = read_stamp(root), stamp_of(root, override)
    in_venv = str(root / ".venv/bin/python")
    if stamp and is_same(stamp, new_stamp) and run([in_venv, "-c", ""]).returncode == 0:
        return
    glibc = machine_glibc()
    problem = machine_problem(platform.system(), platform.machine(), glibc)
    if problem or glibc is None:
        raise SetupError(problem)
    uv = find_uv(root) or install_uv(root)
    python = pick_interpreter(root, uv, glibc, override)
    if stamp and stamp["root"] != str(root):
        # The clone was moved or copied: the scripts in .venv name the old folder, and would run the code there.
        shutil.rmtree(root / ".venv")
    sync(root, uv, python)
    (root / ".venv" / STAMP).write_text(json.dumps(new_stamp))
    say("done: .venv is ready")


def main(arguments: Sequence[str]) -> int:
    """Run one of the two commands; print a message and return 1 if something is missing."""
    root = Path(__file__).resolve().parent.parent
    try:
        if arguments[:1] == ["uv"]:
            uv = find_uv(root) or install_uv(root)
            return subprocess.run([uv, *arguments[1:]], env=ENVIRONMENT).returncode
        parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
        parser.add_argument("command", choices=["setup"])
        parser.add_argument("--python", default=os.environ.get("BENISON_PYTHON_SETUP") or None)
        setup(root, parser.parse_args(arguments).python)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


ENVIRONMENT = clean_environment(os.environ, any(map(os.path.exists, CERTIFICATE_STORES)))

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
