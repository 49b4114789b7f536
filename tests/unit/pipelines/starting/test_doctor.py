from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from benison.pipelines.starting import doctor
from benison.pipelines.starting.doctor import GIB, Check, Machine, examine, judge, newest_track

HEALTHY = Machine(
    python=(3, 11, 2),
    executable="/usr/bin/python3",
    system="Linux",
    machine="x86_64",
    glibc=(2, 36),
    packages={"tfx": "1.16.0", "tensorflow": "2.16.2", "keras": "3.5.0", "apache-beam": "2.60.0"},
    compiler="/usr/bin/g++",
    has_pip=True,
    uv="/usr/bin/uv",
    bytecode=True,
    may_write_bytecode=True,
    root="/data/.benison",
    root_writable=True,
    disk_free=50 * GIB,
    memory_total=8 * GIB,
    memory_available=6 * GIB,
    cores=2,
)


def without(package: str) -> Machine:
    return replace(HEALTHY, packages={**HEALTHY.packages, package: None})


def check(machine: Machine, name: str) -> Check:
    return next(check for check in judge(machine).checks if check.name == name)


def test_a_healthy_machine_fails_no_check():
    assert judge(HEALTHY).failed == ()


@pytest.mark.parametrize(
    ("machine", "name", "advice"),
    [
        (replace(HEALTHY, python=(3, 9, 1)), "Python", "use Python 3.10 or 3.11 or 3.12 or 3.13"),
        (replace(HEALTHY, system="Darwin", machine="arm64"), "system", "Linux on x86_64"),
        (replace(HEALTHY, glibc=None), "glibc", "musl"),
        (replace(HEALTHY, glibc=(2, 17)), "glibc", "2.27 or newer"),
        (without("tfx"), "tfx", "pipelines will not run"),
        (without("tfx"), "track", "TFX 1.21 will not work"),
        (without("tensorflow"), "tensorflow", "training and serving will not work"),
        (replace(HEALTHY, bytecode=False, may_write_bytecode=False), "bytecode", "PYTHONDONTWRITEBYTECODE"),
        (replace(HEALTHY, has_pip=False), "pip", "module_file="),
        (replace(HEALTHY, compiler=None), "C++ compiler", "apt install g++"),
        (replace(HEALTHY, memory_available=GIB), "memory", "may be killed"),
        (replace(HEALTHY, root_writable=False), "root", "--root"),
        (replace(HEALTHY, disk_free=GIB // 2), "disk", "runs may fail"),
    ],
)
def test_a_problem_is_reported_with_its_reason(machine: Machine, name: str, advice: str):
    assert name in [check.name for check in judge(machine).failed]
    assert advice in check(machine, name).advice


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        (replace(HEALTHY, uv=None), "uv"),
        (replace(HEALTHY, bytecode=False), "bytecode"),
        (replace(HEALTHY, bytecode=None), "bytecode"),
        (replace(HEALTHY, memory_total=None, memory_available=None), "memory"),
    ],
)
def test_information_is_not_a_failure(machine: Machine, name: str):
    assert check(machine, name).ok is None


@pytest.mark.parametrize(
    ("glibc", "tfx"), [((2, 39), "1.21"), ((2, 41), "1.21"), ((2, 38), "1.16"), ((2, 27), "1.16"), ((2, 17), None)]
)
def test_glibc_decides_the_track(glibc: tuple[int, int], tfx: str | None):
    track = newest_track(glibc)
    assert (track.tfx if track else None) == tfx


def test_the_track_says_what_is_installed_and_why_the_newer_one_is_not():
    track = check(HEALTHY, "track")
    assert track.value == "TFX 1.16 installed; this machine can run TFX 1.16"
    assert "needs glibc 2.39" in track.advice


def test_a_machine_that_could_run_the_newer_track_gets_advice():
    track = check(replace(HEALTHY, glibc=(2, 39)), "track")
    assert track.ok
    assert track.advice == "use Python 3.12 or 3.13 to get TFX 1.21"


def test_the_newer_track_on_a_newer_machine_needs_no_advice():
    packages = {**HEALTHY.packages, "tfx": "1.21.0"}
    assert check(replace(HEALTHY, glibc=(2, 41), packages=packages), "track").advice == ""


MEMINFO = "MemTotal:        8388608 kB\nMemFree:          100 kB\nMemAvailable:    4194304 kB\n"
VERSION_2 = {"/proc/self/cgroup": "0::/work/job\n"}
VERSION_1 = {"/proc/self/cgroup": "4:memory:/job\n2:cpu,cpuacct:/job\n0::/\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, (8, 4)),
        ({**VERSION_2, "/sys/fs/cgroup/work/job/memory.max": "max\n"}, (8, 4)),
        (
            {
                **VERSION_2,
                "/sys/fs/cgroup/work/memory.max": f"{3 * GIB}\n",
                "/sys/fs/cgroup/work/memory.current": f"{GIB}\n",
            },
            (3, 2),
        ),
        (
            {
                **VERSION_1,
                "/sys/fs/cgroup/memory/job/memory.limit_in_bytes": str(2 * GIB),
                "/sys/fs/cgroup/memory/job/memory.usage_in_bytes": str(GIB),
                "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            },
            (2, 1),
        ),
    ],
)
def test_memory_is_the_machines_or_what_a_control_group_leaves(files: dict[str, str], expected: tuple[int, int]):
    def read(path: PurePosixPath) -> str | None:
        return {"/proc/meminfo": MEMINFO, **files}.get(str(path))

    total, available = doctor._memory_of(read)
    assert (total, available) == (expected[0] * GIB, expected[1] * GIB)


def test_memory_is_unknown_where_proc_says_nothing():
    assert doctor._memory_of(lambda path: None) == (None, None)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({**VERSION_2, "/sys/fs/cgroup/work/job/cpu.max": "max 100000\n"}, 8),
        ({**VERSION_2, "/sys/fs/cgroup/work/job/cpu.max": "150000 100000\n"}, 1.5),
        ({**VERSION_1, "/sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "-1\n"}, 8),
        ({**VERSION_1, "/sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "200000\n"}, 2),
    ],
)
def test_cores_are_the_machines_or_a_control_groups_quota(files: dict[str, str], cores: float):
    assert doctor._cores_of(8, lambda path: files.get(str(path))) == cores


def test_a_root_that_does_not_exist_yet_is_judged_by_its_nearest_folder_and_not_made(tmp_path: Path):
    root = tmp_path / "new" / "root"
    report = examine(root)
    assert next(check for check in report.checks if check.name == "root") == Check("root", str(root), True)
    assert not root.parent.exists()


def test_a_root_that_is_a_file_is_refused(tmp_path: Path):
    root = tmp_path / "root"
    root.write_text("")
    assert "root" in [check.name for check in examine(root).failed]


def test_examining_imports_no_engine():
    code = (
        "import sys; from pathlib import Path; from benison.pipelines.starting.doctor import examine; examine(Path('.'));"
        "print([name for name in ('tfx', 'tensorflow', 'keras', 'apache_beam', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
