"""Reading CSV: types, missing values, splits, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from components import example_gen
from serving.errors import DataError

NA = frozenset({"", "NA"})


@pytest.fixture
def write(tmp_path: Path):
    def _write(text: str | bytes, name: str = "rows.csv") -> str:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return _write


def _batch(file: str, kinds: dict[str, str]):
    header = example_gen._header([file])
    ((_, batch),) = example_gen.batches(example_gen.read([file], header), header, kinds, NA)
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
    ],
)
def test_the_narrowest_type_that_holds_all_values_is_inferred(write, cells: list[str], kind: str) -> None:
    file = write("a,b\n" + "".join(f"{cell},0\n" for cell in cells))
    assert example_gen.infer_kinds([file], ["a", "b"], NA, ["a"]) == {"a": kind}


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
        ("a,a\n1,2\n", "line 1: column 'a' stands twice"),
        ("a,\n1,2\n", "line 1: column 2 has no name"),
        ("a,b\n1,2\n1\n", "line 3: 1 cells, expected 2 as in the header"),
        ('a,b\n1,"2\n', "from line 2: unexpected end of data"),
        (b"a,b\n1,\xe9\n", r"not UTF-8 \(byte 0xe9\)"),
    ],
)
def test_a_malformed_file_is_refused_with_its_place(write, text: str | bytes, message: str) -> None:
    file = write(text)
    with pytest.raises(DataError, match=message) as refused:
        list(example_gen.read([file], example_gen._header([file])))
    assert file in str(refused.value)


def test_a_cell_of_the_wrong_type_is_named_by_file_line_and_column(write) -> None:
    file = write("a,b\n1,2\nNA,x\n")
    with pytest.raises(DataError, match=r"rows\.csv, line 3, column 'b': got 'x', expected a whole number"):
        _batch(file, {"a": "int", "b": "int"})


def test_files_with_different_headers_are_refused(write) -> None:
    files = [write("a,b\n", "1.csv"), write("b,a\n", "2.csv")]
    with pytest.raises(DataError, match=r"2\.csv: its header differs from that of .*1\.csv"):
        example_gen._header(files)


def test_a_row_falls_into_the_same_split_always_and_shares_follow_the_buckets() -> None:
    rows = [[str(i), "x"] for i in range(4000)]
    assigned = [example_gen.assign(row, [6, 1, 1, 2]) for row in rows]
    assert assigned == [example_gen.assign(list(row), [6, 1, 1, 2]) for row in rows]
    shares = [assigned.count(split) / len(rows) for split in range(4)]
    assert shares == pytest.approx([0.6, 0.1, 0.1, 0.2], abs=0.03)


def test_a_split_without_rows_is_refused() -> None:
    with pytest.raises(DataError, match="3 rows are too few: no row falls into blend, test"):
        example_gen._check_counts(["rows.csv"], {"train": 2, "valid": 1, "blend": 0, "test": 0})
