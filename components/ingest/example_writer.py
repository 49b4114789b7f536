"""Writes an Examples artifact: one gzipped TFRecord file per split, or per part of a span."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tfx import types
from tfx.types import artifact_utils

from benison.components.ingest.splits import ROW_COUNTS, SPAN_SPLIT


class ExampleWriter:
    """Writer that distributes records to files by key and counts them.

    Args:
        examples: the artifact.
        files: by key, the split of the file and the beginning of its name.
    """

    def __init__(self, examples: types.Artifact, files: Mapping[str, tuple[str, str]]) -> None:
        import tensorflow as tf

        self._examples = examples
        examples.split_names = artifact_utils.encode_split_names(
            list(dict.fromkeys(split for split, _ in files.values()))
        )
        self._writers: dict[str, Any] = {}
        for key, (split, name) in files.items():
            folder = Path(artifact_utils.get_split_uri([examples], split))
            folder.mkdir(parents=True, exist_ok=True)
            self._writers[key] = tf.io.TFRecordWriter(str(folder / f"{name}-00000-of-00001.gz"), "GZIP")
        self.counts = dict.fromkeys(files, 0)

    def write(self, key: str, record: bytes) -> None:
        """Append a serialised tf.Example to the file of a key."""
        self._writers[key].write(record)
        self.counts[key] += 1

    def __enter__(self) -> ExampleWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._writers.values():
            writer.close()
        self._examples.set_string_custom_property(ROW_COUNTS, json.dumps(self.counts))
        # The driver writes the span as a custom property, but StatisticsGen reads the property `span`.
        self._examples.span = self._examples.get_int_custom_property("span")
        print("rows:", ", ".join(f"{key} {count}" for key, count in self.counts.items()))


def in_order(record: bytes) -> bytes:
    """Return a serialised tf.Example with its features in the order of their names.

    tfx_bsl writes them in another order in each process, so equal rows would have different bytes in two runs.
    """
    from tensorflow.core.example import example_pb2

    return bytes(example_pb2.Example.FromString(record).SerializeToString(deterministic=True))


def one_file_per_split(splits: Mapping[str, int]) -> dict[str, tuple[str, str]]:
    """Return the files of `ExampleWriter` for rows that are assigned to splits directly."""
    return {split: (split, "data_tfrecord") for split in splits}


def files_of_parts(parts: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return the files of `ExampleWriter` for a span, from which SpanWindow builds the splits.

    There is one split, so that statistics cover all rows, with a file per part.
    """
    return {part: (SPAN_SPLIT, part) for part in parts}
