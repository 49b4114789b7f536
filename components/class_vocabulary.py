"""The analyzer of Transform that writes the vocabulary of the label: one class per line, its line is its id.

`tft.vocabulary` orders by frequency, and has no other order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform.beam as tft_beam

from benison.components.label_classes import Classes
from benison.serving.vocabulary_lines import as_line


class ClassVocabulary(tft_beam.experimental.PTransformAnalyzer):
    """Write the classes of a column of text to a file.

    Args:
        name: name of the file.
        order: returns the classes in the order of their ids, from the classes of the rows.
    """

    def __init__(self, name: str, order: Callable[[list[str]], Classes]) -> None:
        super().__init__()
        self._name = name
        self._order = order

    def expand(self, batches: beam.PCollection) -> tuple[beam.PCollection]:
        """Return the path of the file."""
        names = batches | "Distinct" >> beam.FlatMap(lambda batch: set(batch[0].flatten().tolist()))
        return (names | beam.CombineGlobally(_Union()) | "Write" >> beam.Map(self._write),)

    def _write(self, names: set[bytes]) -> np.ndarray:
        classes = self._order([name.decode() for name in names if name]).names
        tf.io.gfile.makedirs(self.base_temp_dir)
        path = f"{self.base_temp_dir}/{self._name}"
        with tf.io.gfile.GFile(path, "wb") as file:
            file.write(b"".join(as_line(name).encode() + b"\n" for name in classes))
        return np.array(path)


class _Union(beam.CombineFn):
    def create_accumulator(self) -> set[Any]:
        return set()

    def add_input(self, union: set[Any], name: Any) -> set[Any]:
        union.add(name)
        return union

    def merge_accumulators(self, unions: Iterable[set[Any]]) -> set[Any]:
        return set().union(*unions)

    def extract_output(self, union: set[Any]) -> set[Any]:
        return union
