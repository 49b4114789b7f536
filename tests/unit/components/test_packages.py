"""Each package of components lists its modules, so that a newcomer sees which of them are nodes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGES = sorted(Path(__file__).parents[3].glob("components/*/__init__.py"))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.parent.name)
def test_the_docstring_of_a_package_lists_exactly_its_modules(package: Path) -> None:
    docstring = ast.get_docstring(ast.parse(package.read_text(encoding="utf-8"))) or ""
    listed = re.findall(r"^    (\w+): ", docstring, re.MULTILINE)
    modules = {path.stem for path in package.parent.glob("*.py")} - {"__init__"}
    assert sorted(listed) == sorted(modules)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.parent.name)
def test_a_package_imports_nothing(package: Path) -> None:
    assert len(ast.parse(package.read_text(encoding="utf-8")).body) == 1
