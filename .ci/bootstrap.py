#!/usr/bin/env python3
"""Make `.venv` from `uv.lock`: what `make setup` runs.

    python3 .ci/bootstrap.py setup [--python PYTHON]   make or refresh .venv; quick when nothing changed
    python3 .ci/bootstrap.py uv ARGUMENT...            run the uv that setup uses

Needs nothing but the standard library of Python 3.8 or newer, because it runs before anything is installed. The Python
that it runs on need not be the one that `.venv` gets: that one is chosen to fit this machine's glibc.
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

Version = Tuple[int, int]  # evaluated at import, so not `tuple[…]`: that needs Python 3.9

# The newer TFX needs ml-metadata 1.21, whose wheels are built against glibc 2.39; the rest of the lock needs 2.27.
OLDEST_GLIBC: Version = (2, 27)
NEWER_TRACK_GLIBC: Version = (2, 39)
NEWER_TRACK: tuple[Version, ...] = ((3, 13), (3, 12))
OLDER_TRACK: tuple[Version, ...] = ((3, 11), (3, 10))
OLDEST_UV: Version = (0, 8)
STAMP = ".setup-stamp"

# Debian's and Ubuntu's, Fedora's and Red Hat's.
CERTIFICATE_STORES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")

PYTHON_NAMES = ("python3.11", "python3.10", "python3.13", "python3.12", "python3")
# Each of these would send uv or pip elsewhere than into this clone's own folders.
DISTURBING = (
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

UNREACHABLE = "  (pip says so, too, when it cannot reach the package index: look at network, proxy and pip's settings)"

# Run in every candidate, because only a start shows whether it works: a pyenv shim fails unless its version is
# selected, and a Python built without some library lacks the module. pyfarmhash has no wheel, hence Python.h.
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
    """What this machine lacks and how to get it."""


@dataclass(frozen=True)
class Interpreter:
    """A Python that starts: its path, its full version, and what it lacks for building Benison's environment."""

    path: str
    version: tuple[int, int, int]
    lacks: tuple[str, ...] = ()

    @property
    def minor(self) -> Version:
        """Major and minor version, such as (3, 11)."""
        return self.version[:2]

    def refusal(self, allowed: Sequence[Version]) -> str:
        """Why it cannot be used on a machine that allows these versions; empty if it can."""
        if self.minor not in allowed:
            return f"{dotted(self.version)}, but this machine needs {' or '.join(map(dotted, allowed))}"
        if self.lacks:
            remedy = f" (Debian, Ubuntu: python{dotted(self.minor)}-dev)" if "Python.h" in self.lacks else ""
            return f"{dotted(self.version)}, without {', '.join(self.lacks)}{remedy}"
        return ""


# ---- decisions, on plain data ----------------------------------------------------------------------------------------


def dotted(version: Iterable[int]) -> str:
    """(3, 11) as `3.11`."""
    return ".".join(map(str, version))


def first_version(text: str) -> Version | None:
    """The first `N.N` in a text such as `glibc 2.36` or `uv 0.13.8 (…)`, or None."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found.group(1)), int(found.group(2))) if found else None


def machine_problem(system: str, machine: str, glibc: Version | None) -> str:
    """Why TFX's libraries cannot be installed on this kind of machine at all; empty if they can."""
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
    """The Python versions that this glibc can run TFX on, best first: the newest TFX, then the newest Python."""
    return NEWER_TRACK + OLDER_TRACK if glibc >= NEWER_TRACK_GLIBC else OLDER_TRACK


def choose(found: Sequence[Interpreter], allowed: Sequence[Version]) -> Interpreter | None:
    """The best usable interpreter: by version first, and among equals the one found first."""
    usable = [interpreter for interpreter in found if not interpreter.refusal(allowed)]
    return min(usable, key=lambda interpreter: allowed.index(interpreter.minor), default=None)


def no_interpreter(found: Sequence[Interpreter], allowed: Sequence[Version], glibc: Version) -> str:
    """The message when nothing found fits: what was found, why each was refused, and how to get one that fits."""
    refused = [f"  {interpreter.path}: {interpreter.refusal(allowed)}" for interpreter in found]
    return "\n".join(
        [
            f"no Python that fits. With glibc {dotted(glibc)} it must be {' or '.join(map(dotted, allowed))}. Found:",
            *(refused or ["  none"]),
            "uv could not download one either. Get one in any of these ways, then repeat the command:",
            "  Debian 12 and 13, Ubuntu 22.04 and 24.04: apt install python3 python3-dev",
            f"  pyenv: pyenv install {dotted(allowed[0])}",
            "  elsewhere: make setup PYTHON=/path/to/python3.N",
        ]
    )


