"""CONTRIBUTING.md names the layers and doors that import-linter checks."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def _lists(key: str) -> dict[str, list[str]]:
    """Return a list in each contract of import-linter, by the container or package of the contract.

    Python 3.10 cannot read TOML, but a list of strings is the same in Python.
    """
    lists = {}
    for contract in PYPROJECT.split("[[tool.importlinter.contracts]]\n")[1:]:
        package = re.search(r'^(?:containers = \[|package = )"([^"]+)"', contract, re.MULTILINE)
        entries = re.search(rf"^{key} = (\[.*?\])", contract, re.MULTILINE | re.DOTALL)
        if package and entries:
            lists[package[1]] = ast.literal_eval(entries[1])
    return lists


LAYERS = _lists("layers")


def _modules(text: str) -> list[str]:
    """Return the names in backticks, without a folder's slash."""
    return [name.rstrip("/") for name in re.findall(r"`([a-z_]+/?)`", text)]


@pytest.mark.parametrize("package", ["pipelines", "components", "serving"])
def test_the_table_of_a_package_has_its_layers_in_order(package: str) -> None:
    section = TEXT.split(f"### `{package}/`", 1)[1].split("\n#", 1)[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    expected = [sorted(layer.split(" | ")) for layer in LAYERS[f"benison.{package}"]]
    assert [sorted(_modules(row)) for row in rows] == expected


def test_the_layers_of_the_server_are_named_in_order() -> None:
    sentence = re.search(r"has its own layers: (.*?)\.\n", TEXT, re.DOTALL)
    assert sentence is not None
    layers = [sorted(_modules(layer)) for layer in sentence[1].split(";")]
    assert layers == [sorted(layer.split(" | ")) for layer in LAYERS["benison.serving.server"]]


def test_the_doors_of_serving_are_named() -> None:
    sentence = re.search(r"\*\*doors\*\* of `serving`: (.*?)\. A door", TEXT, re.DOTALL)
    assert sentence is not None
    doors = _lists("doors")["benison.serving"]
    assert sorted(_modules(sentence[1])) == sorted(door.removeprefix("benison.serving.") for door in doors)
