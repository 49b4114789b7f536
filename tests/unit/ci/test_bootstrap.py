from __future__ import annotations

import importlib.util
import json
import re
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from benison.pipelines.starting import doctor

ROOT = Path(__file__).parents[3]


def load_bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / ".ci/bootstrap.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bootstrap"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


bootstrap = load_bootstrap()
OLDER = ((3, 11), (3, 10))
ALL = ((3, 13), (3, 12), (3, 11), (3, 10))


def python(version: tuple[int, int, int], *lacks: str, path: str = ""):
    return bootstrap.Interpreter(path or f"/opt/python{'.'.join(map(str, version))}", version, lacks)


@pytest.mark.parametrize(
    ("glibc", "allowed"), [((2, 36), OLDER), ((2, 35), OLDER), ((2, 38), OLDER), ((2, 39), ALL), ((2, 41), ALL)]
)
def test_glibc_decides_which_pythons_fit_newest_track_first(glibc, allowed):
    assert bootstrap.allowed_versions(glibc) == allowed


def test_setup_and_doctor_know_the_same_tracks():
    for track in doctor.TRACKS:
        assert set(track.pythons) <= set(bootstrap.allowed_versions(track.glibc))
    assert doctor.TRACKS[-1].glibc == bootstrap.OLDEST_GLIBC
    assert doctor.TRACKS[0].glibc == bootstrap.NEWER_TRACK_GLIBC
    assert doctor.TRACKS[0].pythons + doctor.TRACKS[1].pythons == bootstrap.NEWER_TRACK + bootstrap.OLDER_TRACK


@pytest.mark.parametrize(
    ("versions", "allowed", "chosen"),
    [
        pytest.param([(3, 10, 13), (3, 11, 7)], OLDER, (3, 11, 7), id="newer-first"),
        pytest.param([(3, 11, 2), (3, 11, 7)], OLDER, (3, 11, 2), id="equal-version-first-found"),
        pytest.param([(3, 13, 0), (3, 10, 13)], OLDER, (3, 10, 13), id="newer-than-glibc-allows"),
        pytest.param([(3, 11, 2), (3, 12, 3)], ALL, (3, 12, 3), id="newest-track"),
        pytest.param([(3, 9, 1), (3, 14, 0)], ALL, None, id="none-fits"),
        pytest.param([], ALL, None, id="none-found"),
    ],
)
def test_the_best_interpreter_is_chosen(versions, allowed, chosen):
    best = bootstrap.choose([python(version) for version in versions], allowed)
    assert (best.version if best else None) == chosen


def test_an_interpreter_without_headers_loses_to_an_older_one_with_them():
    assert bootstrap.choose([python((3, 11, 2), "Python.h"), python((3, 10, 1))], OLDER).version == (3, 10, 1)


@pytest.mark.parametrize(
    ("interpreter", "refusal"),
    [
        (python((3, 11, 2)), ""),
        (python((3, 13, 0)), "3.13.0, but this machine needs 3.11 or 3.10"),
        (python((3, 11, 2), "Python.h"), "3.11.2, without Python.h (Debian, Ubuntu: python3.11-dev)"),
        (python((3, 11, 2), "module lzma"), "3.11.2, without module lzma"),
    ],
)
def test_a_refused_interpreter_says_why(interpreter, refusal):
    assert interpreter.refusal(OLDER) == refusal


@pytest.mark.parametrize(
    ("system", "machine", "glibc", "problem"),
    [
        ("Linux", "x86_64", (2, 36), ""),
        ("Linux", "x86_64", None, "musl"),
        ("Linux", "x86_64", (2, 17), "glibc 2.27 or newer"),
        ("Linux", "aarch64", (2, 36), "x86_64 only"),
        ("Darwin", "arm64", None, "this is Darwin"),
        ("Windows", "AMD64", None, "this is Windows"),
    ],
)
def test_a_machine_that_cannot_run_tfx_gets_the_reason(system, machine, glibc, problem):
    message = bootstrap.machine_problem(system, machine, glibc)
    assert problem in message
    assert bool(message) == bool(problem)


def test_without_a_fitting_interpreter_the_message_names_each_refusal_and_the_remedies():
    message = bootstrap.no_interpreter([python((3, 9, 2), path="/usr/bin/python3.9")], OLDER, (2, 36))
    assert "/usr/bin/python3.9: 3.9.2, but this machine needs 3.11 or 3.10" in message
    assert "apt install python3 python3-dev" in message
    assert "make setup PYTHON=" in message


def test_without_uv_the_message_names_each_attempt_and_the_remedies():
    message = bootstrap.no_uv(["python3 -m pip: No module named pip"])
    assert "No module named pip" in message
    assert "cannot reach" not in message
    assert "apt install python3-pip" in message


def test_an_unreachable_index_is_named_as_a_possible_reason():
    message = bootstrap.no_uv(["python3 -m pip: ERROR: No matching distribution found for uv>=0.8"])
    assert "cannot reach the package index" in message


@pytest.mark.parametrize(
    ("text", "version"), [("glibc 2.36", (2, 36)), ("uv 0.13.8 (x86_64-unknown-linux-gnu)", (0, 13)), ("", None)]
)
def test_versions_are_read_from_what_tools_print(text, version):
    assert bootstrap.first_version(text) == version


