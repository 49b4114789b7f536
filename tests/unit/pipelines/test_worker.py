"""A worker runs no code of the user in its own process, from which all nodes are forked."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benison.components import legacy_keras
from benison.components.train import dry_run
from benison.pipelines import config_file, worker
from benison.pipelines.compilation import compiling

YAML = """
name: birds
problem: binary
label: y
data: {source: source.py, csv: rows.csv}
columns: {x: number}
ensemble: {members: {linear: {}}}
"""
WRITES = """
import os

def write(folder):
    (folder / "rows.csv").write_text(f"x,y\\n{os.getpid()},1\\n")
"""


def compiled(
    folder: Path, source: str, monkeypatch: pytest.MonkeyPatch, mistakes: list[str] | None = None
) -> dict[str, Any]:
    """Let a worker compile a pipeline whose data its own function writes; return its answer.

    Args:
        folder: the project's folder.
        source: the code of the function.
        monkeypatch: pytest's fixture.
        mistakes: what the trial of the code finds meanwhile; None: no trial.
    """
    (folder / "source.py").write_text(source)
    (folder / "birds.yaml").write_text(YAML)
    config = config_file.load(folder / "birds.yaml", environ={})
    file = folder / "root" / "data" / "birds" / "rows.csv"
    monkeypatch.setattr(compiling, "for_run", lambda *_: SimpleNamespace(to_json=lambda: {"rows": file.read_text()}))
    monkeypatch.setattr(legacy_keras, "settle_keras", lambda: None)  # it is settled once per process
    request = {"operation": "compile", "config": config.model_dump(mode="json"), "span": None, "only_ingest": False}
    if mistakes is not None:
        monkeypatch.setattr(worker, "_TRIAL", ())
        monkeypatch.setattr(dry_run, "mistakes", lambda _: mistakes)
        project = {"features": "", "columns": {}, "label": "y", "problem": "regression", "recipes": []}
        request["trial"] = {"project": project, "seconds": 60, "log": str(folder / "code.log")}
    return worker._answer({**request, "ir": str(folder / "ir"), "root": str(folder / "root"), "log": ""})


def test_the_source_of_the_data_writes_in_a_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # TensorFlow's threads do not survive a fork: a node after an operation here would wait for them forever.
    rows = compiled(tmp_path, WRITES, monkeypatch)["ok"]["compiled"]["rows"]
    assert rows.startswith("x,y\n")
    assert str(os.getpid()) not in rows


def test_mistakes_in_the_code_come_before_all_others_and_the_source_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = compiled(tmp_path, WRITES, monkeypatch, mistakes=["features: a"])
    assert answer["ok"] == {"trial": {"mistakes": ["features: a"], "unfinished": ""}}
    assert not (tmp_path / "root" / "data").exists()
    tried = compiled(tmp_path, WRITES, monkeypatch, mistakes=[])
    assert tried["ok"]["trial"] == {"mistakes": [], "unfinished": ""}
    assert tried["ok"]["compiled"]["rows"].startswith("x,y\n")


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ('raise OSError("no network")', {"error": "OSError: no network", "kind": "NodeFailed"}),
        (
            'from benison import DataError; raise DataError("rows.csv: no rows")',
            {"error": "rows.csv: no rows", "kind": "DataError"},
        ),
        ("import os; os._exit(3)", {"error": "the process ended with exit code 3", "kind": "NodeFailed"}),
    ],
    ids=["an error", "an error of Benison", "an exit"],
)
def test_an_error_of_the_source_is_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, answer: dict[str, str]
) -> None:
    assert compiled(tmp_path, f"def write(folder):\n    {line}\n", monkeypatch) == answer
