"""The decisions of `.ci/second-track` before anything is installed. Scripts replace the tools that describe a machine."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / ".ci/second-track"
# The tools that the script calls in these cases; nothing else of this machine is on PATH.
TOOLS = ("cat", "dirname", "flock", "ls", "mkdir", "sort")


@dataclass(frozen=True)
class Machine:
    """A folder that is the only entry of PATH."""

    bin: Path

    def has(self, name: str, body: str) -> None:
        file = self.bin / name
        file.write_text(f"#!{shutil.which('sh')}\n{body}\n")
        file.chmod(0o755)

    def second_track(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        bash = shutil.which("bash")
        return subprocess.run(
            [bash, SCRIPT, *words], env={"PATH": str(self.bin), **environment}, capture_output=True, text=True
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a Debian 12 with a root user, debootstrap and make, without Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool))
    machine = Machine(folder)
    machine.has("getconf", "echo glibc 2.36")
    machine.has("id", "echo 0")
    machine.has("make", 'echo "make $*"')
    machine.has("debootstrap", "echo called; exit 1")
    return machine


@pytest.mark.parametrize("glibc", ["2.39", "2.41", "3.0"])
def test_a_new_glibc_needs_no_chroot(machine: Machine, glibc: str) -> None:
    machine.has("getconf", f"echo glibc {glibc}")
    machine.has("id", "echo 1000")
    machine.has("python3.13", "exit 0")
    assert machine.second_track().stdout.splitlines()[-1] == "make test PYTHON=python3.13"
    assert machine.second_track("check").stdout.splitlines()[-1] == "make check PYTHON=python3.13"


def test_a_python_that_does_not_start_is_passed_over(machine: Machine) -> None:
    machine.has("getconf", "echo glibc 2.41")
    machine.has("python3.13", "exit 127")
    without = machine.second_track()
    assert without.returncode == 1
    assert "neither python3.13 nor python3.12 starts" in without.stderr
    machine.has("python3.12", "exit 0")
    assert machine.second_track().stdout.splitlines()[-1] == "make test PYTHON=python3.12"


@pytest.mark.parametrize("glibc", ["2.36", "2.4", "2.38"])
def test_an_older_glibc_needs_a_chroot_and_so_root(machine: Machine, glibc: str) -> None:
    machine.has("getconf", f"echo glibc {glibc}")
    machine.has("python3.13", "exit 0")
    machine.has("id", "echo 1000")
    refused = machine.second_track()
    assert refused.returncode == 1
    assert "a chroot needs root" in refused.stderr


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        (["--fesh"], {}, "unknown option --fesh"),
        ([], {"BENISON_CHROOT": "here"}, "BENISON_CHROOT=here: expected an absolute path"),
    ],
)
def test_a_wrong_call_is_refused(machine: Machine, words: list[str], environment: dict[str, str], message: str) -> None:
    refused = machine.second_track(*words, **environment)
    assert refused.returncode == 1
    assert message in refused.stderr


def test_a_folder_that_is_not_its_own_is_left_alone(machine: Machine, tmp_path: Path) -> None:
    somebodys = tmp_path / "home" / "letters"
    somebodys.mkdir(parents=True)
    refused = machine.second_track("--fresh", BENISON_CHROOT=str(tmp_path / "home"), BENISON_MIRROR="http://mirror")
    assert refused.returncode == 1
    assert "is not a chroot of this script" in refused.stderr
    assert somebodys.is_dir()
