"""ImportExampleGen: reads TFRecord files of tf.Example and writes one Examples artifact with named splits.

Like CsvExampleGen it is TFX's component with another driver and executor: files are compared by content, and records
keep their order, so that the same data and seed give the same models.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from tfx import types
from tfx.components.example_gen import component as base
from tfx.dsl.components.base import base_beam_executor, executor_spec
from tfx.types import artifact_utils, standard_component_specs

from benison.components.ingest.arguments import arguments, options_of, record_files, splits_of
from benison.components.ingest.content_driver import ContentDriver, refuse_changed
from benison.components.ingest.csv_table import WARNINGS
from benison.components.ingest.example_writer import ExampleWriter, files_of_parts, one_file_per_split
from benison.components.ingest.splits import check_counts, parts_by_time, split_by_hash
from benison.components.ingest.times import Cell, TimeColumn
from benison.serving.errors import DataError
from benison.serving.missing_values import MISSING_INTEGER

_INFINITE = (float("inf"), float("-inf"))


class Executor(base_beam_executor.BaseBeamExecutor):
    """Executor that reads one record after the other, and with a time column twice; it needs no Beam runner."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        examples = artifact_utils.get_single_instance(output_dict[standard_component_specs.EXAMPLES_KEY])
        files, splits = record_files(exec_properties, examples), splits_of(exec_properties)
        column = TimeColumn.from_json(options_of(exec_properties)["time"])
        if column is None:
            with ExampleWriter(examples, one_file_per_split(splits)) as writer:
                for record in chain.from_iterable(map(records, files)):
                    writer.write(split_by_hash([record.hex()], splits), record)
            check_counts(files[0], writer.counts)
        else:
            parts = parts_by_time((cell for cell, _ in _timed_records(files, column.name)), column, splits)
            examples.set_string_custom_property(WARNINGS, json.dumps(parts.warnings))
            with ExampleWriter(examples, files_of_parts(parts.names)) as writer:  # SpanWindow checks the splits
                for cell, record in _timed_records(files, column.name):
                    writer.write(parts.part_of(cell.text, [record.hex()]), record)
        refuse_changed(exec_properties)


class ImportExampleGen(base.FileBasedExampleGen):
    """Node that reads TFRecord files into splits by a hash of each record.

    Args:
        pattern: the files: an absolute path or pattern; see `data_files.find`. Files whose names end in .gz are
            gzipped.
        splits: hash buckets by split.
        time: time column, as for CsvExampleGen: a feature with one text or number.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
    DRIVER_CLASS = ContentDriver

    def __init__(self, pattern: str, splits: Mapping[str, int], time: TimeColumn | None = None) -> None:
        options = {"time": time.to_json() if time else None}
        super().__init__(**arguments(pattern, splits, options, span=None))


def _timed_records(files: Sequence[str], column: str) -> Iterator[tuple[Cell, bytes]]:
    """Yield each record with its time."""
    import tensorflow as tf

    seen = False
    for file in files:
        for number, record in enumerate(records(file), start=1):
            feature = tf.train.Example.FromString(record).features.feature
            seen = seen or column in feature
            yield Cell(file, f"record {number}", _text(feature[column], file, number, column)), record
    if not seen:
        raise DataError(f"{files[0]}: no time column {column!r}: no record has this feature")


def _text(feature: Any, file: str, number: int, column: str) -> str | None:
    values = getattr(feature, feature.WhichOneof("kind") or "bytes_list").value
    if len(values) > 1:
        raise DataError(f"{file}, record {number}, column {column!r}: got {len(values)} values, expected one time")
    if not values:
        return None
    return values[0].decode(errors="replace") if isinstance(values[0], bytes) else repr(values[0])


def records(file: str) -> Iterator[bytes]:
    """Yield the serialised tf.Examples of a TFRecord file in order.

    Raises:
        DataError: a record is corrupt or not a tf.Example, or has an infinite number or the integer that stands for a
            missing one; names file and record.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    number = 0
    compression = "GZIP" if file.endswith(".gz") else ""
    try:
        for tensor in tf.data.TFRecordDataset(file, compression_type=compression):
            record: bytes = tensor.numpy()
            example = tf.train.Example.FromString(record)
            number += 1
            for name, feature in example.features.feature.items():
                if MISSING_INTEGER in feature.int64_list.value:
                    raise DataError(
                        f"{file}, record {number}, column {name!r}: got {MISSING_INTEGER}, which stands for a missing "
                        "integer; leave the feature out of a record that has no value"
                    )
                if (infinite := next((x for x in _INFINITE if x in feature.float_list.value), None)) is not None:
                    raise DataError(
                        f"{file}, record {number}, column {name!r}: got {infinite}, expected a finite number; leave "
                        "the feature out of a record that has no value, or write NaN"
                    )
            yield record
    except (tf.errors.DataLossError, tf.errors.OutOfRangeError, DecodeError) as error:
        fault = "not a tf.Example" if isinstance(error, DecodeError) else "corrupt or truncated"
        raise DataError(f"{file}, record {number + 1}: {fault}; write the file again") from None
