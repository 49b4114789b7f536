"""The guesses of `benison init` about a file."""

from __future__ import annotations

import gzip
import random
import re
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from benison.pipelines.starting.csv_dialect import delimiter_of, encoding_of
from benison.pipelines.starting.guess import Fixed, Guess, look
from benison.pipelines.starting.profile import Profile
from benison.serving.errors import DataError, UsageError

ROWS = 40
CYCLE = [f"{i % 2}" for i in range(ROWS)]
SLOW_CYCLE = [f"{i // 5 % 2}" for i in range(ROWS)]  # no column of a short cycle predicts it


def written(folder: Path, columns: dict[str, list[str]], delimiter: str = ",", encoding: str = "utf-8") -> Path:
    """Write a file with these columns."""
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    file = folder / "rows.csv"
    file.write_bytes("".join(delimiter.join(row) + "\n" for row in rows).encode(encoding))
    return file


def guess(folder: Path, columns: dict[str, list[str]], **form: str) -> Guess:
    """Guess a file with these columns, a column of numbers, and a label `y` with two values."""
    rows = len(next(iter(columns.values())))
    numbers = [f"{random.Random(i).random():.3f}" for i in range(rows)]
    return look(written(folder, {**columns, "plain": numbers, "y": CYCLE * (rows // ROWS)}, **form), "y")


def column(folder: Path, name: str, cells: list[str], **form: str) -> tuple[str, str]:
    """Return the kind of one column and the reason."""
    (guessed,) = [c for c in guess(folder, {name: cells}, **form).columns if c.name == name]
    return guessed.kind, guessed.why


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_cuts_all_rows_alike(tmp_path, delimiter):
    file = written(tmp_path, {"a": ["1.5"] * 9, "b": ["x y"] * 9, "c": ["2"] * 9}, delimiter)
    assert delimiter_of(file, "utf-8") == delimiter


@pytest.mark.parametrize(
    ("cells", "decimal", "amounts"),
    [
        (["1,5", "-2,25", "3", ""], ",", None),
        (["1.5", "2.25", "3", ""], ".", None),
        (["0,234", "-0,345", "1,000", ""], ",", None),  # thousands do not begin with a zero
        (["1,234", "12,345", "3,000", ""], ".", "1,234.5"),
        (["1.234,5", "12,34", "3,00", ""], ",", "1.234,5"),
        (["1.234", "1.234,5", "1.234.567", ""], ".", "1.234,5"),
    ],
)
def test_decimal_commas_are_seen_where_they_cannot_be_thousands(tmp_path, cells, decimal, amounts):
    guessed = look(written(tmp_path, {"price": cells * 10, "x": CYCLE, "y": SLOW_CYCLE}, delimiter=";"), "y")
    assert (guessed.delimiter, guessed.decimal, guessed.columns[0].kind) == (";", decimal, "number")
    assert guessed.amounts == ({"price": amounts} if amounts else {})


def test_a_column_may_have_another_decimal_sign_than_the_file(tmp_path):
    guessed = guess(tmp_path, {"price": [f"{i},50" for i in range(ROWS)]}, delimiter=";")
    assert (guessed.decimal, guessed.amounts) == (".", {"price": "1234,5"})


def test_an_estimate_says_so_and_is_no_more_than_the_cells(tmp_path):
    cells = [f"{i / 7:.6f}" for i in range(ROWS * 60)]
    assert column(tmp_path, "price", cells * 2) in {
        ("number", f"about {count} different numbers") for count in ("2,300", "2,400", "2,500")
    }


@pytest.mark.parametrize(
    ("form", "amounts", "number"),
    [
        ("{}.5%", "1234.5", "100.5"),
        ("{} %", "1234.5", "100"),
        ("$1,{}.00", "1,234.5", "1100.00"),
        ("€ {}", "1234.5", "100"),
        ("{},5 €", "1234,5", "100.5"),
        ("-${}", "1234.5", "-100"),
        ("(1'{})", "1'234.5", "-1100"),
        ("1 {} kr", "1 234.5", "1100"),
        ("CHF {}.-", "1234.5", "100."),
        ("{},-- €", "1234,5", "100."),
        ("{}-", "1234.5", "-100"),
        ("{} kg", None, None),
    ],
)
def test_amounts_are_numbers(tmp_path, form, amounts, number):
    cells = [form.format(100 + i // 3) for i in range(ROWS * 6)]
    guessed = guess(tmp_path, {"share": cells}, delimiter=";")
    assert guessed.amounts == ({"share": amounts} if amounts else {})
    if amounts:
        (share, _) = guessed.columns
        assert (share.kind, share.why) == (
            "number",
            f"80 different numbers, amounts such as {cells[0]}, read as {number}",
        )


@pytest.mark.parametrize(("beside", "amounts"), [("965", "1,234.5"), ("1965", None), ("0,965", None), ("1,9", None)])
def test_commas_between_thousands_are_no_decimal_commas_though_the_file_has_some(tmp_path, beside, amounts):
    cells = {"weight": [f"{i},5" for i in range(ROWS)], "price": ["1,200", "12,345", beside, "7,000"] * (ROWS // 4)}
    guessed = look(written(tmp_path, {**cells, "y": SLOW_CYCLE}, delimiter=";"), "y")
    assert (guessed.decimal, guessed.amounts) == (",", {"price": amounts} if amounts else {})


def test_a_few_thousands_with_a_separator_are_no_marks(tmp_path):
    cells = ["1,200", "3,450", "12,000", *(str(i) for i in range(ROWS - 3))]
    guessed = guess(tmp_path, {"price": cells}, delimiter=";")
    assert (guessed.missing, guessed.amounts) == (("",), {"price": "1,234.5"})


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["36%", "0.36", *["12%"] * 38], "some cells have a percent sign and others none"),
        (["$5", "€6", *["$7"] * 38], r"amounts in \$ and € are read as numbers of one unit"),
    ],
)
def test_amounts_of_different_units_are_pointed_out(tmp_path, cells, expected):
    (remark,) = guess(tmp_path, {"price": cells}).remarks
    assert re.search(expected, remark)


def test_a_label_with_decimal_commas_is_a_number(tmp_path):
    file = written(tmp_path, {"x": CYCLE, "y": [f"{i},5" for i in range(ROWS)]}, delimiter=";")
    assert look(file, "y").problem == "regression"


@pytest.mark.parametrize(
    ("encoding", "guessed"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
        ("latin-1", "latin-1"),
        ("cp1252", "cp1252"),
    ],
)
def test_the_encoding_reads_every_byte(tmp_path, encoding, guessed):
    text = "€ 5, Zürich" if encoding == "cp1252" else "Zürich"
    file = written(tmp_path, {"city": [text.replace(",", "")] * 200, "y": CYCLE * 5}, encoding=encoding)
    assert encoding_of(file) == guessed
    assert delimiter_of(file, guessed) == ","


def test_excels_dialects_are_found(tmp_path):
    rows = [f"{i},5;Zürich;{'yes' if i % 3 else 'no'}" for i in range(60)]
    text = "\r\n".join(["sep=;", "amount;city;late", *rows])
    for encoding in ("utf-8-sig", "utf-16", "cp1252"):
        file = tmp_path / "rows.csv"
        file.write_bytes(text.encode(encoding))
        packed = tmp_path / "rows.zip"
        with zipfile.ZipFile(packed, "w") as archive:
            archive.write(file, "rows.csv")
        for path in (file, packed):
            guessed = look(path, "late")
            assert (guessed.delimiter, guessed.decimal, guessed.rows) == (";", ",", 60)
            assert [column.kind for column in guessed.columns] == ["number", "ignore"]


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_only_line_ends_of_csv_end_a_row(tmp_path, separator):
    file = written(tmp_path, {"city": [f"a{separator}b"] * 40, "y": CYCLE}, delimiter="\t")
    assert delimiter_of(file, "utf-8") == "\t"


def test_one_nul_byte_is_not_utf_16(tmp_path):
    file = written(tmp_path, {"city": ["Bern"] * 20, "y": ["a\0", *CYCLE * 5][:20]})
    with pytest.raises(DataError, match=r"rows.csv, from line 2: a NUL byte"):
        look(file, "y")


@pytest.mark.parametrize(
    ("cells", "form"),
    [
        (["2024-02-29", "2023-01-31"], None),
        (["2024-02-29 13:05", "2023-01-31 00:00:59"], None),
        (["2024-02-29T13:05:07Z", "2023-01-31T13:05:07.123+02:00"], None),
        (["29/02/2024", "31/01/2023"], "%d/%m/%Y"),
        (["02/29/2024", "01/31/2023"], "%m/%d/%Y"),
        (["29.02.2024 13:05", "31.01.2023 07:00"], "%d.%m.%Y %H:%M"),
        (["29 Feb 2024", "31 Jan 2023"], "%d %b %Y"),
        (["February 29, 2024", "January 31, 2023"], "%B %d, %Y"),
        (["20240229", "20230131"], "%Y%m%d"),
    ],
)
def test_dates_are_known_by_their_format(tmp_path, cells, form):
    (guessed,) = (
        [c for c in guess(tmp_path, {"when": cells * (ROWS // 2)}).columns if c.name == "when"]
        if not any("," in cell for cell in cells)
        else [c for c in guess(tmp_path, {"when": cells * (ROWS // 2)}, delimiter=";").columns if c.name == "when"]
    )
    assert (guessed.kind, guessed.format) == ("date", form)


def test_a_date_that_could_be_read_either_way_says_so(tmp_path):
    assert column(tmp_path, "when", ["01/02/2024", "03/04/2024"] * (ROWS // 2)) == (
        "date",
        "%d/%m/%Y, day first (could be month first)",
    )


@pytest.mark.parametrize(
    ("name", "cells", "expected"),
    [
        ("customer_id", [str(7919 * i % 10007) for i in range(ROWS)], ("ignore", "an id: as many values as rows")),
        ("code", [f"k{i:05d}" for i in range(ROWS)], ("ignore", "as many values as rows, such as k00000; an id?")),
        (
            "off",
            [f"{i % 3}0%" for i in range(ROWS)],
            ("number", "3 different numbers, amounts such as 00%, read as 00"),
        ),
        ("customer_id", [f"{7919 * i % 10007}.0" for i in range(ROWS)], ("ignore", "an id: as many values as rows")),
        ("n", [str(i) for i in range(5, ROWS + 5)], ("ignore", "a row number")),
        ("store_id", [str(i % 4) for i in range(ROWS)], ("category", "an id with 4 values")),
        ("income", [str(7919 * i % 10007) for i in range(ROWS)], ("number", "40 different numbers")),
        *(
            (name, [str(7919 * i % 10007) for i in range(ROWS)], ("ignore", "an id: as many values as rows"))
            for name in ("Kundennr", "CustomerNo", "InvoiceNumber", "account", "Unnamed: 0", "__index_level_0__")
        ),
        ("InvoiceNumber", [str(i % 4) for i in range(ROWS)], ("number", "4 different numbers")),
        ("branch_code", [str(71 + i % 9) for i in range(ROWS)], ("category", "9 codes")),
        ("Postleitzahl", [str(80331 + i % 9) for i in range(ROWS)], ("category", "9 codes")),
        ("currency", ["CHF"] * ROWS, ("ignore", "always 'CHF'")),
        ("note", [""] * ROWS, ("ignore", "empty")),
        ("note", ["NA", ""] * (ROWS // 2), ("ignore", "empty")),
        ("flag", ["on", ""] * (ROWS // 2), ("category", "1 different texts")),
        ("sex", ["f", "m"] * (ROWS // 2), ("category", "2 different texts")),
        ("zip", ["90210", "02134"] * (ROWS // 2), ("category", "2 codes, such as 02134")),
        ("zip", ["02134", *["90210"] * (ROWS - 1)], ("category", "2 codes, such as 02134")),
        ("part", ["0213411", "0134521"] * (ROWS // 2), ("category", "2 codes, such as 0213411")),
        ("truth", ["T", "F"] * (ROWS // 2), ("category", "2 different texts")),
        ("truth", ["0", "1"] * (ROWS // 2), ("category", "two values: 0, 1")),
        ("truth", ["1.0", "0.0", "", "1.0"] * (ROWS // 4), ("category", "two values: 0.0, 1.0")),
        ("grade", ["1", "1", "2", "2"] * (ROWS // 4), ("number", "2 different numbers")),
        ("zip_code", [str(90210 + i % 9) for i in range(ROWS)], ("category", "9 codes")),
        ("line", [str(2 * ROWS - i - (i > 9)) for i in range(ROWS)], ("ignore", "a row number")),
        ("digit", ["1_000", "2_000"] * (ROWS // 2), ("category", "2 different texts")),
        ("review", [f"it was a very good meal {i}" for i in range(ROWS)], ("text", "7 words on average")),
    ],
)
def test_columns_are_what_their_cells_say(tmp_path, name, cells, expected):
    assert column(tmp_path, name, cells) == expected


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6])
def test_a_text_among_numbers_is_pointed_out_whatever_its_share(tmp_path, share):
    cells = [f"{i}.5" if i >= share * 400 else "k.A." for i in range(400)]
    (remark, *_) = guess(tmp_path, {"a": cells, "b": ["NA", *["1"] * 399]}).remarks
    assert "cells are numbers, others are 'k.A.'" in remark
    assert """--set 'data.missing=["", "NA", "k.A."]'""" in remark


def test_an_empty_cell_means_no_value_whatever_the_user_adds(tmp_path):
    cells = ["$1.50", "", "$2.50", "closed"] * (ROWS // 4)
    file = written(tmp_path, {"a": cells, "y": CYCLE})
    guessed = look(file, "y", Fixed(missing=("closed",)))
    assert [(c.kind, c.missing) for c in guessed.columns] == [("number", 0.5)]
    assert guessed.missing == ("", "closed")


def test_strings_of_many_values_are_hashed_unless_each_comes_up_often(tmp_path):
    for rows, kind in ((560, "hashed"), (600, "category")):
        assert column(tmp_path, "city", [f"c{i // 2 % 60}" for i in range(rows)]) == (kind, "60 different texts")


def test_categories_of_many_values_have_at_most_4000_values_together(tmp_path):
    cells = {
        name: [f"{name}{i // 2 % size}" for i in range(40_000)] for name, size in (("a", 900), ("b", 3900), ("c", 2000))
    }
    kinds = {found.name: found.kind for found in guess(tmp_path, cells).columns}
    assert kinds == {"a": "category", "b": "hashed", "c": "category", "plain": "number"}


@pytest.mark.parametrize(
    ("mark", "counts"),
    [("NA", True), ("N/A", True), ("nan", True), ("NULL", True), ("?", True), (" ?", True), ("-", True), ("none", True),
     ("unknown", True)],
)  # fmt: skip
def test_a_mark_among_numbers_means_missing(tmp_path, mark, counts):
    guessed = guess(tmp_path, {"age": [mark, *(str(i * 7 % 31 + 0.5) for i in range(ROWS - 1))]})
    assert guessed.missing == ("", mark)
    assert [(c.kind, c.missing) for c in guessed.columns if c.name == "age"] == [("number", 1 / ROWS)]


@pytest.mark.parametrize(("mark", "missing"), [("NA", ("", "NA")), ("?", ("", "?")), ("none", ("",)), ("other", ("",))])
def test_among_texts_only_sure_marks_mean_missing(tmp_path, mark, missing):
    assert guess(tmp_path, {"pool": [mark, "indoor", "outdoor", "indoor"] * (ROWS // 4)}).missing == missing


@pytest.mark.parametrize(
    ("labels", "problem"),
    [
        (["0", "1"] * 20, "binary"),
        (["yes", "no"] * 20, "binary"),
        (["1.5", "2.5"] * 20, "binary"),
        (["0", "1", "2", "3"] * 10, "multiclass"),
        (["0.0", "1.0", "2.0", "3.0"] * 10, "multiclass"),
        (["a", "b", "c", "NA"] * 10, "multiclass"),
        (["01", "02", "03", "11"] * 10, "multiclass"),
        ([f"{i % 13:02}" for i in range(40)], "multiclass"),
        ([str(i % 20) for i in range(40)], "regression"),
        ([f"{i}.5" for i in range(40)], "regression"),
        ([*(str(i * 3) for i in range(39)), "NA"], "regression"),
    ],
)
def test_the_problem_follows_from_the_label(tmp_path, labels, problem):
    file = written(tmp_path, {"x": [str(i * 7 % 31) for i in range(40)], "y": labels})
    assert look(file, "y").problem == problem


@pytest.mark.parametrize(
    ("classes", "positive"),
    [("true false", "true"), ("FALSE TRUE", "TRUE"), ("yes no", "yes"), ("F T", "T"), ("1 0", "1"), ("N Y", "Y")],
)
def test_the_positive_class_of_truth_values_is_the_true_one(tmp_path, classes, positive):
    labels = [*classes.split() * 10, *[classes.split()[0]] * 20]
    guessed = look(written(tmp_path, {"x": [str(i * 7 % 31) for i in range(40)], "y": labels}), "y")
    assert (guessed.problem, guessed.positive) == ("binary", positive)


def test_a_compressed_file_is_guessed_as_its_content(tmp_path):
    file = written(tmp_path, {"x": [str(i * 7 % 31) for i in range(40)], "y": ["ja", "nein"] * 20})
    plain = look(file, "y")
    file.write_bytes(gzip.compress(file.read_bytes()))
    assert look(file, "y") == plain


def test_numbers_with_leading_zeros_can_be_a_regression(tmp_path):
    file = written(tmp_path, {"x": [str(i * 7 % 31) for i in range(40)], "y": [f"{i % 13:02}" for i in range(40)]})
    assert look(file, "y", Fixed(problem="regression")).label.kind == "number"


def test_the_option_problem_overrides_the_guess(tmp_path):
    file = written(tmp_path, {"x": [str(i * 7 % 31) for i in range(40)], "y": ["3", "4", "5", "6"] * 10})
    guessed = look(file, "y", Fixed(problem="regression"))
    assert (guessed.problem, guessed.label.kind) == ("regression", "number")


@pytest.mark.parametrize(
    ("columns", "label", "problem", "error", "message"),
    [
        ({"x": ["1", "2"], "target": ["1", "2"]}, "tarjet", None, UsageError, "did you mean 'target'?"),
        ({"x": ["1", "2"], "y": ["1", "1"]}, "y", None, DataError, "has 1 value; expected at least two"),
        ({"x": ["1", "2"], "y": ["", "NA"]}, "y", None, DataError, "has no value"),
        ({"x": ["1", "2"], "y": ["a", "b"]}, "y", "regression", DataError, "contains 'a'; a regression needs numbers"),
        ({"x": ["1", "2", "3"], "y": ["a", "b", "c"]}, "y", "binary", UsageError, "has 3 values, expected two"),
        ({"x": ["1", "2", "3"], "y": ["a", "b", "c"]}, "y", None, DataError, "3 different texts in 3 rows"),
        ({"x": ["1", "1"], "y": ["0", "1"]}, "y", None, DataError, "no column to learn from (x: always '1')"),
        ({"y": ["0", "1"]}, "y", None, DataError, "the label is the only column"),
        ({"x": [], "y": []}, "y", None, DataError, "no rows after the header"),
    ],
)
def test_unusable_data_is_reported_in_one_line(tmp_path, columns, label, problem, error, message):
    with pytest.raises(error) as raised:
        look(written(tmp_path, columns), label, Fixed(problem=problem))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_binary_file_is_refused(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_bytes(b"a,y\n\0\xd8\0\xd8\xff")
    with pytest.raises(DataError, match="NUL"):
        look(file, "y")


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: No such file"):
        look(tmp_path / "none.csv", "y")


@pytest.mark.parametrize("distinct", [10, 1000, 20_000])
@pytest.mark.parametrize("form", ["v{}", "{}", "{}.25", "90071992547409{:05}", "{}e-3"])
def test_many_values_are_counted_in_little_memory(distinct, form):
    profile = Profile()
    for start, end in ((0, 5000), (5000, 5100), (5100, 40_000)):
        profile.add(pa.array([form.format(i % distinct) for i in range(start, end)]))
    assert profile.distinct() == pytest.approx(distinct, rel=0.1 if distinct > 1000 else 0)
    assert profile.is_exact == (distinct < 1024)
    assert (profile.numbers, profile.texts) == ((0, 40_000) if form == "v{}" else (40_000, 0))
    assert max(len(profile.values), len(profile.others), len(profile.sample)) <= 1024


@pytest.mark.parametrize("odd", [" 5", "+5.5", "1_000", "0x1f", "inf", "1e999", "nan", "x", "007", "5.", "٣"])
def test_many_cells_at_once_are_what_each_of_them_is(odd):
    cells = [f"{i}" for i in range(5000)] + [odd]
    at_once, one_by_one = Profile(), Profile()
    at_once.add(pa.array(cells))
    for start in range(0, len(cells), 1000):
        one_by_one.add(pa.array(cells[start : start + 1000]))
    for name in (
        "rows",
        "marks",
        "numbers",
        "texts",
        "whole",
        "integral",
        "others",
        "code",
        "low",
        "high",
        "sentinels",
    ):
        assert getattr(at_once, name) == getattr(one_by_one, name), name


def test_texts_among_numbers_are_pointed_out_and_mean_missing_only_if_the_user_says_so(tmp_path):
    cells = ["closed", "7 kg", *(str(i * 7 % 31 + 0.5) for i in range(ROWS - 2))]
    guessed = guess(tmp_path, {"age": cells})
    assert (guessed.missing, guessed.columns[0].kind) == (("",), "category")
    assert guessed.remarks[0].startswith("age: 38 cells are numbers, others are 'closed' (1), '7 kg' (1): if they mean")
    named = look(guessed.csv, "y", Fixed(missing=("closed", "7 kg")))
    assert (named.missing, named.columns[0].kind, named.columns[0].missing) == (("", "7 kg", "closed"), "number", 0.05)


def test_spellings_of_one_class_of_the_label_are_pointed_out(tmp_path):
    labels = ["yes", "Yes", "no", "no"] * 10
    guessed = look(written(tmp_path, {"x": [str(i * 7 % 31) for i in range(40)], "y": labels}), "y")
    assert guessed.problem == "multiclass"
    assert guessed.remarks[0].startswith("y: 'yes', 'Yes' look like one value, but count as 2")


@pytest.mark.parametrize("days", [3, 28])
def test_one_impossible_date_among_dates_is_pointed_out(tmp_path, days):
    cells = ["2023-02-30", *(f"2023-01-{1 + i % days:02}" for i in range(ROWS - 1))]
    assert column(tmp_path, "when", cells) == ("date", "ISO 8601; 1 cells are no dates, such as '2023-02-30'")
    assert guess(tmp_path, {"when": ["unknown", *cells[1:]]}).missing == ("", "unknown")


def test_ids_of_something_that_several_rows_have_are_left_out(tmp_path):
    cells = [f"c{i * 7919 % 60}" for i in range(ROWS * 3)]
    assert column(tmp_path, "customer_id", cells) == (
        "ignore",
        "an id of something that several rows have: 60 values in 120 rows",
    )


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (
            ["-999"] * 4 + [str(i) for i in range(36)],
            "age: 4 cells are -999, far from the others (0 to 35): if it means",
        ),
        (["Yes", "YES", "yes ", "no"] * 10, "age: 'Yes', 'YES', 'yes ' look like one value, but count as 3: write"),
        (
            ["on" if i % 2 else "off" for i in range(2 * ROWS)],
            "age: alone it predicts the label (AUC 1.000): a copy of it",
        ),
        ([str(i % 2 + i / 99) for i in range(ROWS)], "age: alone it predicts the label (AUC 1.000): a copy of it"),
    ],
)
def test_what_may_be_wrong_in_a_column_is_pointed_out(tmp_path, cells, expected):
    remarks = guess(tmp_path, {"age": cells}).remarks
    assert [remark for remark in remarks if remark.startswith(expected)], remarks


def test_a_column_that_alone_predicts_the_label_is_left_out_unless_the_user_gives_its_kind(tmp_path):
    file = written(
        tmp_path,
        {
            "chapter": [f"cause {i % 3}" if i % 2 else "" for i in range(2 * ROWS)],
            "plain": [f"{random.Random(i).random():.3f}" for i in range(2 * ROWS)],
            "y": CYCLE * 2,
        },
    )
    guessed = look(file, "y")
    assert [(c.name, c.kind) for c in guessed.columns] == [("chapter", "ignore"), ("plain", "number")]
    assert guessed.columns[0].why == "alone it predicts the label (AUC 1.000)"
    assert guessed.remarks[-1].endswith(
        "use it with --set columns.chapter=category --set validation.columns.chapter=warn"
    )
    guessed = look(file, "y", Fixed(columns={"chapter": {"kind": "category"}}))
    assert guessed.columns[0].kind == "category"
    assert "The run stops there, unless" in guessed.remarks[-1]


def test_if_every_column_alone_predicts_the_label_it_says_how_to_use_one(tmp_path):
    file = written(tmp_path, {"x": [f"{i}.5" for i in range(2 * ROWS)], "y": [f"{i}.25" for i in range(2 * ROWS)]})
    with pytest.raises(DataError, match=r"no column to learn from \(x: alone .*; --set columns.x=KIND uses one"):
        look(file, "y")


@pytest.mark.parametrize("cell", ["inf", "-inf", "Infinity", "+Inf", "1e400", "-1e400"])
def test_an_infinite_number_is_missing_among_numbers_and_a_value_among_texts(tmp_path, cell):
    cells = [f"{i * 37 % 36 + 0.5}" for i in range(ROWS)]
    cells[4] = cells[9] = cell
    guessed = guess(tmp_path, {"age": cells, "code": ["a", "b", cell, "c"] * 10})
    age, code = guessed.columns[:2]
    assert (age.kind, age.missing) == ("number", 2 / ROWS)
    assert (code.kind, code.missing, set(code.values)) == ("category", 0, {"a", "b", "c", cell})
    assert guessed.missing == ("", cell)
    assert guessed.remarks[0].startswith(f"age: 2 cells are infinite ({cell!r}; the first in line 6), and no model can")


def test_a_value_that_is_a_mark_among_numbers_elsewhere_is_pointed_out(tmp_path):
    cells = [*map(str, range(ROWS - 1)), "unknown"]
    guessed = guess(tmp_path, {"age": cells, "code": ["a", "b", "unknown", "c"] * 10})
    assert guessed.remarks[0].startswith("code: 10 cells are 'unknown', which counts as 'no value' in every column")


@pytest.mark.parametrize(
    ("form", "remark"),
    [
        ("{}", ""),
        ("17000000{}.0", " for a model, which sees 7 digits of a number that is not of type INT: write the whole"),
        ("10000000.{}", "a model, which sees 7 digits of a number: subtract the smallest one in the data"),
        ("17000000{}", ""),
        ("1000000000000000{}", "networks, which see 15 digits of a number (trees see all): subtract the smallest one"),
        ("{}e39", "too large for a model (above 3.4e+38): use another unit"),
    ],
)
def test_numbers_that_lose_their_value_are_pointed_out(tmp_path, form, remark):
    cells = [form.format(i * 37 % 60 + 10) for i in range(ROWS)]
    guessed = guess(tmp_path, {"x": cells})
    lines = [*guessed.remarks, *(f"{c.name}: {c.why}" for c in guessed.columns if c.kind == "ignore")]
    assert any(remark in line for line in lines) if remark else not lines
