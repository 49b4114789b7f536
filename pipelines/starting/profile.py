"""Facts about a column's cells, collected batch by batch, with Arrow; the memory does not grow with the rows.

Distinct values are counted exactly up to a thousand. Beyond that, their number is estimated from the smallest hashes:
Z. Bar-Yossef et al., Counting Distinct Elements in a Data Stream, RANDOM 2002, algorithm 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benison.components.ingest.csv_table import kind_of
from benison.serving.number_text import CODE, is_code
from benison.serving.rows import number_columns

# Cells that almost always mean "no value".
SURE_MARKS = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "?", "-", "--"})
# Numbers that often stand for "no value".
SENTINELS = (-1, -9, -99, -999, -9999, -99999, 99, 999, 9999, 99999, 999999)
KEPT = 1024  # hashes and values kept per column
_SAMPLE = 1000  # distinct values per column that are tested for dates and text
_FEW = 1024  # distinct values of a batch that are looked at one by one
_HASHED = 48  # letters of a text that its hash depends on
_EXACT = 2.0**53  # the whole numbers that float64 has
_CODE = rf"^\s*{CODE}\s*$"
_POSITIONS = np.random.default_rng(1).integers(1, 2**63, 4 * _HASHED, np.uint64) | np.uint64(1)
_BYTES = np.random.default_rng(2).integers(0, 2**63, 256, np.uint64)


@dataclass
class Profile:
    """Facts about a column's cells.

    Attributes:
        decimal: the decimal sign.
        missing: the cells that mean "no value"; None for `SURE_MARKS`, in any case.
        rows: the number of cells.
        marks: the count of each cell that may mean "no value".
        numbers: the number of cells that are numbers.
        texts: the number of other cells.
        whole: all numbers are written as whole ones.
        integral: all numbers are whole ones, also if they are written as 5.0.
        others: the count of each text that is not a number, up to a limit.
        values: the count of each value; up to a limit, after which the counts are too small.
        sample: the first distinct values.
        code: the first cell that looks like a number and is a code, such as 02134; '' if there is none.
        low: the smallest number that is no sentinel.
        high: the largest one.
        sentinels: the count of each of `SENTINELS`.
    """

    decimal: str = "."
    missing: Collection[str] | None = None
    rows: int = 0
    marks: Counter[str] = field(default_factory=Counter)
    numbers: int = 0
    texts: int = 0
    whole: bool = True
    integral: bool = True
    others: Counter[str] = field(default_factory=Counter)
    values: Counter[str] = field(default_factory=Counter)
    sample: dict[str, None] = field(default_factory=dict)
    code: str = ""
    low: float = float("inf")
    high: float = float("-inf")
    sentinels: Counter[int] = field(default_factory=Counter)
    _steps: Counter[int] = field(default_factory=Counter)  # from row to row: +1, -1 and all others
    _last: float = float("nan")
    _hashes: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))

    def add(self, cells: Any) -> None:
        """Count the cells of the next rows.

        Args:
            cells: an Arrow array of text.
        """
        self.rows += len(cells)
        self._follow(cells)
        counted = pc.value_counts(cells)
        values, counts = counted.field("values"), counted.field("counts").to_numpy()
        if len(values) <= _FEW:
            self._add_one_by_one(dict(zip(_list(values), counts.tolist(), strict=True)))
        else:
            self._add_at_once(values, counts)

    def distinct(self, without: Iterable[str] = ()) -> int:
        """Return the number of distinct values: exact up to `KEPT`, then within a few per cent."""
        if len(self.values) < KEPT:
            return len(set(self.values) - set(without))
        largest = int(self._hashes[-1]) if len(self._hashes) else 2**64
        return max(KEPT, round((len(self._hashes) - 1) * 2**64 / largest))

    @property
    def is_exact(self) -> bool:
        """True if `distinct` is not an estimate."""
        return len(self.values) < KEPT

    @property
    def counting(self) -> int:
        """The step, 1 or -1, of whole numbers from almost every row to the next; 0 if there is no such step."""
        steps = sum(self._steps.values())
        return next((step for step in (1, -1) if steps and self._steps[step] >= 0.9 * steps), 0)

    def _add_one_by_one(self, counts: dict[str, int]) -> None:
        words, numbers = [], Counter[float]()
        for cell, count in counts.items():
            if self._is_mark(cell):
                self.marks[cell] += count
                continue
            kind = kind_of(cell, self.decimal)
            number = float("inf") if kind == "bytes" else float(cell.replace(self.decimal, "."))
            if kind == "bytes":
                self.texts += count
                _keep(self.others, cell, count)
            else:
                self.numbers += count
                self.whole = self.whole and kind == "int"
                self.integral = self.integral and number.is_integer()
                numbers[number] += count
            if abs(number) >= _EXACT:
                words.append(cell)
            self.code = self.code or (cell if is_code(cell) else "")
            _keep(self.values, cell, count)
            if len(self.sample) < _SAMPLE:
                self.sample[cell] = None
        self._note_numbers(np.array(list(numbers)), np.array(list(numbers.values()), np.int64))
        self._note(_mixed(np.array([number for number in numbers if abs(number) < _EXACT]).view(np.uint64)))
        if words:
            self._note(_hashes(pa.array(words, pa.string())))

    def _is_mark(self, cell: str) -> bool:
        return cell.strip().lower() in SURE_MARKS if self.missing is None else cell in self.missing

    def _add_at_once(self, values: Any, counts: NDArray[np.int64]) -> None:
        """Count many distinct values."""
        numbers = number_columns.floats(values, self.decimal)
        known = np.isfinite(numbers)
        self._add_rest(values.filter(pa.array(~known)), counts[~known])
        texts, counts, numbers = values.filter(pa.array(known)), counts[known], numbers[known]
        if not len(texts):
            return
        self.numbers += int(counts.sum())
        self.integral = self.integral and bool((numbers == np.floor(numbers)).all())
        self.whole = self.whole and self.integral and _written_whole(texts, numbers, self.decimal)
        self._note_numbers(numbers, counts)
        if not self.code:
            codes = texts.filter(pc.match_substring_regex(texts, _CODE) if self.whole else pc.equal(texts, ""))
            self.code = codes[0].as_py() if len(codes) else ""
        if len(self.values) < KEPT:
            for cell, count in zip(_list(texts.slice(0, KEPT)), counts.tolist(), strict=False):
                _keep(self.values, cell, count)
        if len(self.sample) < _SAMPLE:
            self.sample.update(dict.fromkeys(_list(texts.slice(0, _SAMPLE - len(self.sample)))))
        exact = np.abs(numbers) < _EXACT
        self._note(_mixed(numbers[exact].view(np.uint64)))
        if not exact.all():
            self._note(_hashes(texts.filter(pa.array(~exact))))

    def _add_rest(self, rest: Any, counts: NDArray[np.int64]) -> None:
        """Count distinct values that are not clearly numbers."""
        for start in range(0, len(rest), _FEW):
            if self.texts > self.numbers and len(self.others) >= KEPT:  # certainly a column of text
                self._add_texts(rest.slice(start), counts[start:])
                return
            part = slice(start, start + _FEW)
            self._add_one_by_one(dict(zip(_list(rest.slice(start, _FEW)), counts[part].tolist(), strict=True)))

    def _add_texts(self, texts: Any, counts: NDArray[np.int64]) -> None:
        """Count distinct values of a column of text."""
        self._note(_hashes(texts))
        cells, marks = texts, self.missing
        if marks is None:
            marks, cells = SURE_MARKS, pc.utf8_lower(pc.utf8_trim_whitespace(texts))
        marked = pc.is_in(cells, value_set=pa.array(sorted(marks), pa.string()))
        self.marks.update(dict(zip(_list(texts.filter(marked)), _of(counts, marked), strict=True)))
        self.texts += sum(_of(counts, pc.invert(marked)))

    def _note_numbers(self, numbers: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
        usual = np.ones(len(numbers), bool)
        for sentinel in SENTINELS:
            if (same := numbers == sentinel).any():
                self.sentinels[sentinel] += int(counts[same].sum())
                usual &= ~same
        if usual.any():
            self.low, self.high = min(self.low, numbers[usual].min()), max(self.high, numbers[usual].max())

    def _note(self, hashes: NDArray[np.uint64]) -> None:
        """Keep the smallest hashes of distinct values."""
        if len(self._hashes) >= KEPT:
            hashes = hashes[hashes < self._hashes[-1]]
        if len(hashes):
            self._hashes = np.unique(np.concatenate([self._hashes, hashes]))[:KEPT]

    def _follow(self, cells: Any) -> None:
        """Count the steps of whole numbers from row to row, unless these rows have other cells."""
        if self._steps and not self.counting:
            return
        try:
            numbers = pc.cast(cells, pa.int64()).to_numpy()
        except pa.ArrowInvalid:
            self._steps[0] += len(cells)
            return
        steps = np.diff(numbers, prepend=[] if np.isnan(self._last) else [self._last])
        self._last = float(numbers[-1]) if len(numbers) else self._last
        ones = {step: int((steps == step).sum()) for step in (1, -1)}
        self._steps.update({**ones, 0: len(steps) - sum(ones.values())})


def _list(texts: Any) -> list[str]:
    return list(texts.to_numpy(zero_copy_only=False).tolist())  # to_pylist is ten times slower


def _keep(counter: Counter[str], cell: str, count: int) -> None:
    if cell in counter or len(counter) < KEPT:
        counter[cell] += count


def _of(counts: NDArray[np.int64], *masks: Any) -> list[int]:
    for mask in masks:
        counts = counts[mask.to_numpy(zero_copy_only=False)]
    return list(counts.tolist())


def _written_whole(texts: Any, numbers: NDArray[np.float64], decimal: str) -> bool:
    """Return True if whole numbers are written as integers of 64 bits: 5.0 is not."""
    if np.abs(numbers).max() >= 2.0**63:
        return False
    return not pc.any(pc.match_substring_regex(texts, f"[{decimal}eE]")).as_py()


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread 64 bits over all values: the last steps of MurmurHash3."""
    with np.errstate(over="ignore"):
        for shift, factor in ((33, 0xFF51AFD7ED558CCD), (33, 0xC4CEB9FE1A85EC53)):
            bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    return bits ^ (bits >> np.uint64(33))


def _hashes(texts: Any) -> NDArray[np.uint64]:
    """Return a hash of each text, of its first letters and its length."""
    start = pc.utf8_slice_codeunits(texts, 0, _HASHED)
    lengths = pc.binary_length(start).to_numpy()
    full = pc.binary_length(texts).to_numpy().astype(np.uint64)
    data = np.frombuffer("".join(_list(start)).encode(), np.uint8)
    starts = np.cumsum(lengths) - lengths
    positions = np.arange(len(data)) - np.repeat(starts, lengths)
    with np.errstate(over="ignore"):
        parts = (_BYTES[data] ^ _POSITIONS[positions]) * _POSITIONS[positions]
        sums = np.concatenate([[np.uint64(0)], np.cumsum(parts, dtype=np.uint64)])
        return _mixed(sums[starts + lengths] - sums[starts] + full)
