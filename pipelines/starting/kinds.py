"""Guess the kind of a column from the facts about its cells."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benison.components.ingest.csv_table import kind_of
from benison.pipelines.starting import dates
from benison.pipelines.starting.profile import Profile
from benison.pipelines.starting.reading import Reading, numbers_in
from benison.serving.errors import UsageError
from benison.serving.number_text import AMOUNTS, FLOAT32_MAX, is_too_large, normalize_number
from benison.serving.visible_text import visible_line

FEW = 50  # the most distinct values of a category, whatever the number of rows
_ROWS_PER_VALUE = 10  # on average, from which a value of its own is worth more than a place among hash buckets
_MOST_VALUES = 4000  # that all such columns together have; each is a feature
_ID_NAME = re.compile(r"(?:^|[\W_])(?:id|uuid|guid|key|index|idx|row|rowid|serial|nr)$|[a-z]I[dD]$", re.IGNORECASE)
# Names of ids if each row has another number; also the index that pandas writes.
_NUMBER_NAME = re.compile(
    r"(?:^|[\W_])(?:no|num|account|mobile|id_str)$|(?:nr|nummer|number)$|(?-i:[a-z](?:No|Num))$"
    r"|^unnamed: \d+$|^__index_level_\d+__$",
    re.IGNORECASE,
)
_KEY_NAME = re.compile(r"(?:^|[\W_])(?:id|uuid|guid|key)$|[a-z]I[dD]$", re.IGNORECASE)
_CODE_NAME = re.compile(
    r"(?:^|[\W_])(?:zip[45]?|zip ?code|post(?:al)? ?code|code|plz|postleitzahl|phone|fax|iban|ssn|isbn|ean|naics|sic)$"
    r"|(?-i:[a-z](?:Zip|Code))$",
    re.IGNORECASE,
)
_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
_TRUTH = ({0.0, 1.0}, {-1.0, 1.0})  # the values of a number that is a truth value


@dataclass(frozen=True)
class GuessedColumn:
    """The guessed kind of a column, and the reason for it.

    Attributes:
        name: the name in the header.
        kind: the kind, as in `benison.pipelines.generic.columns`.
        why: the reason, in words.
        missing: share of rows without a value.
        values: the distinct values, sorted; empty if there are too many (`FEW`, for a label `profile.KEPT`).
        format: the format of a date; None for ISO 8601.
        size: the size, for kinds that have one.
        whole: all numbers are whole ones.
        amounts: the form of its amounts; None if it has none.
        distinct: the number of distinct values of a hashed column, if they come up often enough; else 0.
        repeated_id: an id that several rows have.
        is_list: rows have any number of values.
        is_leak: it alone predicts the label.
        weight: it holds the sample weights, which are numbers and no feature.
        usable_as: a kind that uses the column all the same, if it is left out; '' for none.
    """

    name: str
    kind: str
    why: str
    missing: float
    values: tuple[str, ...] = ()
    format: str | None = None
    size: int | None = None
    whole: bool = False
    amounts: str | None = None
    distinct: int = 0
    repeated_id: bool = False
    is_list: bool = False
    is_leak: bool = False
    weight: bool = False
    usable_as: str = ""


def guess(name: str, profile: Profile, reading: Reading, marks: frozenset[str]) -> GuessedColumn:
    """Return the kind of a column.

    Args:
        name: the column.
        profile: its cells.
        reading: how it writes numbers.
        marks: the cells that mean "no value" in the file.
    """
    column = _Column(name, profile, reading, marks)
    return column.nothing() or column.row_number() or column.date() or column.number() or column.text()


def fixed(
    name: str, profile: Profile, reading: Reading, marks: frozenset[str], given: Mapping[str, Any]
) -> GuessedColumn:
    """Return a column whose kind the user gives.

    Args:
        name: the column.
        profile: its cells.
        reading: how it writes numbers.
        marks: the cells that mean "no value" in the file.
        given: its `kind`, and the `format` and `size` that the user gives.

    Raises:
        UsageError: it should be a number and is none.
    """
    column, kind = _Column(name, profile, reading, marks), given["kind"]
    guessed = guess(name, profile, reading, marks)
    if kind == "number" and not reading.is_numeric(marks):
        stray = next((cell for cell in reading.strays if cell not in marks), "")
        raise UsageError(
            f"--set columns.{name}: not all cells are numbers, such as {stray!r}; if it means 'no value', add it to "
            "data.missing"
        )
    size = given.get("size") or (guessed if guessed.kind == kind else column.of_kind(kind)).size
    form = given.get("format") or (guessed.format if guessed.kind == kind else None)
    amounts = reading.form if kind == "number" and reading.example else None
    values = column.values if kind == "category" else ()
    return replace(
        guessed,
        kind=kind,
        why=f"given by --set columns.{name}",
        values=values,
        size=size,
        format=form,
        whole=kind == "number" and reading.whole,
        amounts=amounts,
    )


def with_values(columns: Sequence[GuessedColumn], fixed: Collection[str]) -> list[GuessedColumn]:
    """Make categories of hashed columns, those of the fewest values first, as long as there is room for the features.

    In few buckets, different values share one; a category keeps them apart.

    Args:
        columns: all guessed columns.
        fixed: the columns whose kind the user gives.
    """
    chosen, room = {}, _MOST_VALUES
    for column in sorted(columns, key=lambda column: column.distinct):
        if column.kind == "hashed" and 0 < column.distinct <= room and column.name not in fixed:
            chosen[column.name] = replace(column, kind="category", size=column.distinct)
            room -= column.distinct
    return [chosen.get(column.name, column) for column in columns]


def of_lists(name: str, present: float) -> GuessedColumn:
    """Return a column that has any number of values per row; `present` is the share of rows that have some."""
    why = "lists of values: a preprocessing_fn of your own can use them"
    return GuessedColumn(name, "ignore", why, 1 - present, is_list=True)


def leak(column: GuessedColumn, measure: str) -> GuessedColumn:
    """Return a column that is no feature, because it alone predicts the label, as a measure says."""
    why = f"alone it predicts the label ({measure})"
    return GuessedColumn(column.name, "ignore", why, column.missing, is_leak=True)


def sample_weights(name: str, profile: Profile, reading: Reading, marks: frozenset[str]) -> GuessedColumn:
    """Return the column of the sample weights; the arguments are those of `guess`.

    Raises:
        UsageError: it does not hold numbers.
    """
    if not reading.is_numeric(marks):
        stray = next((cell for cell in reading.strays if cell not in marks), "")
        raise UsageError(
            f"--weight {name}: not all cells are numbers, such as {stray!r}; expected numbers of at least 0"
        )
    missing = missing_share(profile, reading, marks)
    amounts = reading.form if reading.example else None
    why = "sample weights (weight), so no feature"
    return GuessedColumn(name, "ignore", why, missing, whole=reading.whole, amounts=amounts, weight=True)


def group(column: GuessedColumn) -> GuessedColumn:
    """Return the column of `splits.by`, which is no feature."""
    return GuessedColumn(column.name, "ignore", "its rows stay together (splits.by), so no feature", column.missing)


def missing_share(profile: Profile, reading: Reading, marks: frozenset[str]) -> float:
    """Return the share of rows without a value."""
    strays = sum(count for cell, count in {**profile.values, **reading.strays}.items() if cell in marks)
    return (sum(profile.marks.values()) + strays) / profile.rows


def counted(number: int, is_exact: bool) -> str:
    """Return a number of values in words; an estimate is rounded and says so."""
    if is_exact:
        return str(number)
    digits = len(str(number))
    return f"about {round(number, 2 - digits):,}"


class _Column:
    def __init__(self, name: str, profile: Profile, reading: Reading, marks: frozenset[str]) -> None:
        self.name, self.profile, self.reading, self.marks = name, profile, reading, marks
        self.missing = missing_share(profile, reading, marks)
        self.present = round(profile.rows * (1 - self.missing))
        self.distinct = min(profile.distinct(marks), self.present)  # an estimate may exceed the number of cells
        self.counted = counted(self.distinct, profile.is_exact or self.distinct == self.present)
        self.values = tuple(sorted(set(profile.values) - marks)) if self.distinct <= FEW else ()
        self.sample = [value for value in profile.sample if value not in marks]
        self.numeric = reading.is_numeric(marks) and not profile.code
        self.unique = self.distinct >= 0.95 * self.present and self.present >= 20

    def guessed(self, kind: str, why: str, **options: object) -> GuessedColumn:
        return GuessedColumn(self.name, kind, why, self.missing, **options)  # type: ignore[arg-type]

    def left_out(self, why: str) -> GuessedColumn:
        """Return the column as one that is no feature unless the user gives its kind."""
        return self.guessed("ignore", why, usable_as="number" if self.numeric else "hashed")

    def of_kind(self, kind: str) -> GuessedColumn:
        """Return the column as a kind that was not guessed."""
        sizes = {"category": min(self.distinct, FEW), "hashed": self._buckets(), "text": self._words()}
        return self.guessed(kind, "", size=sizes.get(kind))

    def nothing(self) -> GuessedColumn | None:
        if self.distinct == 0:
            return self.guessed("ignore", "empty")
        if self.distinct == 1 and not self.missing:
            return self.guessed("ignore", f"always {self.values[0]!r}", values=self.values)
        return None

    def row_number(self) -> GuessedColumn | None:
        if self.unique and self.profile.counting and self.present == self.profile.rows:
            return self.left_out("a row number")
        return None

    def date(self) -> GuessedColumn | None:
        dated = dates.find(self.sample, self.numeric or bool(self.profile.code), self.profile.others)
        if dated is None:
            return None
        note = ", day first (could be month first)" if dated.ambiguous else ""
        if dated.others:
            cells = sum(self.profile.others[value] for value in dated.others)
            note += f"; {cells} cells are no dates, such as {dated.others[0]!r}"
        written = None if dated.format == dates.ISO else dated.format
        return self.guessed("date", f"{dated.format}{note}", format=written)

    def number(self) -> GuessedColumn | None:
        if not self.numeric:
            return None
        finite = not self.reading.infinite  # others mean "no value" among numbers only, so the column stays one of them
        # pandas writes 5.0 if a cell of the column is missing.
        whole, named = self.profile.integral and finite and not self.reading.example, bool(_ID_NAME.search(self.name))
        if whole and self.unique and (named or _NUMBER_NAME.search(self.name)):
            return self.left_out("an id: as many values as rows")
        if whole and (_KEY_NAME.search(self.name) or (named and self.distinct <= FEW)):
            return self._key()
        if whole and self._is_code() and not self.unique:
            return self._strings(f"{self.counted} codes")
        if whole and self._is_code():
            return self.left_out("codes: as many values as rows")
        if self.distinct == 2 and finite and set(numbers_in(self.values, self.reading.form)) in _TRUTH:
            return self._strings("two values: " + ", ".join(self.values))
        amounts = self.reading.form if self.reading.example else None
        why = f"{self.counted} different numbers"
        if amounts:
            why += f", amounts such as {self.reading.example}, read as {_plain(self.reading)}"
        return self.guessed("number", why, whole=self.reading.whole, amounts=amounts)

    def text(self) -> GuessedColumn:
        words = [len(value.split()) for value in self.sample]
        if words and sum(words) >= 4 * len(words) and self.distinct > min(FEW, 0.5 * self.present):
            mean = sum(words) / len(words)
            return self.guessed("text", f"{mean:.0f} words on average", size=self._words())
        decimal = self.profile.decimal
        texts = [value for value in self.sample if kind_of(value, decimal) == "bytes"]
        if texts and self.distinct > FEW and all(map(_is_amount, texts)):
            why = f"numbers in more than one form, such as {', '.join(map(repr, _two_forms(self.sample, texts)))}"
            return self.guessed("ignore", why)
        if texts and all(map(is_too_large, texts)):
            why = f"numbers such as {texts[0]}, too large for a model (above {FLOAT32_MAX:.1e}): use another unit"
            return self.guessed("ignore", why)
        if self.unique:
            named = bool(_ID_NAME.search(self.name) or _NUMBER_NAME.search(self.name))
            example = _short(visible_line(next(iter(texts or self.sample))))
            why = "an id: as many values as rows" if named else f"as many values as rows, such as {example}; an id?"
            return self.left_out(why)
        if _KEY_NAME.search(self.name) or all(_UUID.fullmatch(value) for value in self.sample):
            return self._key()
        if self.distinct >= 0.8 * self.present and self.present >= 100 and max(words) == 1 and not self._is_code():
            example = _short(visible_line(self.sample[0]))
            return self.left_out(
                f"almost as many values as rows ({self.counted} of {self.present}), such as {example}; an id?"
            )
        code = self.profile.code
        return self._strings(f"{self.counted} codes, such as {code}" if code else f"{self.counted} different texts")

    def _is_code(self) -> bool:
        return bool(_CODE_NAME.search(self.name))

    def _key(self) -> GuessedColumn:
        """Return the guess for an id of several rows: few values are classes, many say nothing about new rows."""
        if self.distinct <= FEW:
            return self._strings(f"an id with {self.distinct} values")
        why = f"an id of something that several rows have: {self.counted} values in {self.present} rows"
        return self.guessed("ignore", why, repeated_id=True, usable_as="hashed")

    def _strings(self, why: str) -> GuessedColumn:
        if self.distinct <= FEW:
            return self.guessed("category", why, values=self.values, size=self.distinct)
        often = self.distinct * _ROWS_PER_VALUE <= self.present
        return self.guessed("hashed", why, size=self._buckets(), distinct=self.distinct if often else 0)

    def _buckets(self) -> int:
        return 64 if self.profile.rows < 10_000 else 256

    def _words(self) -> int:
        return 100 if self.profile.rows < 1000 else 500


def _is_amount(value: str) -> bool:
    """Return True if a text is a number in some form, such as $1,200.50 or 37 %."""
    return any(kind_of(value, form) != "bytes" for form in AMOUNTS)


def _plain(reading: Reading) -> str:
    return normalize_number(reading.example, reading.form)


def _two_forms(sample: list[str], texts: list[str]) -> list[str]:
    """Return an example of the texts, and one of the values that another form reads."""
    others = [value for value in sample if re.sub(r"\d+", "0", value) != re.sub(r"\d+", "0", texts[0])]
    return [texts[0], *others[:1]]


def _short(text: str) -> str:
    return text if len(text) <= 30 else f"{text[:27]}..."
