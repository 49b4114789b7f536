"""Tests of reading CSV: types, missing values and malformed files."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from benison.components.ingest.csv_table import CsvTable
from benison.serving import missing_values
from benison.serving.errors import DataError

NA = frozenset({"", "NA"})


@pytest.fixture
def write(tmp_path: Path):
    def _write(text: str | bytes, name: str = "rows.csv") -> str:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return _write


def _batch(file: str, kinds: dict[str, str]):
    ((_, batch),) = CsvTable((file,), NA).batches(kinds)
    return batch.to_pydict()


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "-2"], "int"),
        (["1", "2.5"], "float"),
        (["1e3"], "float"),
        (["1", "NA", ""], "int"),
        (["1", "x"], "bytes"),
        (["NA", ""], "bytes"),
        (["1_000"], "bytes"),
        (["x", "1"], "bytes"),
        (["inf", "1"], "float"),
        (["nan", "x"], "bytes"),
        (["NaN", "1e999"], "float"),
        (["99999999999999999999"], "float"),
        (["90210", "02134"], "bytes"),
        (["0", "0.5", "-0"], "float"),
    ],
)
def test_the_narrowest_type_that_holds_all_values_is_inferred(write, cells: list[str], kind: str) -> None:
    file = write("a,b\n" + "".join(f"{cell},0\n" for cell in cells))
    assert CsvTable((file,), NA).infer_kinds(["a"])[0] == {"a": kind}


def test_codes_with_leading_zeros_are_text_without_a_warning(write) -> None:
    file = write("zip\n" + "90210\n" * 30 + "02134\n")
    assert CsvTable((file,), NA).infer_kinds(["zip"]) == ({"zip": "bytes"}, [])
    assert _batch(file, {"zip": "bytes"})["zip"][-1] == [b"02134"]


def test_a_file_may_be_compressed_whatever_its_name(write, tmp_path: Path) -> None:
    text = "name,age\n" + "Ada,36\n" * 200
    for name in ("ages.csv.gz", "ages.csv"):
        (tmp_path / name).write_bytes(gzip.compress(text.encode("utf-16")))
        table = CsvTable((str(tmp_path / name),), encoding="utf-16")
        assert table.header == ["name", "age"]
        assert len(list(table.rows())) == 200
    file = tmp_path / "plain.csv.gz"
    file.write_text(text)
    assert len(list(CsvTable((str(file),)).rows())) == 200


@pytest.mark.parametrize("spoil", [lambda b: b[:-20], lambda b: b[:30] + bytes(20) + b[50:]])
def test_a_compressed_file_that_is_cut_or_damaged_is_refused(tmp_path: Path, spoil) -> None:
    file = tmp_path / "ages.csv.gz"
    rows = "".join(f"{i},{i * 7919 % 10007}\n" for i in range(5000))
    file.write_bytes(spoil(gzip.compress(f"n,m\n{rows}".encode())))
    with pytest.raises(DataError, match=r"ages\.csv\.gz: cut or damaged as gzip \(.*\); copy or write the file again"):
        list(CsvTable((str(file),)).rows())


def test_a_missing_value_is_null_and_not_text(write) -> None:
    file = write("name,age\nAda,36\nNA,\n")
    assert _batch(file, {"name": "bytes", "age": "int"}) == {"name": [[b"Ada"], None], "age": [[36], None]}


def test_quotes_byte_order_mark_blank_lines_and_other_scripts_are_read(write) -> None:
    file = write('\ufeffname,note\n"Lovelace, Ada","two\nlines"\n\nغزالة,🐧\n')
    batch = _batch(file, {"name": "bytes", "note": "bytes"})
    assert batch["name"] == [[b"Lovelace, Ada"], ["غزالة".encode()]]
    assert batch["note"] == [[b"two\nlines"], ["🐧".encode()]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty; expected a header line"),
        ("\n", "empty; expected a header line"),
        ("a,a\n1,2\n", "line 1: column 'a' appears more than once"),
        ("a,\n1,2\n", "line 1: column 2 has no name"),
        (",a\n0,2\n", "line 1: column 1 has no name.*the index of pandas, write the file with index=False"),
        (b"PK\x03\x04\x14\x00\x06\x00", "a workbook of Excel .* not a CSV file; export its table as CSV"),
        (gzip.compress(b"PAR1\x15\x04", mtime=0), "this is a Parquet file within a compressed one, not a CSV file"),
        ("a,b\n1,2\n1\n", "line 3: 1 cells, expected 2 as in the header"),
        ('a,b\n1,"2\n', "from line 2: unexpected end of data"),
        (b"a,b\n1,\xe9\n", r"not utf-8 \(byte 0xe9\); set the encoding of the file in data.encoding"),
        (b"a,b\n1,\x00\n", "from line 2: a NUL byte; the file is not text"),
        ("a,b\n1," + "x" * 200_000 + "\n", "from line 2: field larger than field limit"),
    ],
)
def test_a_malformed_file_is_refused_with_file_and_line(write, text: str | bytes, message: str) -> None:
    file = write(text)
    with pytest.raises(DataError, match=message) as refused:
        list(CsvTable((file,)).rows())
    assert file in str(refused.value)


def test_a_cell_of_the_wrong_type_is_named_by_file_line_and_column(write) -> None:
    file = write("a,b\n1,2\nNA,x\n")
    with pytest.raises(DataError, match=r"rows\.csv, line 3, column 'b': got 'x', expected a whole number"):
        _batch(file, {"a": "int", "b": "int"})


@pytest.mark.parametrize("last", ["6", " 6.0"])  # Arrow reads the column, or it is read cell by cell
def test_an_integer_column_may_have_zeros_after_the_point_as_pandas_writes_them(write, last: str) -> None:
    file = write(f"a,b\n1,3.0\n2,\n3,-4.00\n4,{last}\n")
    assert _batch(file, {"a": "int", "b": "int"})["b"] == [[3], None, [-4], [6]]
    assert CsvTable((file,), NA).infer_kinds(["b"])[0] == {"b": "float"}
    with pytest.raises(DataError, match=r"line 3, column 'b': got '3.5', expected a whole number"):
        _batch(write("a,b\n1,3.0\n2,3.5\n"), {"a": "int", "b": "int"})


def test_files_with_different_headers_are_refused(write) -> None:
    files = [write("a,b\n", "1.csv"), write("b,a\n", "2.csv")]
    with pytest.raises(DataError, match=r"2\.csv: header differs from that of .*1\.csv"):
        list(CsvTable(tuple(files)).rows())


@pytest.mark.parametrize("cell", ["nan", "inf", "-Infinity", "1e300", "1_0"])
def test_a_number_that_is_not_finite_is_refused_in_a_numeric_column(write, cell: str) -> None:
    with pytest.raises(DataError, match=f"line 2, column 'b': got '{cell}', expected a finite number"):
        _batch(write(f"a,b\n1,{cell}\n"), {"a": "int", "b": "float"})


def test_an_infinite_mark_is_missing_among_numbers_and_a_value_among_texts(write) -> None:
    table = CsvTable((write("a,b\ninf,inf\n1.5,NA\n"),), NA | {"inf"})
    ((_, batch),) = table.batches({"a": "float", "b": "bytes"})
    assert batch.to_pydict() == {"a": [None, [1.5]], "b": [[b"inf"], None]}
    assert missing_values.Marks(("NA", "inf")).of("string") == ["", "NA"]


def test_delimiter_and_encoding_of_the_file_are_used(write) -> None:
    file = write("name;note\nAndr\u00e9;1,5\n".encode("latin-1"))
    ((rows, _),) = CsvTable((file,), NA, delimiter=";", encoding="latin-1").batches({"name": "bytes", "note": "bytes"})
    assert rows[0].cells == ["Andr\u00e9", "1,5"]
    assert (rows[0].file, rows[0].line) == (file, 2)


def test_the_integer_that_stands_for_a_missing_one_is_refused_in_an_integer_column(write):
    file = write("n,f\n1,1.5\n-9007199254740991,-9007199254740991\n")
    assert CsvTable((file,), NA).infer_kinds(["n", "f"])[0] == {"n": "int", "f": "float"}
    with pytest.raises(DataError, match="line 3, column 'n': got '-9007199254740991', expected a whole number other"):
        _batch(file, {"n": "int", "f": "float"})


def test_a_column_of_amounts_is_read_in_its_form(write):
    table = CsvTable((write('price,share\n"$1,200",36%\n965,\n'),), NA, amounts={"price": "1,234.5", "share": "1234.5"})
    assert table.infer_kinds(["price", "share"]) == ({"price": "int", "share": "int"}, [])
    ((_, batch),) = table.batches({"price": "float", "share": "int"})
    assert batch.to_pydict() == {"price": [[1200.0], [965.0]], "share": [[36], None]}
    with pytest.raises(DataError, match=r"line 2, column 'price': got '\$1,200', expected a finite number"):
        list(CsvTable(table.files).batches({"price": "float", "share": "bytes"}))
