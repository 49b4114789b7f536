"""Tests of loading a user's functions by file or by module, from any folder."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from benison.components import user_code
from benison.pipelines.code import fingerprint
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


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


USE = "\ndef f():\n    return VALUE\n"


@pytest.mark.parametrize(
    ("text", "helper"),
    [
        ("from utils import VALUE", "utils.py"),
        ("import utils\nVALUE = utils.VALUE", "utils.py"),
        ("from types import VALUE", "types.py"),
        ("from metrics import VALUE", "metrics.py"),
        ("from serving.layers import VALUE", "serving/layers.py"),
        ("from components import VALUE", "components/__init__.py"),
        ("import pipelines.layers\nVALUE = pipelines.layers.VALUE", "pipelines/layers.py"),
        ("import pipelines.layers as l\nVALUE = l.VALUE", "pipelines/__init__.py pipelines/layers.py"),
        ("from pipelines import layers\nVALUE = layers.VALUE", "pipelines/__init__.py pipelines/layers.py"),
        ("from deep.er import layers\nVALUE = layers.VALUE", "deep/er/layers.py"),
        ("import deep.er.layers\nVALUE = deep.er.layers.VALUE", "deep/er/layers.py"),
        ("from utils import *", "utils.py"),
        ("from . import utils\nVALUE = utils.VALUE", "utils.py"),
        ("from .utils import VALUE", "utils.py"),
        ("from ..common.utils import VALUE", "../common/utils.py"),
        ("from importlib import import_module\nVALUE = import_module('utils').VALUE", "utils.py"),
        ("import importlib\nVALUE = importlib.import_module('types').VALUE", "types.py"),
        ("import importlib.util\nVALUE = importlib.import_module(name='pkg.layers').VALUE", "pkg/__init__.py pkg/layers.py"),
        ("from importlib import import_module\nVALUE = import_module('.utils', __package__).VALUE", "utils.py"),
        ("from importlib import import_module\nVALUE = import_module('.layers', 'pkg').VALUE", "pkg/__init__.py pkg/layers.py"),
        ("VALUE = __import__('types').VALUE", "types.py"),
        ("from importlib import import_module\nNAME = 'utils'\nimport utils\nVALUE = import_module(NAME).VALUE", "utils.py"),
        ("NAME = 'types'\nfrom . import types\nVALUE = __import__(NAME).VALUE", "types.py"),
    ],
)  # fmt: skip
def test_the_file_that_is_hashed_is_the_file_that_runs(tmp_path: Path, text: str, helper: str) -> None:
    values: list[str] = []
    for folder in ("a/inner", "b/inner"):  # both in one process, with helpers of the same names
        write(tmp_path / folder, {"main.py": text + USE, **dict.fromkeys(helper.split(), f"VALUE = {folder!r}\n")})
        main = tmp_path / folder / "main.py"
        values.append(user_code.load(f"{main}:f")())
        before = fingerprint.code(main, "f")
        write(tmp_path / folder, {helper.split()[-1]: "VALUE = 0\n"})
        assert fingerprint.code(main, "f") != before
        assert user_code.load(f"{main}:f")() == 0
    assert values == ["a/inner", "b/inner"]


@pytest.mark.parametrize(
    "load",
    [
        "import_module(NAME)",
        "importlib.import_module('pkg.' + NAME)",
        "importlib.import_module('.' + NAME, __package__)",
        "__import__(NAME)",
        "exec('import ' + NAME)",
    ],
)
def test_a_file_that_the_cache_key_cannot_see_is_refused_when_it_is_imported(tmp_path: Path, load: str) -> None:
    main = f"import importlib\nfrom importlib import import_module\nNAME = 'layers'\ndef f():\n    return {load}\n"
    write(tmp_path, {"main.py": main, "layers.py": "", "pkg/__init__.py": "", "pkg/layers.py": ""})
    f = user_code.load(f"{tmp_path}/main.py:f")
    with pytest.raises(UsageError, match=r"main\.py.*: the computed import of '.*layers' loads .*layers\.py, which"):
        f()


def test_an_installed_module_may_be_imported_by_a_computed_name(tmp_path: Path) -> None:
    text = "from importlib import import_module\ndef f(name='json'):\n    return import_module(name).dumps([1])\n"
    write(tmp_path, {"main.py": text})
    assert user_code.load(f"{tmp_path}/main.py:f")() == "[1]"


def test_a_file_with_the_name_of_a_library_can_use_that_library(tmp_path: Path) -> None:
    write(tmp_path, {"json.py": "import json\ndef f():\n    return json.dumps([1])\n"})
    assert user_code.load(f"{tmp_path}/json.py:f")() == "[1]"


def test_an_import_that_can_mean_two_files_names_both(tmp_path: Path) -> None:
    files = {"pkg/__init__.py": "", "pkg/main.py": "import utils\ndef f():\n    return utils\n"}
    write(tmp_path, {**files, "pkg/utils.py": "", "utils.py": ""})
    main = tmp_path / "pkg/main.py"
    message = rf"main\.py: `import utils` can mean two files: {tmp_path}/pkg/utils\.py and {tmp_path}/utils\.py; rename"
    with pytest.raises(UsageError, match=message):
        user_code.load(f"{main}:f")
    with pytest.raises(UsageError, match=message):
        fingerprint.code(main, "f")


def test_a_package_is_one_package_however_it_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    models = """
from importlib import import_module
import mine.layers as same
from . import again, layers

