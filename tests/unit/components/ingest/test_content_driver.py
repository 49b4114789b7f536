"""Tests of ExampleGen's driver: what a node reads is what `validate` names, in the same order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benison.components.ingest import data_files

# TFX and its dependencies emit warnings about one another.
pytestmark = pytest.mark.filterwarnings("ignore")


def driven(node: Any) -> dict[str, Any]:
    """Return the properties that the driver gives to the executor."""
    properties = {name: value for name, value in node.exec_properties.items() if value is not None}
    return dict(node.driver_class(None).resolve_exec_properties(properties, None, None))


def csv_node(pattern: Path, **options: Any) -> Any:
    from benison.components.ingest.example_gen import CsvExampleGen

    return CsvExampleGen(str(pattern), {"train": 3, "test": 1}, **options)


def record_node(pattern: Path) -> Any:
    from benison.components.ingest.import_example_gen import ImportExampleGen

    return ImportExampleGen(str(pattern), {"train": 3, "test": 1})


@pytest.mark.parametrize("node", [csv_node, record_node])
@pytest.mark.parametrize("pattern", ["data/**/*.csv", "data/[1].csv", "[x] y/*.csv"])
def test_the_nodes_read_the_files_that_the_path_names(tmp_path: Path, node: Any, pattern: str) -> None:
    for name in ("data/a.csv", "data/deep/er/b.csv", "data/[1].csv", "data/1.csv", "[x] y/c.csv", "x y/d.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    properties = driven(node(tmp_path / pattern))
    assert json.loads(properties["files"]) == list(data_files.find(str(tmp_path / pattern)))
    assert properties["span"] == 0


def test_the_hash_covers_every_file_that_is_read(tmp_path: Path) -> None:
    deep = tmp_path / "data/deep/er/b.csv"
    deep.parent.mkdir(parents=True)
    hashes = []
    for content in ("1", "2", "2"):
        deep.write_text(content)
        hashes.append(driven(csv_node(tmp_path / "data/**/*.csv"))["input_fingerprint"])
    assert hashes[0] != hashes[1] == hashes[2]


def test_a_span_in_a_folder_with_brackets_is_read(tmp_path: Path) -> None:
    file = tmp_path / "[a] b/3/rows.csv"
    file.parent.mkdir(parents=True)
    file.touch()
    (file.parent / "span.json").write_text('{"sha256": "abc"}')
    properties = driven(csv_node(tmp_path / "[a] b/{SPAN}/*.csv", span=3))
    assert (json.loads(properties["files"]), properties["span"], properties["span_hash"]) == ([str(file)], 3, "abc")


def test_a_users_own_span_json_is_no_hash(tmp_path: Path) -> None:
    (tmp_path / "span.json").write_text('{"sha256": "abc"}')
    hashes = []
    for content in ("1", "2"):
        (tmp_path / "a.csv").write_text(content)
        hashes.append(driven(csv_node(tmp_path / "a.csv"))["input_fingerprint"])
    assert hashes[0] != hashes[1]
