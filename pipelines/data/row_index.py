"""Hashes of the rows of a span, kept beside its files, to find rows that land twice.

A row's hash covers the text of its cells, in the order of the columns' names. So rows, columns and files may be in
another order, and the file may have another name.
"""

from __future__ import annotations

import hashlib
import math
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benison.components.ingest.csv_table import CsvTable

FILE = "rows.npy"
Hashes = NDArray[np.uint64]

_SAMPLE_ROWS = 20_000
_REPEATED = 0.5  # of the rows that chance does not explain


@dataclass(frozen=True)
class Repetition:
    """Rows of a table that have landed before.

    Attributes:
        spans: the spans that hold them, ascending.
        share: their share of the table's rows.
        chance: the share that is expected by chance, because rows repeat within each of these spans too.
    """

    spans: tuple[int, ...]
    share: float
    chance: float


def hashes(table: CsvTable) -> Hashes:
    """Return the hash of each row, sorted."""
    order = sorted(range(len(table.header)), key=table.header.__getitem__)
    digests = bytearray()
    for row in table.rows():
        digests += hashlib.blake2b("\x1f".join([row.cells[i] for i in order]).encode(), digest_size=8).digest()
    return np.sort(np.frombuffer(bytes(digests), np.uint64))


def write(folder: Path, rows: Hashes) -> None:
    """Write the index of a span into its folder, whole or not at all."""
    temporary = folder / f".{FILE}.{uuid.uuid4().hex}"
    with temporary.open("wb") as file:
        np.save(file, rows)
    os.replace(temporary, folder / FILE)


def read(folder: Path) -> Hashes | None:
    """Read the index of a span; None if the span landed before spans had one."""
    file = folder / FILE
    return np.load(file, mmap_mode="r") if file.is_file() else None


def repetition(rows: Hashes, landed: Mapping[int, Hashes]) -> Repetition | None:
    """Return the rows of a table that have landed before, if they are too many.

    That is: all rows of one span and no others, or at least half of the rows, not counting those that are there by
    chance. In a table with few different rows most rows of a month also occur in the months before. Rows that repeat
    within one span show how often this happens.

    Args:
        rows: the sorted hashes of the table; at least one.
        landed: the sorted hashes of each span.
    """
    same = [span for span, other in landed.items() if np.array_equal(rows, other)]
    if same:
        return Repetition((same[0],), 1.0, 0.0)
    sample = rows
    if len(rows) > _SAMPLE_ROWS:
        sample = np.sort(np.random.default_rng(0).choice(rows, _SAMPLE_ROWS, replace=False))
    in_span = {span: _contains(other, sample) for span, other in landed.items() if len(other)}
    chance = {span: _repeated_within(landed[span]) for span in in_span}
    candidates = [_joined((span,), in_span, chance) for span in in_span]
    candidates.append(_joined(tuple(span for span, found in in_span.items() if found.any()), in_span, chance))
    return max(
        (c for c in candidates if c.share - c.chance >= _REPEATED * (1 - c.chance) and c.share > c.chance),
        key=lambda c: c.share - c.chance,
        default=None,
    )


def _joined(spans: Sequence[int], in_span: Mapping[int, NDArray[np.bool_]], chance: Mapping[int, float]) -> Repetition:
    if not spans:
        return Repetition((), 0.0, 0.0)
    share = float(np.mean(np.logical_or.reduce([in_span[span] for span in spans])))
    return Repetition(tuple(sorted(spans)), share, 1 - math.prod(1 - chance[span] for span in spans))


def _contains(rows: Hashes, searched: Hashes) -> NDArray[np.bool_]:
    positions = np.minimum(np.searchsorted(rows, searched), len(rows) - 1)
    return np.asarray(rows[positions] == searched)


def _repeated_within(rows: Hashes) -> float:
    """Return the share of the rows that occur more than once."""
    same_as_next = rows[1:] == rows[:-1]
    return float(np.mean(np.append(same_as_next, False) | np.insert(same_as_next, 0, False)))
