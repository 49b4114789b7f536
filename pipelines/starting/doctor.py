"""Check what this machine can run: the facts and verdicts of `benison doctor`.

`examine` collects facts about the machine (`look`) and judges them (`judge`, a pure function). Nothing here imports TFX
or TensorFlow, so the checks also work if these cannot be imported.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path, PurePosixPath

Version = tuple[int, int]
Read = Callable[[PurePosixPath], str | None]

GIB = 1024**3
# One node of the flights pipeline used up to 1.4 GB, in addition to the command line and its worker process.
MEMORY_NEEDED = 2 * GIB
DISK_NEEDED = 2 * GIB


@dataclass(frozen=True)
class Track:
    """A TFX version in `uv.lock`, the glibc that its wheels need, and the Python versions that use it."""

    tfx: str
    glibc: Version
    pythons: tuple[Version, ...]


# Newest first. `.ci/bootstrap.py` chooses the interpreter from the same table; a test compares the two.
TRACKS = (
    Track("1.21", (2, 39), ((3, 13), (3, 12))),
    Track("1.16", (2, 27), ((3, 11), (3, 10))),
)
ENGINES = ("tfx", "tensorflow", "keras", "apache-beam")


@dataclass(frozen=True)
class Check:
    """One fact and its verdict.

    Attributes:
        name: the thing that was checked.
        value: the result, in a few words.
        ok: True: it works; False: something will not work; None: for information only.
        advice: what will not work and how to fix it; empty if there is nothing to fix.
    """

    name: str
    value: str
    ok: bool | None
    advice: str = ""


@dataclass(frozen=True)
class Report:
    """All checks, in reading order."""

    checks: tuple[Check, ...]

    @property
    def failed(self) -> tuple[Check, ...]:
        """The failed checks: something will not work on this machine."""
        return tuple(check for check in self.checks if check.ok is False)


@dataclass(frozen=True)
class Machine:
    """Facts about a machine, not judged. Memory and disk in bytes; None means missing or unknown."""

    python: tuple[int, int, int]
    executable: str
    system: str
    machine: str
    glibc: Version | None
    packages: Mapping[str, str | None]
    compiler: str | None
    has_pip: bool
    uv: str | None
    bytecode: bool | None
    may_write_bytecode: bool
    root: str
    root_writable: bool
    disk_free: int
    memory_total: int | None
    memory_available: int | None
    cores: float


def examine(root: Path) -> Report:
    """Look at this machine and judge what it can run.

    Args:
        root: the ROOT that runs would write to; it may not exist yet.
    """
    return judge(look(root))


def judge(machine: Machine) -> Report:
    """Run every check on the facts."""
    return Report(
        (
            _interpreter(machine),
            _glibc(machine),
            _track(machine),
            *(_engine(machine, name) for name in ENGINES),
            _bytecode(machine),
            _pip(machine),
            _compiler(machine),
            Check("uv", machine.uv or "not found", None, "" if machine.uv else "make setup installs its own into .uv"),
            _memory(machine),
            Check("cores", f"{machine.cores:g}", None),
            _root(machine),
            _disk(machine),
        )
    )


# ---- verdicts --------------------------------------------------------------------------------------------------------


def newest_track(glibc: Version | None) -> Track | None:
    """Return the newest TFX that a machine with this glibc can run, or None."""
    return next((track for track in TRACKS if glibc is not None and glibc >= track.glibc), None)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _either(versions: tuple[Version, ...]) -> str:
    return " or ".join(_dotted(version) for version in sorted(versions))


def _interpreter(machine: Machine) -> Check:
    supported = tuple(version for track in TRACKS for version in track.pythons)
    fits = machine.python[:2] in supported
    advice = "" if fits else f"no TFX in Benison's lock file supports it; use Python {_either(supported)}"
    return Check("Python", f"{_dotted(machine.python)} ({machine.executable})", fits, advice)


def _glibc(machine: Machine) -> Check:
    if machine.system != "Linux" or machine.machine != "x86_64":
        advice = "TFX's libraries are built for Linux on x86_64 only; use such a machine, a container or WSL 2"
        return Check("system", f"{machine.system} {machine.machine}", False, advice)
    if machine.glibc is None:
        advice = "TFX's libraries need glibc; this system has another C library (musl, as on Alpine?)"
        return Check("glibc", "none", False, advice)
    fits = newest_track(machine.glibc) is not None
    advice = "" if fits else f"TFX's libraries need glibc {_dotted(TRACKS[-1].glibc)} or newer"
    return Check("glibc", _dotted(machine.glibc), fits, advice)


def _track(machine: Machine) -> Check:
    installed = machine.packages["tfx"]
    best = newest_track(machine.glibc)
    current = f"TFX {'.'.join(installed.split('.')[:2])}" if installed else "no TFX"
    value = f"{current} installed; this machine can run {'TFX ' + best.tfx if best else 'none'}"
    newest = TRACKS[0]
    if best is None:
        return Check("track", value, False, "no pipeline will run; `serving` needs only TensorFlow")
    if best is not newest:
        advice = f"TFX {newest.tfx} will not work: it needs glibc {_dotted(newest.glibc)} (Debian 13, Ubuntu 24.04)"
        return Check("track", value, installed is not None, advice)
    if installed and not installed.startswith(best.tfx + "."):
        return Check("track", value, True, f"use Python {_either(best.pythons)} to get TFX {best.tfx}")
    return Check("track", value, installed is not None)


def _engine(machine: Machine, name: str) -> Check:
    version = machine.packages[name]
    if version:
        return Check(name, version, True)
    if name == "tensorflow":
        return Check(name, "not installed", False, "training and serving will not work; run make setup")
    return Check(name, "not installed", False, "pipelines will not run; run make setup, or install benison[tfx]")


def _bytecode(machine: Machine) -> Check:
    if machine.bytecode is None:
        return Check("bytecode", "nothing to compile", None)
    if machine.bytecode:
        return Check("bytecode", "compiled", True)
    if machine.may_write_bytecode:
        return Check("bytecode", "not compiled", None, "only the first run starts slowly, because it compiles TFX")
    advice = (
        "PYTHONDONTWRITEBYTECODE is set, so every process compiles TFX again (22 s instead of 9); "
        "run make clean setup, or python -m compileall on its site-packages"
    )
    return Check("bytecode", "not compiled", False, advice)


def _pip(machine: Machine) -> Check:
    if machine.has_pip:
        return Check("pip", "installed", True)
    return Check("pip", "not installed", False, "pipelines with module_file= will not run: TFX packages it with pip")


def _compiler(machine: Machine) -> Check:
    if machine.compiler:
        return Check("C++ compiler", machine.compiler, True)
    advice = "make setup will not work: pyfarmhash is built from source (Debian, Ubuntu: apt install g++ python3-dev)"
    return Check("C++ compiler", "not found", False, advice)


def _memory(machine: Machine) -> Check:
    if machine.memory_total is None or machine.memory_available is None:
        return Check("memory", "unknown", None)
    value = f"{machine.memory_available / GIB:.1f} GiB of {machine.memory_total / GIB:.1f} GiB available"
    fits = machine.memory_available >= MEMORY_NEEDED
    return Check("memory", value, fits, "" if fits else f"a node may be killed: keep {MEMORY_NEEDED // GIB} GiB free")


def _root(machine: Machine) -> Check:
    if machine.root_writable:
        return Check("root", machine.root, True)
    return Check("root", f"{machine.root}: not writable", False, "no run can start; use another folder with --root")


def _disk(machine: Machine) -> Check:
    fits = machine.disk_free >= DISK_NEEDED
    advice = "" if fits else f"runs may fail: keep {DISK_NEEDED // GIB} GiB free, or move --root"
    return Check("disk", f"{machine.disk_free / GIB:.1f} GiB free at root", fits, advice)


# ---- looking ---------------------------------------------------------------------------------------------------------


def look(root: Path) -> Machine:
    """Collect the facts, without creating files and without heavy imports."""
    root = root.absolute()
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    memory_total, memory_available = _memory_of(_read)
    return Machine(
        python=sys.version_info[:3],
        executable=sys.executable,
        system=platform.system(),
        machine=platform.machine(),
        glibc=_glibc_of(),
        packages={name: _installed(name) for name in ENGINES},
        compiler=shutil.which("g++") or shutil.which("c++"),
        has_pip=importlib.util.find_spec("pip") is not None,
        uv=shutil.which("uv") or shutil.which("uv", path=str(Path(__file__).resolve().parents[2] / ".uv/bin")),
        bytecode=_is_compiled(),
        may_write_bytecode=not sys.dont_write_bytecode,
        root=str(root),
        root_writable=existing.is_dir() and os.access(existing, os.W_OK | os.X_OK),
        disk_free=shutil.disk_usage(existing).free,
        memory_total=memory_total,
        memory_available=memory_available,
        cores=_cores_of(len(os.sched_getaffinity(0)), _read)
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
    )


def _read(path: PurePosixPath) -> str | None:
    try:
        return Path(path).read_text()
    except OSError:
        return None


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _glibc_of() -> Version | None:
    try:
        words = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
    except (ValueError, OSError):  # musl does not know this name
        return None
    major, minor = words[-1].split(".")[:2]
    return int(major), int(minor)


def _is_compiled() -> bool | None:
    """Return whether the two slowest imports have their bytecode on disk; None if neither is installed."""
    sources = []
    for package, file in (("tfx", "v1/__init__.py"), ("tensorflow", "__init__.py")):
        spec = importlib.util.find_spec(package)  # this does not import a top-level package
        if spec and spec.submodule_search_locations:
            sources.append(Path(spec.submodule_search_locations[0]) / file)
    return all(Path(importlib.util.cache_from_source(str(source))).exists() for source in sources) if sources else None


def _control_groups(read: Read, controller: str) -> list[PurePosixPath]:
    """Return the folders of the control groups of this process, innermost first (cgroup version 1 and 2)."""
    folders: list[PurePosixPath] = []
    for line in (read(PurePosixPath("/proc/self/cgroup")) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = PurePosixPath("/sys/fs/cgroup", controllers and controller)
        inside = PurePosixPath(path.lstrip("/"))
        folders += [mount / folder for folder in (inside, *inside.parents)]
    return list(dict.fromkeys(folders))


def _memory_of(read: Read) -> tuple[int | None, int | None]:
    """Return total and available memory in bytes: the machine's, or less if a control group limits it."""
    fields = dict(line.split(":", 1) for line in (read(PurePosixPath("/proc/meminfo")) or "").splitlines())
    if not {"MemTotal", "MemAvailable"} <= set(fields):
        return None, None
    total, available = (int(fields[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    for folder in _control_groups(read, "memory"):
        for limit_file, used_file in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit, used = read(folder / limit_file), read(folder / used_file)
            if limit and limit.strip().isdigit():  # version 2 writes `max` if there is no limit
                total = min(total, int(limit))
                available = min(available, int(limit) - int(used or 0))
    return total, max(available, 0)


def _cores_of(usable: int, read: Read) -> float:
    """Return the cores that this process may use: those of the scheduler, or less if a control group has a quota."""
    cores = float(usable)
    for folder in _control_groups(read, "cpu"):
        version_1 = (read(folder / "cpu.cfs_quota_us") or "-1", read(folder / "cpu.cfs_period_us") or "100000")
        quota, period = (read(folder / "cpu.max") or " ".join(version_1)).split()
        if quota.isdigit():  # `max` or -1 if there is no quota
            cores = min(cores, int(quota) / int(period))
    return cores
