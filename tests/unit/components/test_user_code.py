"""Tests of loading a user's functions by file or by module, from any folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benison.components import user_code
from benison.serving.errors import UsageError


@pytest.fixture(autouse=True)
def _clean_imports():
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_a_function_is_loaded_by_file_with_the_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "layers_of_mine.py").write_text("WIDTH = 3\n")
    (tmp_path / "models.py").write_text("import layers_of_mine\ndef deep():\n    return layers_of_mine.WIDTH\n")
    assert user_code.load(f"{tmp_path}/models.py:deep")() == 3


def test_two_files_with_the_same_name_do_not_collide(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "models.py").write_text(f"def who():\n    return {folder!r}\n")
    assert [user_code.load(f"{tmp_path}/{folder}/models.py:who")() for folder in ("a", "b")] == ["a", "b"]


def test_a_folder_named_pipelines_does_not_hide_benisons(tmp_path: Path) -> None:
    folder = tmp_path / "pipelines"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "features.py").write_text(
        "from benison.pipelines.records.runs import Run\ndef f():\n    return Run.__module__\n"
    )
    assert user_code.load(f"{folder}/features.py:f")() == "benison.pipelines.records.runs"


@pytest.mark.parametrize(
    ("reference", "message"), [("gone.py:f", "gone.py: no such file"), ("json:nothing", "json: no function 'nothing'")]
)
def test_a_missing_file_or_function_is_named(reference: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        user_code.load(reference)


def test_a_file_that_failed_to_import_is_imported_again_next_time(tmp_path: Path) -> None:
    file = tmp_path / "models.py"
    file.write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        user_code.load(f"{file}:f")
    file.write_text("def f():\n    return 'fixed'\n")
    assert user_code.load(f"{file}:f")() == "fixed"
