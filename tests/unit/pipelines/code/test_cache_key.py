"""Tests of the keys of nodes: everything that the user's code is declared to read is in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from tfx.proto.orchestration import pipeline_pb2

from benison.pipelines.code import cache_key
from benison.pipelines.code.user_code import UserCode
from benison.serving.errors import DataError

Hash = Callable[[], str]


def _hash(**parameters: str) -> str:
    node = pipeline_pb2.PipelineNode()
    for name, value in parameters.items():
        node.parameters.parameters[name].field_value.string_value = value
    return cache_key.hash_node(node, None, None)


@pytest.fixture
def hashed(tmp_path: Path) -> Hash:
    """Return a function that hashes a node whose function is declared to read words/** and $SIZE."""
    for name in ("a", "b"):
        (tmp_path / "words" / name).mkdir(parents=True)
        (tmp_path / "words" / name / "words.txt").write_text(name)
    (tmp_path / "features.py").write_text("def preprocessing_fn(inputs): return inputs")
    code = UserCode((f"{tmp_path}/features.py:preprocessing_fn",), (f"{tmp_path}/words/**/*.txt",), ("SIZE",))
    config = json.dumps({cache_key.USER_CODE: asdict(code)})
    return lambda: _hash(custom_config=config)


def _edit(folder: Path) -> None:
    (folder / "words/a/words.txt").write_text("c")


def _add(folder: Path) -> None:
    (folder / "words/c.txt").write_text("")


def _swap(folder: Path) -> None:
    for name, text in (("a", "b"), ("b", "a")):
        (folder / "words" / name / "words.txt").write_text(text)


def _move(folder: Path) -> None:
    (folder / "words/a/words.txt").rename(folder / "words/a/others.txt")


@pytest.mark.parametrize("change", [_edit, _add, _swap, _move])
def test_declared_files_count_by_path_and_content(hashed: Hash, tmp_path: Path, change: Callable[[Path], None]) -> None:
    before = hashed()
    assert hashed() == before
    change(tmp_path)
    assert hashed() != before


def test_declared_variables_count_by_their_values(hashed: Hash, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = [hashed()]
    for value in ("", "None", "2"):
        monkeypatch.setenv("SIZE", value)
        hashes.append(hashed())
    monkeypatch.setenv("ANOTHER", "2")
    assert hashed() == hashes[-1]
    assert len(set(hashes)) == 4


def test_a_declared_file_that_is_gone_is_named(hashed: Hash, tmp_path: Path) -> None:
    for file in tmp_path.glob("words/*/*"):
        file.unlink()
    with pytest.raises(DataError, match=r"no file matches .*/words/"):
        hashed()


def test_a_module_file_counts_with_what_it_imports(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("import helper")
    (tmp_path / "helper.py").write_text("x = 1")
    before = _hash(module_file=f"{tmp_path}/module.py")
    (tmp_path / "helper.py").write_text("x = 2")
    assert _hash(module_file=f"{tmp_path}/module.py") != before