def test_what_disturbs_uv_and_pip_is_taken_out_of_the_environment():
    environment = {"PATH": "/bin", "VIRTUAL_ENV": "/other", "PYTHONPATH": "/lib", "PIP_USER": "1", "PIP_INDEX_URL": "x"}
    clean = bootstrap.clean_environment(environment, has_certificates=False)
    assert {"PATH", "PIP_INDEX_URL"} <= set(clean)
    assert not {"VIRTUAL_ENV", "PYTHONPATH", "PIP_USER"} & set(clean)
    assert clean["UV_COMPILE_BYTECODE"] == "1"


@pytest.mark.parametrize(
    ("environment", "has_certificates", "value"),
    [({}, True, "1"), ({}, False, None), ({"UV_SYSTEM_CERTS": "0"}, True, "0")],
)
def test_uv_trusts_what_the_system_trusts_unless_told_otherwise(environment, has_certificates, value):
    assert bootstrap.clean_environment(environment, has_certificates).get("UV_SYSTEM_CERTS") == value


def executable(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    path.chmod(0o755)
    return str(path)


def test_candidates_are_those_on_path_then_pyenvs_newest_first(tmp_path):
    on_path = executable(tmp_path / "bin/python3")
    older = executable(tmp_path / "pyenv/versions/3.11.9/bin/python3.11")
    newer = executable(tmp_path / "pyenv/versions/3.11.10/bin/python3.11")
    executable(tmp_path / "pyenv/versions/3.9.1/bin/python3.9")
    candidates = bootstrap.python_candidates(f"{tmp_path}/none:{tmp_path}/bin", tmp_path / "pyenv")
    assert candidates == [on_path, newer, older]


def test_a_candidate_that_does_not_start_is_no_interpreter(tmp_path):
    shim = Path(executable(tmp_path / "python3"))
    shim.write_text("#!/bin/sh\necho 'pyenv: python3: command not found' >&2\nexit 127\n")
    assert bootstrap.probe(str(shim)) is None
    assert bootstrap.probe(str(tmp_path / "missing")) is None


def test_an_interpreter_describes_itself():
    assert bootstrap.probe(sys.executable).version == sys.version_info[:3]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in ("uv.lock", "pyproject.toml"):
        (tmp_path / name).write_text(name)
    return tmp_path


def test_nothing_has_changed_while_folder_and_files_are_the_same(clone):
    assert bootstrap.is_same(bootstrap.stamp_of(clone, None), bootstrap.stamp_of(clone, None))


@pytest.mark.parametrize("name", ["uv.lock", "pyproject.toml"])
def test_a_changed_file_makes_the_environment_stale(clone, name):
    before = bootstrap.stamp_of(clone, None)
    (clone / name).write_text("other")
    assert not bootstrap.is_same(before, bootstrap.stamp_of(clone, None))


def test_a_moved_clone_makes_the_environment_stale(clone, tmp_path_factory):
    before = bootstrap.stamp_of(clone, None)
    moved = clone.rename(tmp_path_factory.mktemp("elsewhere") / "clone")
    assert not bootstrap.is_same(before, bootstrap.stamp_of(moved, None))


@pytest.mark.parametrize(
    ("made_with", "requested", "same"),
    [
        (None, None, True),
        ("python3.10", None, True),
        ("python3.10", "python3.10", True),
        (None, "python3.10", False),
        ("python3.11", "python3.10", False),
    ],
)
def test_only_a_different_requested_python_makes_the_environment_stale(clone, made_with, requested, same):
    assert bootstrap.is_same(bootstrap.stamp_of(clone, made_with), bootstrap.stamp_of(clone, requested)) is same


def test_a_stamp_that_cannot_be_read_counts_as_none(clone):
    assert bootstrap.read_stamp(clone) == {}
    (clone / ".venv").mkdir()
    (clone / ".venv" / bootstrap.STAMP).write_text("{")
    assert bootstrap.read_stamp(clone) == {}
    (clone / ".venv" / bootstrap.STAMP).write_text(json.dumps(bootstrap.stamp_of(clone, None)))
    assert bootstrap.read_stamp(clone) == bootstrap.stamp_of(clone, None)


def test_setup_installs_one_version_of_uv_with_known_hashes():
    lines = [line for line in (ROOT / bootstrap.UV_REQUIREMENT).read_text().splitlines() if not line.startswith("#")]
    name, _, version = lines[0].removesuffix(" \\").partition("==")
    assert name == "uv"
    assert bootstrap.first_version(version) >= bootstrap.OLDEST_UV
    assert len(lines) > 1
    assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in lines[1:])


def test_a_uv_with_another_hash_is_not_installed(tmp_path, monkeypatch):
    version = (ROOT / bootstrap.UV_REQUIREMENT).read_text().rpartition("uv==")[2].split()[0]
    info, index = f"uv-{version}.dist-info", tmp_path / "index"
    index.mkdir()
    with zipfile.ZipFile(index / f"uv-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"uv-{version}.data/scripts/uv", "#!/bin/sh\necho uv 9.9.9\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: uv\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    (tmp_path / ".ci").mkdir()
    (tmp_path / bootstrap.UV_REQUIREMENT).write_text((ROOT / bootstrap.UV_REQUIREMENT).read_text())
    local = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "PATH": "/usr/bin:/bin"}
    monkeypatch.setattr(bootstrap, "ENVIRONMENT", {**bootstrap.ENVIRONMENT, **local})
    with pytest.raises(bootstrap.SetupError, match=r"does not have the hashes in \.ci/uv\.txt; it was not installed"):
        bootstrap.install_uv(tmp_path)
    assert not (tmp_path / ".uv").exists()