def no_uv(pip_errors: Sequence[str]) -> str:
    """The message when uv is neither there nor installable.

    Args:
        pip_errors: the last line that each attempt printed; an attempt without pip says `No module named pip`.
    """
    return "\n".join(
        [
            "uv is needed, is not on PATH, and could not be installed into .uv:",
            *[f"  {error}" for error in pip_errors],
            *([UNREACHABLE] if any("No matching distribution" in error for error in pip_errors) else []),
            "Get it in any of these ways, then repeat the command:",
            "  Debian, Ubuntu: apt install python3-pip (or python3-venv), and this command installs uv by itself",
            "  anywhere: the installer that uv's documentation names (docs.astral.sh/uv)",
        ]
    )


def python_candidates(search_path: str, pyenv_root: Path) -> list[str]:
    """Paths worth starting, PATH first and pyenv's versions (newest first) after it."""
    on_path = [Path(folder) / name for name in PYTHON_NAMES for folder in search_path.split(os.pathsep) if folder]
    by_pyenv = sorted(
        (path for name in PYTHON_NAMES[:-1] for path in pyenv_root.glob(f"versions/*/bin/{name}")),
        key=lambda path: [int(number) for number in re.findall(r"\d+", path.parent.parent.name)],
        reverse=True,
    )
    return [str(path) for path in (*on_path, *by_pyenv) if os.access(path, os.X_OK)]


