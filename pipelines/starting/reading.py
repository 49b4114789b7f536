"""Find how a column writes its numbers, and which of its other cells mean "no value"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from benison.components.ingest.csv_table import kind_of
from benison.pipelines.starting import dates
from benison.pipelines.starting.profile import KEPT, Profile
from benison.serving.number_text import AMOUNTS, THOUSANDS, is_infinite, normalize_number

# Cells that mean "no value" among numbers and dates, but may be a class of their own among texts.
MARKS_AMONG_NUMBERS = frozenset({".", "none", "nil", "missing", "unknown"})
_ENOUGH = 0.9  # the share of a column's cells that are numbers if its other cells may be marks
_WITH_THOUSANDS = "1,234.5"
_TRIED = 400  # cells that a form of amounts is tried with


@dataclass(frozen=True)
class Reading:
    """The way in which a column writes its numbers.

    Attributes:
        form: the decimal sign, or one of `AMOUNTS`.
        numbers: the number of cells that are numbers in this form.
        strays: the count of each other cell, without those that mean "no value" in any column.
        example: the first cell that is a number only in a form of amounts.
        whole: all numbers are written as whole ones.
    """

    form: str
    numbers: int
    strays: Mapping[str, int]
    example: str = ""
    whole: bool = False

    @property
    def is_mostly_numbers(self) -> bool:
        """True if the column is one of numbers in which other cells are exceptions."""
        cells = self.numbers + sum(self.strays.values()) - sum(self.infinite.values())
        return self.numbers >= 10 and self.numbers >= _ENOUGH * cells

    def marks(self) -> set[str]:
        """Return the strays that are known to mean "no value" among numbers, infinite ones too: none can be learnt."""
        return {c for c in self.strays if c.strip().lower() in MARKS_AMONG_NUMBERS} | set(self.infinite)

    @property
    def infinite(self) -> dict[str, int]:
        """The count of each cell that is an infinite number."""
        return {cell: count for cell, count in self.strays.items() if is_infinite(cell)}

    def is_numeric(self, marks: frozenset[str]) -> bool:
        """Return True if all cells are numbers or mean "no value"."""
        return self.numbers > 0 and len(self.strays) < KEPT and set(self.strays) <= marks


def read(profile: Profile, form: str | None = None) -> Reading:
    """Return how a column writes its numbers: as most of its cells are numbers.

    Args:
        profile: its cells.
        form: the form of its amounts, if the user names it.
    """
    plain = Reading(profile.decimal, profile.numbers, profile.others, whole=profile.whole)
    if form is None and not profile.others:
        return (
            plain if not _has_thousands(profile) else replace(plain, form=_WITH_THOUSANDS, example=_commas(profile)[0])
        )
    amounts = [_as_amounts(profile, candidate) for candidate in ([form] if form else _forms(profile.decimal))]
    best = max(filter(None, amounts), key=lambda reading: reading.numbers, default=None)
    if best is None or (form is None and best.numbers <= plain.numbers):
        return plain
    # Among texts that are classes, such as `10 kr` and `free`, a few amounts are no column of amounts.
    known = {cell: count for cell, count in best.strays.items() if cell not in best.marks()}
    return best if form or not known or best.is_mostly_numbers else plain


def numbers_in(values: Iterable[str], form: str) -> Iterator[float]:
    """Yield the values that are numbers in a form."""
    for value in values:
        try:
            yield float(normalize_number(value, form))
        except ValueError:
            continue


def date_marks(profile: Profile, marks: frozenset[str]) -> set[str]:
    """Return the cells of a column of dates that are known to mean "no value" among dates."""
    found = {cell for cell in profile.others if cell.strip().lower() in MARKS_AMONG_NUMBERS}
    values = [value for value in profile.sample if value not in marks | found]
    return found if found and dates.find(values, numeric=False) else set()


def _has_thousands(profile: Profile) -> bool:
    """Return True if commas are between thousands though they are decimal in other columns: 1,200 beside 965."""
    commas = _commas(profile)
    others = [cell for cell in profile.sample if "," not in cell]
    return (
        bool(commas and others)
        and all(re.fullmatch(THOUSANDS, cell.strip()) for cell in commas)
        and all(abs(number) < 1000 for number in numbers_in(others, profile.decimal))
    )


def _commas(profile: Profile) -> list[str]:
    """Return the first values with a decimal comma."""
    return [cell for cell in profile.sample if "," in cell] if profile.decimal == "," else []


def _forms(decimal: str) -> list[str]:
    """Return the forms of amounts, those with the file's decimal sign first."""
    return sorted(AMOUNTS, key=lambda form: (AMOUNTS[form][1] != decimal, AMOUNTS[form][0] != ""))


def _as_amounts(profile: Profile, form: str) -> Reading | None:
    """Return the reading in a form of amounts; None if a number of the column is none in it, or no text is one."""
    texts = {cell: count for cell, count in profile.others.items() if kind_of(cell, form) == "bytes"}
    amounts = [cell for cell in profile.others if cell not in texts]
    numbers = [cell for cell in profile.sample if cell not in profile.others][:_TRIED]
    if not amounts or any(kind_of(cell, form) == "bytes" for cell in numbers):
        return None
    whole = profile.whole and all(kind_of(cell, form) == "int" for cell in amounts)
    others = sum(texts.values())
    return Reading(form, profile.numbers + profile.texts - others, texts, amounts[0], whole)
