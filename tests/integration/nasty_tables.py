"""Tables as strangers have them: odd names, types, missing values, classes, sizes and encodings (Hypothesis)."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pyarrow import parquet

Column = tuple[str, ...]

NAMES = (
    *("class", "lambda", "examples", "label", "classes", "probabilities", "prediction", "raw", "key", "id", "index"),
    *(
        "None",
        "True",
        "select",
        "null",
        "dtype",
        "name",
        "self",
        "if",
        "__init__",
        "data",
        "columns",
        "weight",
        "split",
    ),
    *("a.b", "a/b", "a b", "a-b", "a:0", "^a", "a*b", "(a)", "[0]", "{a}", "a'b", 'a"b', "a\\b", "$a", "#a", "a%b"),
    *("1", "2nd", "007", "1e5", "nan", "größe", "体重", "né e", "😀", "A", "a", "Á", "a_b", "_", "~", "=1+1", "@x"),
    *("a\tb", "a,b", "a;b", " a", "\x1b[31mred", "x" * 120),
)
WORDS = (
    "north",
    "south",
    "east",
    "west",
    "Zürich",
    "O'Hare",
    'the "best"',
    "a,b",
    "x;y",
    "=1+1",
    "<b>",
    "null?",
    "0x1",
)
CLASSES = (
    *("yes", "no", "T", "F", "true", "false", "1", "0", "1.0", "0.0", "-1", "2", "10", "007", ">50K", "<=50K", "a b"),
    *('"', "'", "a,b", "ü", "猫", "x" * 300, "a\tb", "None", "class 1", "[a]", "a/b"),
)
MARKS = ("", "NA", "?", "n/a", "NULL", "nan", "-")


@dataclass(frozen=True)
class Table:
    """A file as a stranger has it, and which column is the label.

    Attributes:
        header: the names of the columns.
        rows: the cells.
        label: the name of the label.
        encoding: the file's encoding.
        delimiter: between the cells.
        ending: after each line.
        zipped: whether gzip packs the file.
        traits: how the columns were made, for a failure's message.
        form: csv, jsonl or parquet.
    """

    header: tuple[str, ...]
    rows: list[Column] = field(repr=False)
    label: str
    encoding: str
    delimiter: str
    ending: str
    zipped: bool
    traits: tuple[str, ...]
    form: str = "csv"

    def write(self, folder: Path) -> Path:
        """Write the file into a folder and return its path."""
        file = folder / f"rows.{self.form}"
        if self.form == "jsonl":
            lines = (json.dumps(dict(zip(self.header, row, strict=True))) for row in self.rows)
            file.write_text("".join(f"{line}\n" for line in lines))
            return file
        if self.form == "parquet":
            columns = map(pa.array, zip(*self.rows, strict=True))
            parquet.write_table(pa.Table.from_arrays([*map(_typed, columns)], self.header), file)
            return file
        text = io.StringIO(newline="")
        table = csv.writer(text, delimiter=self.delimiter, lineterminator=self.ending)
        table.writerow(self.header)
        table.writerows(self.rows)
        data = text.getvalue().encode(self.encoding, errors="replace")
        file = folder / ("rows.csv.gz" if self.zipped else "rows.csv")
        file.write_bytes(gzip.compress(data) if self.zipped else data)
        return file


def _typed(column: Any) -> Any:
    """Return a column of text as numbers if it has nothing else."""
    for kind in (pa.int64(), pa.float64()):
        with contextlib.suppress(pa.ArrowInvalid):
            return column.cast(kind)
    return column


def _cells(kind: str, size: int, chance: Random) -> list[str]:
    """Return the cells of one column."""
    day, pick = chance.randrange(1, 28), chance.choice
    make: dict[str, Any] = {
        "int": lambda i: str(chance.randrange(-50, 1000)),
        "float": lambda i: f"{chance.gauss(3, 20):.3f}",
        "decimal comma": lambda i: f"{chance.gauss(3, 20):.2f}".replace(".", ","),
        "scientific": lambda i: f"{chance.lognormvariate(0, 30):.4e}",
        "huge": lambda i: str(chance.randrange(2**53, 2**63 - 1)),
        "beyond int64": lambda i: str(chance.randrange(2**63, 2**70)),
        "infinite": lambda i: pick(["inf", "-inf", "1.5", "2.5", "1e400"]),
        "yes or no": lambda i: pick(["yes", "no"]),
        "T or F": lambda i: pick("TF"),
        "True or False": lambda i: pick(["True", "False"]),
        "0 or 1": lambda i: pick("01"),
        "word": lambda i: pick(WORDS),
        "zip": lambda i: f"{chance.randrange(0, 99999):05}",
        "row number": lambda i: str(i + 1),
        "id": lambda i: f"{chance.getrandbits(64):016x}",
        "date": lambda i: f"20{chance.randrange(10, 24)}-{chance.randrange(1, 13):02}-{day:02}",
        "date d/m/y": lambda i: (
            f"{chance.randrange(1, 28):02}/{chance.randrange(1, 13):02}/20{chance.randrange(10, 24)}"
        ),
        "time": lambda i: f"2021-03-{chance.randrange(1, 28):02} {chance.randrange(24):02}:15:00",
        "epoch": lambda i: str(1_600_000_000 + chance.randrange(10**8)),
        "text": lambda i: " ".join(chance.choices(WORDS, k=chance.randrange(1, 12))),
        "long text": lambda i: "word " * chance.randrange(200),
        "lines": lambda i: pick(["one\ntwo", 'a "quoted"\r\nline', "plain", "\x1b[31mred\x1b[0m"]),
        "list": lambda i: "|".join(chance.choices("abc", k=chance.randrange(1, 4))),
        "constant": lambda i: "same",
        "constant number": lambda i: "7",
        "empty": lambda i: "",
        "mixed": lambda i: pick(["1", "2.5", "x", "2020-01-01", "true"]),
        "almost a number": lambda i: "unknown" if chance.random() < 0.02 else f"{chance.gauss(0, 1):.2f}",
        "money": lambda i: f"${chance.randrange(1, 9999):,}",
        "percent": lambda i: f"{chance.randrange(100)}%",
        "one outlier": lambda i: "1e38" if i == size // 2 else f"{chance.random():.3f}",
        "rare word": lambda i: "rare" if i == 0 else "usual",
    }
    return [make[kind](i) for i in range(size)]


KINDS = (
    *("int", "float", "decimal comma", "scientific", "huge", "beyond int64", "infinite", "yes or no", "T or F"),
    *("True or False", "0 or 1", "word", "zip", "row number", "id", "date", "date d/m/y", "time", "epoch", "text"),
    *("long text", "lines", "list", "constant", "constant number", "empty", "mixed", "almost a number", "money"),
    *("percent", "one outlier", "rare word"),
)
FORMS = {3: "jsonl", 8: "parquet"}  # by the last digit of a table's number
LABELS = ("two classes", "two classes", "classes", "number", "rare class", "single row", "amount", "by another column")


def _labels(kind: str, classes: list[str], size: int, signal: list[float], chance: Random) -> list[str]:
    """Return the label's cells; `signal` decides a part of them."""
    noisy = [value + chance.gauss(0, 0.5) for value in signal]
    if kind == "number":
        return [f"{value * 10:.2f}" for value in noisy]
    if kind == "amount":
        return [str(round(10 + 3 * value)) for value in noisy]
    if kind == "rare class":
        return [classes[1] if chance.random() < 0.03 else classes[0] for _ in noisy]
    if kind == "single row":
        return [classes[2] if i == size // 3 else classes[value > 0] for i, value in enumerate(noisy)]
    if kind == "classes":
        return [classes[min(len(classes) - 1, int(abs(value) * 2))] for value in noisy]
    return [classes[value > 0] for value in noisy]


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Draw a table; a column `signal` decides most labels, so that about half of the larger tables can be blessed."""
    size = draw(st.sampled_from([1, 5, 16, 40, 120, 250, 400, 400]))
    chance = Random(draw(st.integers(0, 2**32)))
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=6))
    odd_name = st.one_of(
        st.sampled_from(NAMES),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1, max_size=8),
    )
    names = draw(
        st.lists(
            odd_name,
            min_size=len(kinds) + 1,
            max_size=len(kinds) + 1,
            unique=draw(st.sampled_from([True] * 9 + [False])),
        )
    )
    missing = draw(st.sampled_from([0, 0, 0.01, 0.2, 0.9]))
    mark = draw(st.sampled_from(MARKS))
    label_kind = draw(st.sampled_from(LABELS))
    classes = draw(st.lists(st.sampled_from(CLASSES), min_size=3, max_size=8, unique=True))
    label_missing = draw(st.sampled_from([0, 0, 0, 0.05, 0.5]))
    signal = [chance.gauss(0, 1) for _ in range(size)]
    columns = [_cells(kind, size, chance) for kind in kinds]
    columns = [[mark if chance.random() < missing else cell for cell in cells] for cells in columns]
    if draw(st.integers(0, 4)) > 0:
        columns.append([f"{value:.4f}" for value in signal])
        names, kinds = [*names[:-1], "signal", names[-1]], [*kinds, "signal"]
    labels = _labels(label_kind, classes, size, signal, chance)
    columns.append([mark if chance.random() < label_missing else cell for cell in labels])
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16"]))
    try:
        "".join(names).encode(encoding)
    except UnicodeEncodeError:
        encoding = "utf-8"
    return Table(
        header=tuple(names),
        rows=list(zip(*columns, strict=True)),
        label=names[-1],
        encoding=encoding,
        delimiter=draw(st.sampled_from([",", ",", ";", "\t", "|"])),
        ending=draw(st.sampled_from(["\n", "\r\n"])),
        zipped=draw(st.integers(0, 5)) == 0,
        traits=(*kinds, f"label: {label_kind} {classes}", f"missing {missing} {mark!r}", f"labels {label_missing}"),
    )


def drawn(number: int) -> Table:
    """Return the table of a number; each number has its own, always the same."""
    drawn: list[Table] = []

    @seed(number)
    @settings(
        max_examples=2,  # the first is always the simplest
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(tables())
    def keep(table: Table) -> None:
        drawn.append(table)

    keep()
    return replace(drawn[-1], form=FORMS.get(number % 10, "csv"))