def clean_environment(environment: Mapping[str, str], has_certificates: bool) -> dict[str, str]:
    """The environment without what would disturb uv or pip, and with what they need here.

    Args:
        environment: the one that this command was called with; what it says about certificates counts.
        has_certificates: whether the system has a certificate store. uv brings its own, which knows nothing of a
            company's proxy that the system has been told to trust.
    """
    kept = {name: value for name, value in environment.items() if name not in DISTURBING}
    certificates = {"UV_NATIVE_TLS": "1", "UV_SYSTEM_CERTS": "1"} if has_certificates else {}  # its old and new name
    # Importing TFX takes 22 s without compiled bytecode and 9 s with it, in every process that may not write its own.
    return {**certificates, **kept, "UV_COMPILE_BYTECODE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def stamp_of(root: Path, override: str | None) -> dict[str, str]:
    """What `.venv` is made from: the folder (its scripts name it), the files that decide, the Python asked for."""
    digest = hashlib.sha256()
    for name in ("uv.lock", "pyproject.toml"):
        digest.update(hashlib.sha256((root / name).read_bytes()).digest())
    return {"root": str(root), "files": digest.hexdigest(), "python": override or ""}


def is_same(stamp: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether an environment with this stamp is the one wanted; who asks for no Python takes the one that is there."""
    return {**stamp, "python": ""} == {**wanted, "python": ""} and wanted["python"] in ("", stamp["python"])


# ---- the machine -----------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """One line of progress, at once."""
    print(f"setup: {text}", flush=True)


def run(command: Sequence[str], timeout: float | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command and keep what it prints; one that does not start, or not in time (seconds), counts as failed."""
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=ENVIRONMENT, timeout=timeout
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def last_line(text: str) -> str:
    """The last line with something on it: where pip and Python put the reason."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no message"


def machine_glibc() -> Version | None:
    """The glibc of this system, or None where the C library is another one."""
    try:
        return first_version(os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (ValueError, OSError):  # musl knows no such name
        return None


def probe(path: str) -> Interpreter | None:
    """Start a candidate and let it describe itself; None if it does not start."""
    done = run([path, "-I", "-c", PROBE], timeout=30)
    if done.returncode:
        return None
    facts = json.loads(last_line(done.stdout))
    return Interpreter(os.path.realpath(facts["path"]), tuple(facts["version"]), tuple(facts["lacks"]))


def found_interpreters() -> list[Interpreter]:
    """Every interpreter that starts, each once, in the order of the search."""
    pyenv_root = Path(ENVIRONMENT.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = python_candidates(ENVIRONMENT.get("PATH", os.defpath), pyenv_root)
    described = (probe(path) for path in dict.fromkeys(candidates))
    return list({known.path: known for known in described if known}.values())


def find_uv(root: Path) -> str | None:
    """A uv that starts and is new enough: the one on PATH, else our own."""
    for uv in (shutil.which("uv", path=ENVIRONMENT.get("PATH")), str(root / ".uv/bin/uv")):
        if uv and (first_version(run([uv, "--version"]).stdout) or (0, 0)) >= OLDEST_UV:
            return uv
    return None


def install_uv(root: Path) -> str:
    """Install uv into `.uv`, by pip or else by a virtual environment's pip.

    Raises:
        SetupError: neither works; the message says what each attempt answered.
    """
    target = root / ".uv"
    wanted = f"uv>={dotted(OLDEST_UV)}"
    say("installing uv into .uv")
    # --target is allowed where the system's Python is marked as externally managed.
    by_pip = [[sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target), wanted]]
    by_venv = [
        [sys.executable, "-m", "venv", str(target)],
        [str(target / "bin/python"), "-m", "pip", "install", "--quiet", wanted],
    ]
    errors = []
    for attempt in (by_pip, by_venv):
        shutil.rmtree(target, ignore_errors=True)
        for command in attempt:
            done = run(command)
            if done.returncode:
                errors.append(f"{' '.join(command[:3])}: {last_line(done.stderr or done.stdout)}")
                break
        else:
            uv = find_uv(root)
            if uv:
                return uv
            errors.append(f"{' '.join(command[:3])}: installed a uv that does not start")
    shutil.rmtree(target, ignore_errors=True)
    raise SetupError(no_uv(errors))


def download_interpreter(uv: str, version: Version) -> Interpreter | None:
    """Let uv fetch a Python of its own (it brings its headers); None if that fails."""
    say(f"no Python here fits; asking uv for {dotted(version)}")
    if run([uv, "python", "install", dotted(version)]).returncode:
        return None
    where = run([uv, "python", "find", "--python-preference", "only-managed", dotted(version)])
    return probe(where.stdout.strip()) if where.returncode == 0 else None


def pick_interpreter(root: Path, uv: str, glibc: Version, override: str | None) -> Interpreter:
    """The interpreter that `.venv` gets: the one asked for, the one it has already, or the best one found.

    Raises:
        SetupError: the one asked for does not fit, or none was found and uv could not download one.
    """
    allowed = allowed_versions(glibc)
    if override:
        asked = probe(shutil.which(override, path=ENVIRONMENT.get("PATH")) or override)
        refusal = asked.refusal(allowed) if asked else "it does not start"
        if asked is None or refusal:
            raise SetupError(f"PYTHON={override}: {refusal}")
        return asked
    present = probe(str(root / ".venv/bin/python"))
    if present and not present.refusal(allowed):
        return present
    found = found_interpreters()
    chosen = choose(found, allowed) or download_interpreter(uv, allowed[0])
    if chosen is None or chosen.refusal(allowed):
        raise SetupError(no_interpreter(found, allowed, glibc))
    return chosen


def read_stamp(root: Path) -> dict[str, str]:
    """The stamp that the last complete setup left; empty if there is none."""
    try:
        return dict(json.loads((root / ".venv" / STAMP).read_text()))
    except (OSError, ValueError):
        return {}


def sync(root: Path, uv: str, python: Interpreter) -> None:
    """Install everything in the lock into `.venv`.

    Raises:
        SetupError: uv failed; it has printed why.
    """
    if not (shutil.which("g++") or shutil.which("c++")):
        raise SetupError("no C++ compiler: pyfarmhash is built here. Debian, Ubuntu: apt install g++")
    say(f"Python {dotted(python.version)} ({python.path}), {uv}")
    say("installing the packages of uv.lock into .venv (the first time: about 1 GB, some minutes)")
    environment = {**ENVIRONMENT, "UV_PROJECT_ENVIRONMENT": str(root / ".venv")}
    quiet = [] if sys.stderr.isatty() else ["--quiet"]  # without a terminal: one line per package, hundreds
    command = [uv, "sync", "--locked", "--all-extras", "--python", python.path, "--project", str(root), *quiet]
    if subprocess.run(command, env=environment, cwd=root).returncode:
        raise SetupError("uv could not install the packages; its own message is above")


def setup(root: Path, override: str | None) -> None:
    """Make or refresh `.venv`.

    Raises:
        SetupError: something that cannot be had without the user.
    """
    stamp, wanted = read_stamp(root), stamp_of(root, override)
    in_venv = str(root / ".venv/bin/python")
    if stamp and is_same(stamp, wanted) and run([in_venv, "-c", ""]).returncode == 0:
        return
    glibc = machine_glibc()
    problem = machine_problem(platform.system(), platform.machine(), glibc)
    if problem or glibc is None:
        raise SetupError(problem)
    uv = find_uv(root) or install_uv(root)
    python = pick_interpreter(root, uv, glibc, override)
    if stamp and stamp["root"] != str(root):
        # A clone that was moved or copied: the scripts in .venv name the old folder, and would run the code there.
        shutil.rmtree(root / ".venv")
    sync(root, uv, python)
    (root / ".venv" / STAMP).write_text(json.dumps(wanted))
    say("done: .venv is ready")


def main(arguments: Sequence[str]) -> int:
    """Run one of the two commands; 1 with a message where something is missing."""
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
