"""Airflow's environment: the choice of its Python, and the launcher's settings and secrets."""

from __future__ import annotations

import importlib.util
import json
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    return _load("airflow_setup")


@pytest.fixture(scope="module")
def standalone() -> ModuleType:
    return _load("airflow_standalone")


def _load(name: str) -> ModuleType:
    sys.path.insert(0, str(ROOT / ".ci"))
    try:
        spec = importlib.util.spec_from_file_location(name, ROOT / f".ci/{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / ".ci"))
    return module


@pytest.mark.parametrize(
    ("versions", "chosen"),
    [
        ([(3, 13, 1), (3, 12, 3), (3, 11, 2)], (3, 12, 3)),
        ([(3, 13, 1), (3, 11, 2)], (3, 11, 2)),
        ([(3, 10, 4)], (3, 10, 4)),
        ([(3, 9, 4), (3, 14, 0)], None),
        ([], None),
    ],
)
def test_the_python_that_airflow_is_tested_on_first_is_taken(setup: ModuleType, versions, chosen) -> None:
    interpreters = [setup.Interpreter(f"/python{version}", version) for version in versions]
    picked = setup.choose(interpreters)
    assert (picked.version if picked else None) == chosen


@pytest.mark.parametrize(("lacks", "fits"), [("Python.h", True), ("module sqlite3", False), ("the GIL", False)])
def test_nothing_is_built_so_headers_are_not_needed(setup: ModuleType, lacks: str, fits: bool) -> None:
    assert setup.usable(setup.Interpreter("/python", (3, 12, 1), (lacks,))) is fits


def test_the_lock_names_the_public_index_alone() -> None:
    text = (ROOT / "dags/uv.lock").read_text()
    assert set(re.findall(r'registry = "([^"]*)"', text)) == {"https://pypi.org/simple"}
    assert set(re.findall(r'url = "https://([^/]*)', text)) == {"files.pythonhosted.org"}


def test_keys_and_password_are_made_once_and_nobody_else_may_read_them(standalone: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    created = standalone.load_secrets(file)
    assert standalone.load_secrets(file) == created
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(set(created.values())) == len(created) == 4
    assert all(len(value) >= 12 for value in json.loads(file.read_text()).values())


def test_settings_keep_airflow_on_loopback_and_the_users_own_win(
    standalone: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__PARALLELISM", "1")
    monkeypatch.setenv("BENISON_AIRFLOW_DB", "postgresql+psycopg2://me@127.0.0.1/airflow")
    settings = standalone.settings(tmp_path, 8080, tmp_path / "dags", tmp_path / "manifests", tmp_path / "root", 1)
    assert settings["AIRFLOW__CORE__PARALLELISM"] == "1"
    assert settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == "postgresql+psycopg2://me@127.0.0.1/airflow"
    assert settings["AIRFLOW__API__BASE_URL"] == "http://127.0.0.1:8080"
    assert settings["BENISON_MANIFESTS"] == str(tmp_path / "manifests")
    assert "127.0.0.1" in standalone.COMPONENTS["api-server"]


@pytest.mark.parametrize(("manifests", "folders"), [("m", ["dags", "m"]), ("dags/manifests", ["dags"])])
def test_the_manifests_are_a_bundle_unless_they_are_inside_that_of_the_dags(
    standalone: ModuleType, tmp_path: Path, manifests: str, folders: list[str]
) -> None:
    settings = standalone.settings(tmp_path, 8080, tmp_path / "dags", tmp_path / manifests, tmp_path / "root", 1)
    bundles = json.loads(settings["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"])
    assert [bundle["kwargs"]["path"] for bundle in bundles] == [str(tmp_path / folder) for folder in folders]
    assert settings["PYTHONPATH"].split(":")[0] == str(tmp_path / "dags")  # for `import benison_dags`


def test_pipelines_that_airflow_cannot_use_do_not_keep_it_from_starting(
    standalone: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = "Traceback\n  …\nbenison_dags.ManifestError: pipeline bad: /m/bad.json: cut\n"
    answers = {
        "monitor/health": {"scheduler": {"status": "healthy"}},
        "auth/token": {"access_token": "token"},
        "importErrors?limit=500": {"import_errors": [{"filename": "bad.dag.py", "stack_trace": trace}]},
        "dags?limit=500": {"dags": [{"dag_id": "good"}]},
    }
    monkeypatch.setattr(
        standalone, "ask", lambda url, *_, **__: answers[url.removeprefix("u/").removeprefix("api/v2/")]
    )
    running = standalone.Standalone(Path("airflow"), {}, Path())
    errors = standalone.wait_until_ready(running, "u", "password", {"good", "bad"})
    assert errors == {"bad.dag.py": "benison_dags.ManifestError: pipeline bad: /m/bad.json: cut"}


def test_a_port_that_is_taken_is_named_before_anything_starts(
    standalone: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code = standalone.main(["--root", str(tmp_path), "--port", str(port), "--manifests", str(tmp_path)])
    assert code == 1
    assert f"airflow: port {port} is taken; give another one" in capsys.readouterr().err


def test_who_writes_to_airflows_sqlite_waits_for_others_longer_than_sqlites_five_seconds(
    standalone: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def connection() -> str:
        settings = standalone.settings(tmp_path, 1, tmp_path, tmp_path, tmp_path, 1)
        return str(settings["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"])

    monkeypatch.delenv("BENISON_AIRFLOW_DB", raising=False)
    monkeypatch.delenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", raising=False)
    file, _, wait = connection().partition("?timeout=")
    assert file == f"sqlite:///{tmp_path / 'airflow.sqlite'}"
    assert float(wait) >= 60
    monkeypatch.setenv("BENISON_AIRFLOW_DB", "postgresql+psycopg2://me@127.0.0.1/airflow")
    assert connection() == "postgresql+psycopg2://me@127.0.0.1/airflow"


def test_the_settings_are_for_a_shell_whatever_they_contain_and_for_the_owner_only(
    standalone: ModuleType, tmp_path: Path
) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    program = folder / "airflow"
    program.write_text('#!/bin/sh\nprintf "%s|" "$PYTHONPATH" "$HUSH" "$@"\n')
    program.chmod(0o755)
    file = folder / "airflow.env"
    standalone.write_settings(file, {"HUSH": "it's $HOME", "PYTHONPATH": "/modules"}, program)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    shell = ["env", "-i", "sh", "-c", f'. "{file}" && airflow dags "a b" && echo "$PYTHONPATH"']
    assert subprocess.run(shell, check=True, capture_output=True, text=True).stdout == "/modules|it's $HOME|dags|a b|\n"


def test_logs_of_components_are_for_the_owner_and_the_group(standalone: ModuleType, tmp_path: Path) -> None:
    program = tmp_path / "airflow"
    program.write_text("#!/bin/sh\necho a row of the data\n")
    program.chmod(0o755)
    with standalone.Standalone(program, {}, tmp_path) as airflow:
        airflow.once("db", "migrate")
        airflow.start("scheduler")
    for name in ("db", "scheduler"):
        assert stat.S_IMODE((tmp_path / f"{name}.log").stat().st_mode) & 0o137 == 0
    assert (tmp_path / "db.log").read_text() == "a row of the data\n"
