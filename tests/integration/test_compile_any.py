"""Any `tfx.dsl.Pipeline` compiles for a scheduler: its runtime parameters become the form, its secrets are left out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.scheduler import Scheduler


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Scheduler:
    folder = tmp_path_factory.mktemp("counting")
    script = Path(__file__).parent / "handwritten" / "counting.py"
    command = [sys.executable, str(script), str(folder / "manifests"), str(folder / "root")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return Scheduler(folder / "manifests" / "counting.json", folder / "root", "counting-1")


def test_its_runtime_parameters_are_the_form(counting: Scheduler) -> None:
    manifest = json.loads(counting.manifest.read_text())
    fields = {field["name"]: (field["type"], field["default"]) for field in manifest["parameters"]}
    assert fields == {"start": ("integer", 1), "cache": ("boolean", True)}
    assert manifest["config"] is None


def test_the_graph_is_in_the_manifest(counting: Scheduler) -> None:
    upstream = {node["id"]: set(node["upstream"]) for node in counting.nodes}
    assert upstream == {"Count": set(), "Write": {"Count"}, "Many": {"Count"}, "Read": {"Count", "Many"}}


def test_no_password_is_in_any_file(counting: Scheduler) -> None:
    files = [path for path in counting.manifest.parent.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"counting.dag.py", "counting.json", "pipeline.json"}
    assert not [path for path in files if "secret" in path.read_text()]


def test_it_runs_with_the_values_of_the_form(counting: Scheduler) -> None:
    began = counting.begin("start=41")
    assert began.code == 0, began.printed
    answers = {node["id"]: counting.node(node["id"]) for node in counting.nodes}
    assert {name: (answer.code, answer.answer["state"]) for name, answer in answers.items()} == {
        "Count": (0, "complete"),
        "Write": (0, "complete"),
        "Many": (0, "skipped"),
        "Read": (0, "skipped"),
    }, {name: answer.printed[-1000:] for name, answer in answers.items()}
    assert "counting from 41" in answers["Count"].printed
    (message,) = answers["Write"].answer["outputs"]["message"]
    assert Path(message["uri"]).read_text() == "it is 42"
    assert counting.finish().answer["outcome"] == "complete"
    record = json.loads((counting.root / "runs" / counting.run_id / "run.json").read_text())
    assert record["sets"] == {"start": "41"}
