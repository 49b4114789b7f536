"""Tests of when a pipeline's `data.source` writes its files again."""

from __future__ import annotations

from pathlib import Path

import pytest

from benison.pipelines import config_file
from benison.pipelines.code import reads
from benison.pipelines.data import sources

SOURCE = """
from pathlib import Path

def write(folder):
    rows = Path(__file__).with_name("export.txt").read_text()
    (folder / "rows.csv").write_text(rows)
    return (folder / "rows.csv").read_text()
"""
YAML = """
name: birds
problem: binary
label: y
data: {source: source.py, csv: rows.csv}
columns: {x: number}
ensemble: {members: {linear: {}}}
"""


def test_files_are_written_again_if_what_their_source_reads_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source.py").write_text(SOURCE)
    (tmp_path / "birds.yaml").write_text(YAML)
    config = config_file.load(tmp_path / "birds.yaml", environ={})

    def written() -> tuple[str, int]:
        monkeypatch.setattr(reads, "OF_PROCESS", reads.Reads())  # as in a new process
        file = Path(sources.files_pattern(config, tmp_path / "root"))
        return file.read_text(), file.stat().st_ino

    (tmp_path / "export.txt").write_text("x,y\n1,0\n")
    first = written()
    assert written() == first
    (tmp_path / "export.txt").write_text("x,y\n2,0\n")
    for rest in (".birds.new", ".birds.old"):  # of a killed process
        (tmp_path / "root/data" / rest).mkdir()
        (tmp_path / "root/data" / rest / "other.csv").touch()
    assert written()[0] == "x,y\n2,0\n"
    assert sorted(path.name for path in (tmp_path / "root/data").iterdir()) == [".birds.lock", "birds"]
    assert not (tmp_path / "root/data/birds/other.csv").exists()
