"""The documentation agrees with the code and with itself."""

from __future__ import annotations

import ast
import json
import re
import runpy
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
README = ROOT / "README.md"
TEXTS = [README, ROOT / "CHANGELOG.md", *PAGES]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
# What the folders of the clone are called, and what an import of them would have been called before `benison`.
_INSIDE = {"components", "pipelines", "serving"}


def name(path: Path) -> str:
    """The id of a case: the path in the clone."""
    return path.relative_to(ROOT).as_posix()


def prose(path: Path) -> str:
    """A page without its blocks of code, whose brackets are no links."""
    return _FENCE.sub("", path.read_text(encoding="utf-8"))


def anchor(heading: str) -> str:
    """A heading's id, as GitHub and MkDocs make it of plain words."""
    text = unicodedata.normalize("NFKD", heading.replace("`", "")).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip())


def anchors(page: Path) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^#+ +(.*)$", prose(page), re.MULTILINE)}


def imports(code: str) -> Iterator[str]:
    """Every module that a piece of Python imports, by its dotted name."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module


def nav(entries: list[Any]) -> Iterator[str]:
    """The pages of MkDocs' nav, in order."""
    for entry in entries:
        for target in entry.values():
            yield from [target] if isinstance(target, str) else nav(target)


def test_the_readme_has_at_most_900_words():
    assert len(README.read_text(encoding="utf-8").split()) <= 900


def test_the_page_of_commands_is_what_the_code_says():
    made = runpy.run_path(str(DOCS / "make_cli.py"))["text"]()
    assert made == (DOCS / "cli.md").read_text(encoding="utf-8"), "run python docs/make_cli.py"


@pytest.mark.parametrize("page", TEXTS, ids=name)
def test_every_relative_link_and_picture_exists(page):
    broken = []
    for target in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, heading = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        if not there.exists() or (heading and there.suffix == ".md" and heading not in anchors(there)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_links_to_nothing_outside_docs(page):
    """MkDocs publishes docs/ alone."""
    targets = [target.partition("#")[0] for target in _LINK.findall(prose(page)) if not re.match(r"[a-z]+:", target)]
    assert [t for t in targets if t and not (page.parent / t).resolve().is_relative_to(DOCS)] == []


def test_the_nav_has_every_page_once():
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert settings["docs_dir"] == "docs"
    assert sorted(nav(settings["nav"])) == [page.relative_to(DOCS).as_posix() for page in PAGES]


@pytest.mark.parametrize("page", [README, *PAGES], ids=name)
def test_python_in_a_page_imports_of_benison_only_benison(page):
    blocks = [code for kind, code in _FENCE.findall(page.read_text(encoding="utf-8")) if kind == "python"]
    modules = {module for code in blocks for module in imports(code)}
    assert {m for m in modules if m.split(".")[0] in _INSIDE or m.startswith("benison.")} == set()


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_a_notebook_imports_of_benison_only_benison(notebook):
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    modules = {m for cell in cells if cell["cell_type"] == "code" for m in imports("".join(cell["source"]))}
    assert {m for m in modules if m.split(".")[0] in _INSIDE or m.startswith("benison.")} == set()


@pytest.mark.parametrize("page", [README, *PAGES], ids=name)
def test_what_python_in_a_page_takes_from_benison_is_public(page):
    import benison

    taken = {
        alias.name
        for kind, code in _FENCE.findall(page.read_text(encoding="utf-8"))
        if kind == "python"
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.ImportFrom) and node.module == "benison"
        for alias in node.names
    }
    assert taken - set(benison.__all__) == set()


@pytest.mark.parametrize("page", [README, *PAGES], ids=name)
def test_every_yaml_block_is_yaml(page):
    for kind, text in _FENCE.findall(page.read_text(encoding="utf-8")):
        if kind == "yaml":
            yaml.safe_load(text.replace("{…}", "{}"))


@pytest.mark.parametrize("page", [README, *PAGES], ids=name)
def test_every_file_and_test_that_a_page_names_exists(page):
    text = page.read_text(encoding="utf-8")
    folders = "benchmarks|components|configs|dags|notebooks|pipelines|serving|tests"
    files = re.findall(rf"`((?:{folders})/[\w./-]+\.(?:py|yaml|ipynb|toml|lock|json))`", text)
    assert [file for file in files if not (ROOT / file).is_file()] == []
    code = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"^(?:async )?def (test_\w+)", code, re.MULTILINE))
    stems = {file.stem for file in (ROOT / "tests").rglob("test_*.py")}
    assert set(re.findall(r"`(test_\w+)`", text)) - there - stems == set()


@pytest.mark.parametrize("record", sorted((DOCS / "decisions").glob("*.md")), ids=name)
def test_a_decision_ends_in_what_would_violate_it(record):
    headings = re.findall(r"^## (.*)$", record.read_text(encoding="utf-8"), re.MULTILINE)
    assert record.name == "index.md" or headings[-1] == "What would violate this"
