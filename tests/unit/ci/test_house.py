"""The front door and the import graph: one name, no circle, nothing heavy before it is needed."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import grimp
import pytest
from grimp import Layer
from importlinter.api import read_configuration

import benison

ROOT = Path(__file__).parents[3]
FOLDERS = ("components", "pipelines", "serving")
HEAVY = ("tensorflow", "tfx", "apache_beam", "pandas", "numpy", "pydantic", "grpc", "rich", "typer")


def python(code: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_graph_has_no_cycle() -> None:
    graph = grimp.build_graph("benison", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    while leaves := [module for module, imported in imports.items() if not imported & imports.keys()]:
        for module in leaves:
            del imports[module]
    assert not imports


def test_imports_for_annotations_keep_the_layers_too() -> None:
    # import-linter leaves out what stands under TYPE_CHECKING, because the front door declares all its names there.
    graph = grimp.build_graph("benison", cache_dir=None)
    for module in graph.find_modules_directly_imported_by("benison"):
        graph.remove_import(importer="benison", imported=module)
    contracts = read_configuration(str(ROOT / "pyproject.toml"))["contracts_options"]
    for contract in (contract for contract in contracts if contract["type"] == "layers"):
        layers = [Layer(*(name.strip() for name in layer.split("|"))) for layer in contract["layers"]]
        illegal = graph.find_illegal_dependencies_for_layers(layers=layers, containers=set(contract["containers"]))
        assert not illegal, contract["name"]
        assert contract["exhaustive"]
        assert not contract.get("ignore_imports")


def test_import_benison_loads_nothing_heavy(tmp_path: Path) -> None:
    code = f"import json, sys, benison; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    assert json.loads(python(code, tmp_path)) == []


def test_every_public_name_is_there_for_people_and_for_type_checkers() -> None:
    for name in benison.__all__:
        assert getattr(benison, name) is not None
    source = ast.parse(Path(benison.__file__).read_text(encoding="utf-8"))
    typed = {
        alias.asname or alias.name
        for node in ast.walk(source)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("benison.")
        for alias in node.names
    }
    assert typed | {"__version__"} == set(benison.__all__)
    assert dir(benison) == sorted(benison.__all__)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'benison' has no attribute 'secret'"):
        benison.secret  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("file", ["__init__.py", "mine.py"], ids=["package", "namespace package"])
def test_a_users_own_packages_of_the_same_names_do_no_harm(tmp_path: Path, file: str) -> None:
    for folder in FOLDERS:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text("MINE = True\n")
    names = [folder if file == "__init__.py" else f"{folder}.mine" for folder in FOLDERS]
    code = f"import {', '.join(names)}, benison.pipelines.cli, benison.serving.versions.local; "
    code += f"print({' and '.join(f'{name}.MINE' for name in names)}, benison.versions.__module__)"
    assert python(code, tmp_path, PYTHONPATH=str(tmp_path)) == "True benison.serving.versions.local\n"


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_bare_name_is_refused_and_says_what_to_do(folder: str) -> None:
    done = subprocess.run([sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, text=True)
    assert f"Benison's `{folder}` is `benison.{folder}`; in your own code write `from benison import" in done.stderr
