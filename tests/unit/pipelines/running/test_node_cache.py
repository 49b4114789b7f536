"""Tests of what a node takes from the cache: real nodes, launched by TFX in this process."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benison.pipelines import node
from benison.pipelines.code import reads
from benison.pipelines.running.node_result import Result

CODE = """
from tfx import v1 as tfx
from tfx.dsl.component.experimental.decorators import component

@component
def Writes(model: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.Model]):
    import os
    os.makedirs(model.uri + "/Format-Serving")
    for name, size in (("report.json", 4), ("Format-Serving/variables", 300_000)):
        with open(f"{model.uri}/{name}", "wb") as stream:
            stream.write(os.urandom(size))
    with open(os.path.dirname(__file__) + "/words.txt") as stream:
        print(stream.read(), os.environ.get("SIZE"))
"""

Run = Callable[[], tuple[str, Path]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a node in a new run; it returns the node's state and the folder of its output."""
    name = f"writes_{tmp_path.name}"
    (tmp_path / "code").mkdir()
    (tmp_path / f"code/{name}.py").write_text(CODE)
    (tmp_path / "code/words.txt").write_text("one")
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    runs = itertools.count()

    def run_once() -> tuple[str, Path]:
        monkeypatch.setattr(reads, "OF_PROCESS", reads.Reads())  # as in a new process
        result = node.run(_compiled(tmp_path, name), "Writes", f"run{next(runs)}", root=tmp_path / "root")
        assert result.state in ("complete", "cached"), result.reason
        return result.state, Path(result.outputs["model"][0]["uri"])

    return run_once


def _compiled(tmp_path: Path, name: str) -> Path:
    from tfx.dsl.components.common.resolver import Resolver
    from tfx.dsl.input_resolution.strategies.latest_artifact_strategy import LatestArtifactStrategy
    from tfx.orchestration.pipeline import Pipeline
    from tfx.types import Channel, standard_artifacts

    from benison.pipelines.compilation.compiled import compile_to

    ir = tmp_path / "ir.json"
    if not ir.exists():
        __import__(name)
        component: Any = sys.modules[name].Writes()
        model = Channel(type=standard_artifacts.Model, producer_component_id="Writes")
        resolver = Resolver(strategy_class=LatestArtifactStrategy, model=model).with_id("Newest")
        root = str(tmp_path / "root/artifacts")
        compile_to(Pipeline(name, root, components=[component, resolver], enable_cache=True), ir)
    return ir


def _cut(model: Path) -> None:
    (model / "report.json").write_bytes(b"")


def _change_the_end(model: Path) -> None:
    with (model / "Format-Serving/variables").open("r+b") as stream:
        stream.seek(-1, 2)
        last = stream.read(1)
        stream.seek(-1, 2)
        stream.write(bytes([last[0] ^ 1]))


def _empty(model: Path) -> None:
    for path in model.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _add(model: Path) -> None:
    (model / "other").write_text("")


@pytest.mark.parametrize("damage", [_cut, _change_the_end, _empty, _add, shutil.rmtree])
def test_a_result_whose_files_are_no_longer_as_written_is_not_reused(run: Run, damage: Callable[[Path], None]) -> None:
    assert run()[0] == "complete"
    state, model = run()
    assert state == "cached"
    damage(model)
    state, again = run()
    assert (state, again != model) == ("complete", True)
    assert run() == ("cached", again)


@pytest.mark.parametrize("damage", [_change_the_end, shutil.rmtree])
def test_a_resolver_does_not_pass_on_files_that_are_no_longer_as_written(
    run: Run, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    def resolve(run_id: str) -> Result:
        return node.run(tmp_path / "ir.json", "Newest", run_id, root=tmp_path / "root")

    _, model = run()
    assert resolve("second").state == "complete"
    damage(model)
    refused = resolve("third")
    assert refused.state == "failed"
    assert f"the files of {model} are no longer as Writes wrote them" in refused.reason
    _, again = run()  # writes the files again
    resolved = resolve("fourth")
    assert (resolved.state, Path(resolved.outputs["model"][0]["uri"])) == ("complete", again)


def test_a_result_is_not_reused_if_its_code_would_read_something_else(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def states() -> list[str]:
        return [run()[0], run()[0]]

    assert states() == ["complete", "cached"]
    (tmp_path / "code/words.txt").write_text("two")
    assert states() == ["complete", "cached"]
    monkeypatch.setenv("SIZE", "8")
    assert states() == ["complete", "cached"]
    (tmp_path / "code/words.txt").write_text("one")
    monkeypatch.delenv("SIZE")
    assert run()[0] == "cached"  # as the first one
