"""A module_file of TFX is refused if an import in it means another file than the one beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benison.pipelines.compilation import module_files
from benison.serving.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a module file and a helper, below the folder of the script that builds the pipeline."""
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "model_of_user.py").write_text("def run_fn(args):\n    import helper_of_user\n")
    (folder / "helper_of_user.py").write_text("import json\nimport nodes_of_user\n")
    (tmp_path / "nodes_of_user.py").touch()
    return folder


@pytest.mark.parametrize("name", ["model_of_user.py", "helper_of_user.py", "nodes_of_user.py"])
def test_a_file_of_the_same_name_earlier_on_the_path_is_named(folder: Path, name: str) -> None:
    module_files.check(folder / "model_of_user.py")
    (folder / name).write_text("import json\n" if name != "model_of_user.py" else "def run_fn(args): pass\n")
    (folder.parent / name).touch()
    line = {"helper_of_user.py": "line 2", "nodes_of_user.py": "line 2"}.get(name, "module_file=")
    with pytest.raises(UsageError, match=f"{line}.* means {folder.parent}/{name}, not {folder}/{name}, because TFX"):
        module_files.check(folder / "model_of_user.py")


@pytest.mark.parametrize(("name", "means"), [("types", "types.py, not"), ("sys", "a module of Python itself")])
def test_a_helper_with_the_name_of_a_module_of_python_is_refused(folder: Path, name: str, means: str) -> None:
    (folder / f"{name}.py").touch()
    module_files.check(folder / "model_of_user.py")  # nobody imports it
    (folder / "helper_of_user.py").write_text(f"from {name} import x\n")
    with pytest.raises(UsageError, match=rf"helper_of_user\.py, line 1: `import {name}` means .*{means}"):
        module_files.check(folder / "model_of_user.py")


def test_module_files_beside_the_script_are_what_python_finds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder))
    module_files.check(folder / "model_of_user.py")