def f():
    from mine.layers import Layer
    third = import_module(".layers", __package__)
    return layers.Layer is same.Layer is again.Layer is third.Layer is Layer
"""
    write(tmp_path, {"mine/__init__.py": "", "mine/layers.py": "class Layer:\n    pass\n", "mine/models.py": models})
    write(tmp_path, {"mine/again.py": "from layers import Layer\n"})
    write(tmp_path, {"elsewhere/main.py": "from mine.models import f\nfrom mine.layers import Layer\n"})
    assert user_code.load("mine.models:f")() is True
    assert user_code.load(f"{tmp_path}/mine/models.py:f") is user_code.load("mine.models:f")
    assert user_code.load(f"{tmp_path}/elsewhere/main.py:f") is user_code.load("mine.models:f")
    assert user_code.load(f"{tmp_path}/elsewhere/main.py:Layer") is user_code.load("mine.layers:Layer")


def test_a_package_on_pythonpath_imports_its_own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    write(tmp_path / "path", {"mine/layers.py": "from sizes import VALUE\n", "mine/sizes.py": "VALUE = 1\n"})
    write(tmp_path, {"path/sizes.py": "VALUE = 2\n", "main.py": "from mine.layers import VALUE" + USE})
    main = tmp_path / "main.py"
    assert user_code.load(f"{main}:f")() == 1
    before = fingerprint.code(main, "f")
    write(tmp_path, {"path/mine/sizes.py": "VALUE = 3\n"})
    assert fingerprint.code(main, "f") != before
    assert user_code.load(f"{main}:f")() == 3


@pytest.mark.parametrize("pickler", ["pickle", "cloudpickle", "apache_beam.internal.pickler"])
def test_users_objects_are_unpickled_in_a_process_that_has_not_loaded_their_files(tmp_path: Path, pickler: str) -> None:
    models = "from utils import Row\ndef f(x=3):\n    return Row(x)\ndef nested():\n    return lambda x: f(x)\n"
    write(tmp_path, {"my.models.py": models})
    write(tmp_path, {"utils.py": "import dataclasses\n@dataclasses.dataclass\nclass Row:\n    x: int\n"})
    f = user_code.load(f"{tmp_path}/my.models.py:f")
    objects = [f, f(), *([] if pickler == "pickle" else [user_code.load(f"{tmp_path}/my.models.py:nested")()])]
    (tmp_path / "rows").write_bytes(importlib.import_module(pickler).dumps(objects))
    code = (
        f"import {pickler} as p; f, row, *nested = p.loads(open('rows', 'rb').read())\n"
        "print(row.x, f() == row, type(f()) is type(row), [g(3) == row for g in nested])"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout == f"3 True True {[] if pickler == 'pickle' else [True]}\n"


def test_a_file_that_changed_is_run_again_with_the_files_that_import_it(tmp_path: Path) -> None:
    write(tmp_path, {"models.py": "import sizes\ndef f():\n    return sizes.WIDTH\n", "sizes.py": "WIDTH = 3\n"})
    assert user_code.load(f"{tmp_path}/models.py:f")() == 3
    write(tmp_path, {"sizes.py": "WIDTH = 4\n"})  # the same size, in the same second
    assert user_code.load(f"{tmp_path}/models.py:f")() == 4


def test_a_missing_module_has_the_name_that_the_user_wrote(tmp_path: Path) -> None:
    write(tmp_path, {"pkg/__init__.py": "", "models.py": "import pkg.gone\ndef f(): pass\n"})
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'pkg\.gone'"):
        user_code.load(f"{tmp_path}/models.py:f")
