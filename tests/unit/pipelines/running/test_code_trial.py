"""The same code and schema are tried once; mistakes, and what could not be tried to the end, are not remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benison.pipelines.commands.compile import compile_
from benison.pipelines.config import Pipeline
from benison.pipelines.config_file import load
from benison.pipelines.running.code_trial import refuse_missing_imports, try_code
from benison.serving.errors import UsageError

YAML = """
name: birds
problem: binary
label: y
data: {csv: birds.csv}
features: features.py
models: models.py
ensemble: {members: {deep: {hyperparameters: {units: 4}}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "birds.yaml").write_text(YAML)
    (tmp_path / "birds.csv").write_text("x,y\n1,no\n")
    (tmp_path / "features.py").write_text("def preprocessing_fn(inputs): return inputs\n")
    (tmp_path / "models.py").write_text("def deep(inputs, hp): return inputs['x']\n")
    (tmp_path / "root").mkdir()
    (tmp_path / "schemas").mkdir()
    return tmp_path


class Worker:
    """Answers every request in the same way, and counts them."""

    def __init__(self, mistakes: tuple[str, ...] = (), unfinished: str = "") -> None:
        self.answer = {"mistakes": list(mistakes), "unfinished": unfinished}
        self.requests = 0

    def ask(self, **_: Any) -> dict[str, Any]:
        self.requests += 1
        return self.answer


def config(folder: Path) -> Pipeline:
    return load(folder / "birds.yaml", environ={})


def tried(folder: Path, worker: Worker) -> int:
    """Try the code; return how many requests the worker has got."""
    try_code(config(folder), folder / "root", worker.ask, folder / "code.log")
    return worker.requests


def test_code_is_tried_again_when_it_the_schema_or_a_hyperparameter_changes(folder: Path) -> None:
    worker, changes = (
        Worker(),
        [
            lambda: (folder / "models.py").write_text("def deep(inputs, hp): return 2 * inputs['x']\n"),
            lambda: (folder / "features.py").write_text("def preprocessing_fn(inputs): return {'x': inputs['x']}\n"),
            lambda: (folder / "birds.yaml").write_text(YAML.replace("units: 4", "units: 5")),
            lambda: (folder / "schemas/birds.pbtxt").write_text('feature { name: "y" }'),
        ],
    )
    assert [tried(folder, worker), tried(folder, worker)] == [1, 1]
    for count, change in enumerate(changes, 2):
        change()
        assert [tried(folder, worker), tried(folder, worker)] == [count, count]


def test_mistakes_are_raised_each_time_one_line_each(folder: Path) -> None:
    worker = Worker(mistakes=("features: a", "ensemble.members.deep: b"))
    for _ in range(2):
        with pytest.raises(UsageError, match=r"birds\.yaml: features: a\n.*birds\.yaml: ensemble\.members\.deep: b$"):
            tried(folder, worker)
    assert worker.requests == 2


def test_missing_imports_are_found_without_a_worker_each_once(folder: Path) -> None:
    (folder / "helper.py").write_text("import numppy\n")
    for name in ("features.py", "models.py"):
        (folder / name).write_text("import helper\n" + (folder / name).read_text())
    worker = Worker()
    message = r"birds\.yaml: features: \S*helper\.py, line 1: no module 'numppy'; did you mean 'numpy'\?$"
    with pytest.raises(UsageError, match=message) as error:
        tried(folder, worker)
    assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match=message):
        refuse_missing_imports(config(folder))
    assert worker.requests == 0


def test_code_that_takes_too_long_is_no_mistake_and_is_tried_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worker = Worker(unfinished="it takes longer than 30 seconds")
    assert [tried(folder, worker), tried(folder, worker)] == [1, 2]
    warning = "the code could not be tried before the run: it takes longer than 30 seconds (log: "
    assert capsys.readouterr().err.count(f"{warning}{folder / 'code.log'})") == 2


class StartedWorker(Worker):
    """The worker that is started for one trial."""

    started = 0

    def __init__(self, temporary: Path) -> None:
        super().__init__(mistakes=("models: wrong",))
        self.temporary = temporary
        type(self).started += 1

    def send(self, **request: Any) -> None:
        assert self.temporary.is_dir()
        assert Path(request["log"]).parent == self.temporary

    def receive(self) -> dict[str, Any]:
        return self.answer

    def end(self) -> None:
        pass


def test_compile_starts_a_worker_for_code_that_was_not_tried(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benison.pipelines.running.workers.Worker", StartedWorker)
    for wanted in (1, 2):
        with pytest.raises(UsageError, match=r"birds\.yaml: models: wrong$"):
            compile_([str(folder / "birds.yaml")], folder / "manifests", folder / "root")
        assert StartedWorker.started == wanted
    assert not (folder / "manifests").exists()


def test_a_root_that_does_not_exist_is_not_made(folder: Path) -> None:
    (folder / "root").rmdir()
    tried(folder, Worker())
    assert not (folder / "root").exists()
