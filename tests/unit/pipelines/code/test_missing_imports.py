"""Imports that certainly fail are found in the text; those that may never run are left to Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from benison.pipelines.code.missing_imports import missing_imports


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "main.py"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("import keras\nimport numppy\n", "main.py, line 2: no module 'numppy'; did you mean 'numpy'?"),
        ("from numppy.linalg import norm\n", "main.py, line 1: no module 'numppy.linalg'"),
        ("import wholly_unknown\n", "main.py, line 1: no module 'wholly_unknown'; install it, or write it beside this"),
        ("import jsson\n", "main.py, line 1: no module 'jsson'; did you mean 'json'?"),
        ("import layerz\n", "main.py, line 1: no module 'layerz'; did you mean 'layers'?"),
        ("import pkg.layerz\n", "main.py, line 1: no module 'pkg.layerz'; did you mean 'layers'?"),
        ("from .layerz import x\n", "main.py, line 1: no module '.layerz'; did you mean 'layers'?"),
        ("from . import layerz\n", "main.py, line 1: no module '.layerz'; did you mean 'layers'?"),
        ("import helper\n", "helper.py, line 2: no module 'numppy'; did you mean 'numpy'?"),
        ("from pkg import deep\n", "pkg/deep.py, line 1: no module 'numppy'; did you mean 'numpy'?"),
        ("class A:\n with open(0):\n  import numppy\n", "main.py, line 3: no module 'numppy'"),
        ("try:\n pass\nfinally:\n import numppy\n", "main.py, line 4: no module 'numppy'"),
    ],
)
def test_an_import_that_fails_is_found_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    helpers = {"layers.py": "x = 1\n", "helper.py": "import json\nimport numppy\n"}
    package = {"pkg/__init__.py": "", "pkg/layers.py": "", "pkg/deep.py": "import numppy\n"}
    (found,) = missing_imports(write(tmp_path, {"main.py": text, **helpers, **package}))
    assert found.startswith(line)


@pytest.mark.parametrize(
    "text",
    [
        "try:\n import numppy\nexcept ImportError:\n numppy = None\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n import numppy\n",
        "import sys\nif sys.version_info < (3,):\n import numppy\nelse:\n import json\n",
        "def f():\n import numppy\n",
        "import sys, os.path, xml.dom, numpy.whatever\nfrom six.moves import urllib\n",
        "import main\nfrom . import main\n",
        "from __future__ import annotations\nfrom benison import dense\n",
        "import folder.inner\nfrom folder import inner\n",
        "from pkg import native\nimport pkg.native\n",
        "from .pkg import *\nfrom .pkg import computed\n",
    ],
)
def test_an_import_that_may_not_run_or_may_succeed_is_no_mistake(tmp_path: Path, text: str) -> None:
    files = {"pkg/__init__.py": "", "pkg/native.abi3.so": "", "folder/inner.py": ""}
    assert missing_imports(write(tmp_path, {"main.py": text, **files})) == []


def test_an_import_that_can_mean_two_files_is_found(tmp_path: Path) -> None:
    write(tmp_path, {"pkg/__init__.py": "", "pkg/utils.py": "", "utils.py": "", "pkg/main.py": "import utils\n"})
    (found,) = missing_imports(tmp_path / "pkg/main.py")
    assert "main.py, line 1: " in found
    assert "`import utils` can mean two files" in found
