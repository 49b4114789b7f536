"""Tests of the keys of nodes: everything that the user's code is declared to read is in them."""

from __future__ import annotations

import json
import zipfile
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
    return cache_key.hash_node(node, None, None, cache_key.hash_functions(node))


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


def test_a_module_file_counts_with_what_it_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside, on_path = tmp_path / "helper_of_user.py", tmp_path / "path" / "helper_of_user.py"
    monkeypatch.syspath_prepend(str(on_path.parent))
    (tmp_path / "module.py").write_text("import helper_of_user")
    on_path.parent.mkdir()
    hashes = []
    for file, text in [(beside, "x = 1"), (beside, "x = 2"), (on_path, "x = 3"), (on_path, "x = 4"), (beside, "x = 5")]:
        file.write_text(text)
        hashes.append(_hash(module_file=f"{tmp_path}/module.py"))
    assert len(set(hashes[:4])) == 4
    assert hashes[4] == hashes[3]  # TFX puts the folder of the file at the end of the path


def test_a_packed_module_file_counts_with_what_it_imports_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    hashes = []
    for packed, elsewhere in [("x = 1", "y = 1"), ("x = 2", "y = 1"), ("x = 2", "y = 2"), ("x = 2", "y = 2")]:
        with zipfile.ZipFile(tmp_path / "code.whl", "w") as wheel:
            wheel.writestr("model_of_user.py", "import beside_of_user, nodes_of_user")
            wheel.writestr("beside_of_user.py", packed)
        (tmp_path / "nodes_of_user.py").write_text(elsewhere)
        hashes.append(_hash(module_path=f"model_of_user@{tmp_path}/code.whl"))
    assert len(set(hashes)) == 3
    assert hashes[2] == hashes[3]  # the folder that it is unpacked to does not count
