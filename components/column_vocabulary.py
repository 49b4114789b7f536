"""The analyzer of Transform that counts the values of all columns at once and writes one vocabulary of them.

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
_Heaps = list[list[tuple[int, bytes]]]  # the most frequent values of each column, with their counts


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
        counts = batches | "Count" >> beam.ParDo(_Count()) | "Sum" >> beam.CombinePerKey(sum)
        return (counts | "Top" >> beam.CombineGlobally(_Top(self._sizes)) | "Write" >> beam.Map(self._write),)

    def _write(self, heaps: _Heaps) -> np.ndarray:
        values = [[value for _, value in sorted(heap, reverse=True)] for heap in heaps]
        tf.io.gfile.makedirs(self.base_temp_dir)
        path = f"{self.base_temp_dir}/{self._name}"
        with tf.io.gfile.GFile(path, "wb") as file:
            file.write(b"".join(line + b"\n" for line in vocabulary_lines.lines(values, self._sizes)))
        return np.array(path)


class _Count(beam.DoFn):
    """Count in a worker, so that Beam gets one element per distinct value instead of one per cell."""

    def start_bundle(self) -> None:
        self._counts: Counter[_Key] = Counter()

    def process(self, batch: Sequence[np.ndarray]) -> Iterator[tuple[_Key, int]]:
        values, columns = batch
        self._counts.update(zip(columns.ravel().tolist(), values.ravel().tolist(), strict=True))
        if len(self._counts) > _MOST_HELD:
            yield from self._flush()

    def finish_bundle(self) -> Iterator[Any]:
        yield from map(GlobalWindows.windowed_value, self._flush())

    def _flush(self) -> list[tuple[_Key, int]]:
        counts = [(key, count) for key, count in self._counts.items() if key[1]]
        self._counts = Counter()
        return counts


class _Top(beam.CombineFn):
    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sizes

    def create_accumulator(self) -> _Heaps:
        return [[] for _ in self._sizes]

    def add_input(self, heaps: _Heaps, counted: tuple[_Key, int]) -> _Heaps:
        (column, value), count = counted
        heap = heaps[column]
        if len(heap) < self._sizes[column]:
            heapq.heappush(heap, (count, value))
        else:
            heapq.heappushpop(heap, (count, value))
        return heaps

    def merge_accumulators(self, all_heaps: Iterable[_Heaps]) -> _Heaps:
        merged = self.create_accumulator()
        for heaps in all_heaps:
            for column, heap in enumerate(heaps):
                for count, value in heap:
                    self.add_input(merged, ((column, value), count))
        return merged

    def extract_output(self, heaps: _Heaps) -> _Heaps:
        return heaps
