"""The manifest format that `benison compile` writes."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from benison.pipelines import config_file
from benison.pipelines.airflow import manifest
from benison.pipelines.config.airflow import AirflowConfig
from benison.pipelines.config.limits import LARGEST

DAGS = Path(__file__).parents[4] / "dags/benison_dags.py"


def test_the_dag_files_read_the_format_that_compile_writes() -> None:
    """The DAG files cannot import the number, because Airflow's environment has no Benison."""
    assert re.findall(r"^FORMAT = (\d+)", DAGS.read_text(), re.MULTILINE) == [str(manifest.FORMAT)]


def test_the_dag_files_have_the_limits_of_the_yaml() -> None:
    text = DAGS.read_text()
    (limits,) = re.findall(r"^_LIMITS = (.*)", text, re.MULTILINE)
    assert re.findall(r"^_LARGEST = 2\*\*(\d+) - 1", text, re.MULTILINE) == [str(LARGEST.bit_length())]
    for key, (least, most) in ast.literal_eval(limits).items():
        schema = AirflowConfig.model_json_schema()["properties"][key]
        (numbers,) = (each for each in schema.get("anyOf", [schema]) if each["type"] == "integer")
        assert (numbers["minimum"], numbers["maximum"]) == (least, most), key


def test_texts_in_a_manifest_are_such_as_every_database_can_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "_write_ir", lambda *_: ({"nodes": []}, []))
    more = {"description": r'"a\0b"', "data.csv": r'"x\e.csv"'}
    config = config_file.load("penguins", more, environ={}, check_data=False)
    manifest.write(config, tmp_path, tmp_path)
    written = json.loads((tmp_path / "penguins.json").read_text())
    assert written["description"] == r"a\x00b"
    assert [text for text in (written["doc"], written["description"]) if re.search("[\0\x1b]", text)] == []
