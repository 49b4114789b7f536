"""Pointers of DVC are read in the workspace and in both layouts of its cache, checked, and written as DVC does."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from benison.components.ingest import data_files, dvc_pointers
from benison.serving.errors import DataError, UsageError

ROWS = b"a,b\n1,2\n"


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def listing(files: dict[str, bytes]) -> bytes:
    """The list of a folder as DVC writes it."""
    entries = [{"md5": md5(content), "relpath": name} for name, content in sorted(files.items())]
    return json.dumps(entries, sort_keys=True).encode()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "raw").mkdir()
    return tmp_path


def pointer(project: Path, name: str, digest: str, *, modern: bool = True) -> Path:
    file = project / "raw" / f"{name}.dvc"
    kind = {"hash": "md5"} if modern else {}
    file.write_text(yaml.safe_dump({"outs": [{"md5": digest, "size": 8, **kind, "path": name}]}))
    return file


def modern(project: Path, digest: str) -> Path:
    return project / ".dvc" / "cache" / "files" / "md5" / digest[:2] / digest[2:]


def old(project: Path, digest: str) -> Path:
    return project / ".dvc" / "cache" / digest[:2] / digest[2:]


def keep(place: Path, content: bytes) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)


def test_a_tracked_file_is_read_in_the_workspace(project: Path) -> None:
    (project / "raw" / "t.csv").write_bytes(ROWS)
    file = pointer(project, "t.csv", md5(ROWS))
    assert data_files.find(str(file)) == (str(project / "raw" / "t.csv"),)
    assert data_files.contents(str(file)) == (
        data_files.DataFile(str(project / "raw" / "t.csv"), str(file), md5(ROWS)),
    )
    assert data_files.find(str(project / "raw" / "*.dvc")) == (str(project / "raw" / "t.csv"),)


@pytest.mark.parametrize("layout", [modern, old])
def test_a_file_that_is_only_in_the_cache_is_read_there_under_its_name(
    project: Path, layout: Callable[[Path, str], Path]
) -> None:
    keep(layout(project, md5(ROWS)), ROWS)
    (found,) = data_files.find(str(pointer(project, "t.parquet", md5(ROWS))))
    assert Path(found).name == "t.parquet"
    assert Path(found).read_bytes() == ROWS


def test_the_cache_may_be_elsewhere(project: Path, tmp_path: Path) -> None:
    keep(tmp_path / "shared" / "files" / "md5" / md5(ROWS)[:2] / md5(ROWS)[2:], ROWS)
    (project / ".dvc" / "config").write_text("[core]\n    remote = x\n[cache]\n    dir = ../shared\n['remote \"x\"']\n")
    (found,) = data_files.find(str(pointer(project, "t.csv", md5(ROWS))))
    assert Path(found).read_bytes() == ROWS


def test_a_folder_is_all_of_its_files(project: Path) -> None:
    files = {"a.csv": ROWS, "sub/b.csv": ROWS + b"3,4\n"}
    text = listing(files)
    file = pointer(project, "parts", f"{md5(text)}.dir")
    for name, content in files.items():
        keep(project / "raw" / "parts" / name, content)
    assert [Path(f).name for f in data_files.find(str(file))] == ["a.csv", "b.csv"]  # without the cache
    keep(modern(project, f"{md5(text)}.dir"), text)
    for content in files.values():
        keep(modern(project, md5(content)), content)
    shutil.rmtree(project / "raw" / "parts")
    found = data_files.find(str(file))
    assert {Path(f).name: Path(f).read_bytes() for f in found} == {"a.csv": ROWS, "b.csv": ROWS + b"3,4\n"}


def test_before_dvc_3_line_ends_did_not_count(project: Path) -> None:
    (project / "raw" / "t.csv").write_bytes(ROWS.replace(b"\n", b"\r\n"))
    assert data_files.find(str(pointer(project, "t.csv", md5(ROWS), modern=False)))
    with pytest.raises(DataError, match="its content is not that of"):
        data_files.find(str(pointer(project, "t.csv", md5(ROWS))))


def test_missing_and_changed_content_is_refused_with_the_command(project: Path) -> None:
    file = pointer(project, "t.csv", md5(ROWS))
    with pytest.raises(DataError, match=r"neither in the workspace nor in DVC's cache.*dvc pull t\.csv\.dvc"):
        data_files.find(str(file))
    (project / "raw" / "t.csv").write_bytes(ROWS + b"5,6\n")
    with pytest.raises(DataError, match=r"t\.csv: its content is not that of .*`dvc checkout`"):
        data_files.find(str(file))
    (project / "raw" / "t.csv").unlink()
    keep(modern(project, md5(ROWS)), b"other")
    with pytest.raises(DataError, match=r"is damaged: its md5 is not .*dvc pull"):
        data_files.find(str(file))


@pytest.mark.parametrize("text", ["", "[1]", "outs: []", "outs: [{path: t.csv}]", "outs: [{md5: 1, path: t}]", "\t:"])
def test_a_file_that_is_no_pointer_is_refused(project: Path, text: str) -> None:
    file = project / "raw" / "t.csv.dvc"
    file.write_text(text)
    with pytest.raises(DataError, match=r"t\.csv\.dvc: "):
        data_files.find(str(file))


def test_a_pointer_is_written_as_dvc_does(project: Path) -> None:
    data = project / "raw" / "däta 1.csv"
    data.write_bytes(ROWS)
    file = dvc_pointers.write(data)
    assert yaml.safe_load(file.read_text()) == {
        "outs": [{"md5": md5(ROWS), "size": 8, "hash": "md5", "path": "däta 1.csv"}]
    }
    assert (project / "raw" / ".gitignore").read_text() == "/däta 1.csv\n"
    assert modern(project, md5(ROWS)).read_bytes() == ROWS
    data.unlink()
    assert Path(data_files.find(str(file))[0]).read_bytes() == ROWS


def test_without_a_dvc_project_no_pointer_is_written(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(ROWS)
    with pytest.raises(UsageError, match="is in no DVC project"):
        dvc_pointers.write(tmp_path / "t.csv")
