"""The analyzers of Transform that count the values of all columns at once, and write one vocabulary of them.

An analyzer per column, such as `tft.vocabulary`, takes most of a second for each column, whatever the number of rows.
`tft.vocabulary(key_fn=...)` has no size and no order for each key.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform.beam as tft_beam
from apache_beam.transforms.window import GlobalWindows

from benison.serving import vocabulary_lines

_MOST_HELD = 1_000_000  # distinct values that a worker counts before it passes the counts on
_Key = tuple[int, bytes]  # column and escaped value
_Counts = tuple[int, int]  # how often a value occurs, and in how many cells
_Heaps = list[list[tuple[int, bytes, int]]]  # the most frequent values of each column: count, value, number of cells


class ColumnVocabulary(tft_beam.experimental.PTransformAnalyzer):
    """Write the most frequent values of each column to a file, see `benison.serving.vocabulary_lines`.

    A batch is two arrays of the same shape: escaped values, and the number of the column of each. An empty value is
    none. Equally frequent values are in the order of `tft.vocabulary`: the last by its bytes comes first.

    Args:
        name: the name of the file, without the suffix.
        sizes: the number of values of each column.
    """

    def __init__(self, name: str, sizes: Sequence[int]) -> None:
        super().__init__()
        self._name = f"{name}{vocabulary_lines.SUFFIX}"
        self._sizes = tuple(sizes)

    def expand(self, batches: beam.PCollection) -> tuple[beam.PCollection]:
        """Return the path of the file."""
        return (batches | "Most frequent" >> _MostFrequent(self._sizes) | "Write" >> beam.Map(self._write),)

    def _write(self, columns: _Heaps) -> np.ndarray:
        values = [[value for _, value, _ in column] for column in columns]
        tf.io.gfile.makedirs(self.base_temp_dir)
        path = f"{self.base_temp_dir}/{self._name}"
        with tf.io.gfile.GFile(path, "wb") as file:
            file.write(b"".join(line + b"\n" for line in vocabulary_lines.lines(values, self._sizes)))
        return np.array(path)


class CellCounts(tft_beam.experimental.PTransformAnalyzer):
    """Return the number of cells that have the value of each line of `ColumnVocabulary`, int64 [lines].

    It counts the values once more, because an analyzer that writes a file returns nothing else. To look them up in the
    vocabulary and to count what is found would be a second pass, for which TFT traces, writes and loads its whole graph
    once more.

    A batch has a third array: the number of the cell of each value.

    Args:
        sizes: the number of values of each column.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self._sizes = tuple(sizes)

    def expand(self, batches: beam.PCollection) -> tuple[beam.PCollection]:
        """Return the counts."""
        return (batches | "Most frequent" >> _MostFrequent(self._sizes) | "Counts" >> beam.Map(self._counts),)

    def _counts(self, columns: _Heaps) -> np.ndarray:
        counts = np.zeros(sum(self._sizes), np.int64)
        starts = np.cumsum([0, *self._sizes[:-1]])
        for start, column in zip(starts, columns, strict=True):
            counts[start : start + len(column)] = [cells for _, _, cells in column]
        return counts


class _MostFrequent(beam.PTransform):
    """The most frequent values of each column, the most frequent first."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self._sizes = sizes

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        counts = batches | "Count" >> beam.ParDo(_Count()) | "Sum" >> beam.CombinePerKey(_added)
        return counts | "Top" >> beam.CombineGlobally(_Top(self._sizes))


class _Count(beam.DoFn):
    """Count in a worker, so that Beam gets one element per distinct value instead of one per cell."""

    def start_bundle(self) -> None:
        self._counts: Counter[_Key] = Counter()
        self._cells: Counter[_Key] = Counter()

    def process(self, batch: Sequence[np.ndarray]) -> Iterator[tuple[_Key, _Counts]]:
        values, columns, *cells = (array.ravel().tolist() for array in batch)
        keys = list(zip(columns, values, strict=True))
        self._counts.update(keys)
        for of_values in cells:
            self._cells.update(key for key, _ in set(zip(keys, of_values, strict=True)))
        if len(self._counts) > _MOST_HELD:
            yield from self._flush()

    def finish_bundle(self) -> Iterator[Any]:
        yield from map(GlobalWindows.windowed_value, self._flush())

    def _flush(self) -> list[tuple[_Key, _Counts]]:
        counts = [(key, (count, self._cells[key])) for key, count in self._counts.items() if key[1]]
        self.start_bundle()
        return counts


def _added(several: Iterable[_Counts]) -> _Counts:
    """Return the sums of counts."""
    count, cells = 0, 0
    for more, more_cells in several:
        count, cells = count + more, cells + more_cells
    return count, cells


class _Top(beam.CombineFn):
    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sizes

    def create_accumulator(self) -> _Heaps:
        return [[] for _ in self._sizes]

    def add_input(self, heaps: _Heaps, counted: tuple[_Key, _Counts]) -> _Heaps:
        (column, value), (count, cells) = counted
        heap = heaps[column]
        if len(heap) < self._sizes[column]:
            heapq.heappush(heap, (count, value, cells))
        else:
            heapq.heappushpop(heap, (count, value, cells))
        return heaps

    def merge_accumulators(self, all_heaps: Iterable[_Heaps]) -> _Heaps:
        merged = self.create_accumulator()
        for heaps in all_heaps:
            for column, heap in enumerate(heaps):
                for count, value, cells in heap:
                    self.add_input(merged, ((column, value), (count, cells)))
        return merged

    def extract_output(self, heaps: _Heaps) -> _Heaps:
        return [sorted(heap, reverse=True) for heap in heaps]
