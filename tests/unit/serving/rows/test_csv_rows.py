"""Reading CSV: Arrow and Python's csv make the same cells, and blocks may end anywhere."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from benison.serving.errors import DataError
from benison.serving.rows import csv_blocks, csv_rows

CELLS = st.text(st.sampled_from([*'ab1 ,;"\n\r', "é", "😀", "\x1f", "'"]), max_size=4)
TABLES = st.integers(1, 3).flatmap(
    lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=8)
)


def read(file: Path, **form: str) -> list[tuple[int, list[str]]]:
    return [(row.line, row.cells) for chunk in csv_rows.chunks(str(file), **form) for row in chunk.rows()]


def by_python(text: str, delimiter: str) -> list[tuple[int, list[str]]] | str:
    """Return the records after the header with their lines, or the fault, as Python's csv has them."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    records, line = [], 1
    try:
        for cells in reader:
            records.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        return str(error)
    return [(line, cells) for line, cells in records[1:] if cells]


@pytest.mark.parametrize("block", [1, 3, 7, 1 << 20])
@settings(max_examples=40, deadline=None)
@given(rows=TABLES, quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), ending=st.sampled_from(["\n", "\r\n"]))
@example(rows=[["a", 'b"'], ["x\ny", ""]], quoting=csv.QUOTE_MINIMAL, ending="\n")
@example(rows=[["a"], [""], ["b"]], quoting=csv.QUOTE_ALL, ending="\r\n")
def test_the_cells_are_those_of_pythons_csv_wherever_a_block_ends(tmp_path_factory, block, rows, quoting, ending):
    text = io.StringIO(newline="")
    csv.writer(text, quoting=quoting, lineterminator=ending).writerows([["h"] * len(rows[0]), *rows])
    expected = by_python(text.getvalue(), ",")
    assert not isinstance(expected, str)
    assume(all(len(cells) == len(rows[0]) for _, cells in expected))  # it does not quote \r if lines end with \n
    file = tmp_path_factory.mktemp("rows") / "rows.csv"
    file.write_bytes(text.getvalue().encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_blocks, "BLOCK", block)
        assert read(file) == expected


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.sampled_from([*'ab,"\n\r', "é"]), max_size=25))
@example(text='a"b,"c"\n')
@example(text='"a"b,c\n')
@example(text='a,""\n"",b')
@example(text="a\n\n\nb")
def test_any_text_has_the_cells_or_the_fault_of_pythons_csv(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("rows") / "rows.csv"
    file.write_bytes(b"h1,h2\n" + text.encode())
    expected = by_python("h1,h2\n" + text, ",")
    if isinstance(expected, str) or any(len(cells) != 2 for _, cells in expected):
        with pytest.raises(DataError, match="rows.csv" if isinstance(expected, str) else "cells, expected 2"):
            read(file)
    else:
        assert read(file) == expected


def test_a_chunk_is_an_arrow_batch_of_text(tmp_path):
    file = tmp_path / "rows.csv"
    for text in ('a,a b\n1,x\n,"y, z"\n', 'a,a b\n1,x\n,"y, \nz"\n'):  # read by Arrow and by Python's csv
        file.write_text(text)
        (chunk,) = csv_rows.chunks(str(file))
        assert chunk.batch().to_pydict()["a"] == ["1", ""]
        assert [row.cells for row in chunk.part(1, 5).rows()] == [["", chunk.batch().column(1)[1].as_py()]]
        assert list(chunk.part(1, 5).lines) == [3]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1", "cp1252"])
def test_every_encoding_is_read_in_blocks(tmp_path, monkeypatch, encoding):
    file = tmp_path / "rows.csv"
    file.write_bytes("größe,b\r\nZürich,1\r\n".encode(encoding))
    monkeypatch.setattr(csv_blocks, "BLOCK", 5)
    name = encoding.removesuffix("-sig")
    assert csv_rows.header(str(file), encoding=name) == ["größe", "b"]
    assert read(file, encoding=name) == [(2, ["Zürich", "1"])]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_file_without_the_mark_of_its_encoding_is_refused(tmp_path, encoding):
    file = tmp_path / "rows.csv"
    file.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(DataError, match=rf"rows.csv, line 1: not {encoding} \(byte 0x61\); set the encoding"):
        csv_rows.header(str(file), encoding=encoding)


@pytest.mark.parametrize(("encoding", "byte"), [("utf-8", b"\xe9"), ("cp1252", b"\x81")])
def test_a_byte_of_another_encoding_is_named_by_its_line(tmp_path, monkeypatch, encoding, byte):
    file = tmp_path / "rows.csv"
    file.write_bytes(b"a,b\n" + b"1,2\n" * 50 + b"1," + byte + b"\n" + b"1,2\n" * 50)
    for block in (10, 1 << 20):
        monkeypatch.setattr(csv_blocks, "BLOCK", block)
        with pytest.raises(DataError, match=rf"rows\.csv, line 52: not {encoding} \(byte 0x{byte.hex()}\); set the"):
            read(file, encoding=encoding)


def test_excels_line_that_names_the_delimiter_is_skipped(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text('sep=;\r\na;b\r\n1;"x;y"\r\n')
    assert csv_rows.header(str(file), ";") == ["a", "b"]
    assert read(file, delimiter=";") == [(3, ["1", "x;y"])]


@pytest.mark.parametrize("others", [[], ["__MACOSX/._rows.csv"]])
def test_a_zip_file_with_one_file_is_read_as_that_file(tmp_path, others):
    file = tmp_path / "rows.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ["data/rows.csv", *others]:
            archive.writestr(name, "a,b\n1,2\n")
    assert read(file) == [(2, ["1", "2"])]


def test_a_zip_file_that_is_not_one_csv_is_refused(tmp_path):
    file = tmp_path / "rows.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", "a\n1\n")
        archive.writestr("b.csv", "a\n1\n")
    with pytest.raises(DataError, match=r"rows\.zip: has 2 files \(a\.csv, b\.csv\), expected one; extract the one"):
        read(file)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", "a\n" + "".join(f"{i * 7919 % 10007}\n" for i in range(9999)))
    content = bytearray(file.read_bytes())
    content[60:70] = b"\xff" * 10
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"rows\.zip: (cannot be read as zip|cut or damaged)"):
        read(file)


def test_a_compressed_file_is_read_as_its_content(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 5000))
    assert len(read(file)) == 5000
