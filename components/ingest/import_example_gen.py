"""ImportExampleGen: reads TFRecord files of tf.Example and writes one Examples artifact with named splits.

Like CsvExampleGen it is TFX's component with another driver and executor: files are compared by content, and records
keep their order, so that the same data and seed give the same models.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tfx import types
from tfx.components.example_gen import component as base
from tfx.dsl.components.base import base_beam_executor, executor_spec
from tfx.types import artifact_utils, standard_component_specs

from benison.components import groups
from benison.components.ingest.arguments import arguments, options_of, record_files, splits_of
from benison.components.ingest.content_driver import ContentDriver, refuse_changed
from benison.components.ingest.csv_table import WARNINGS
from benison.components.ingest.example_writer import ExampleWriter, files_of_parts, one_file_per_split
from benison.components.ingest.split_keys import SplitKeys, SplitRow
from benison.components.ingest.splits import check_counts, parts_by_time, split_by_hash
from benison.components.ingest.times import Cell, TimeColumn
from benison.serving.close_names import did_you_mean
from benison.serving.errors import DataError
from benison.serving.files import compressed
from benison.serving.missing_values import MISSING_INTEGER

_KINDS = {"bytes_list": "texts", "float_list": "floats", "int64_list": "whole numbers"}
_INFINITE = (float("inf"), float("-inf"))


class Executor(base_beam_executor.BaseBeamExecutor):
    """Executor that reads the files for equal records, for a time column, and for the rows; it needs no Beam runner."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        examples = artifact_utils.get_single_instance(output_dict[standard_component_specs.EXAMPLES_KEY])
        files, splits = record_files(exec_properties, examples), splits_of(exec_properties)
        options = options_of(exec_properties)
        column, label, by = TimeColumn.from_json(options["time"]), options["label"], options.get("by")
        divided = partial(Record.divided, label=label, weight=options["weight"])
        keys = SplitKeys(map(divided, records(files, label)), int(options.get("seed", 0)))
        if column is None:
            with ExampleWriter(examples, one_file_per_split(splits)) as writer:
                for number, record in enumerate(records(files, label)):
                    split = split_by_hash(keys.of(number, divided(record), record.group(by)), splits)
                    writer.write(split, record.without_empty_features())
            check_counts(files[0], writer.counts, by=by)
        else:
            parts = parts_by_time((cell for cell, _ in _timed_records(files, column.name, label)), column, splits, by)
            examples.set_string_custom_property(WARNINGS, json.dumps(parts.warnings))
            with ExampleWriter(examples, files_of_parts(parts.names)) as writer:  # SpanWindow checks the splits
                for number, (cell, record) in enumerate(_timed_records(files, column.name, label)):
                    group = record.group(by)
                    key = keys.of(number, divided(record), group)
                    part = parts.part_of(cell.text, key, in_group=group is not None)
                    writer.write(part, record.without_empty_features())
        refuse_changed(exec_properties)


class ImportExampleGen(base.FileBasedExampleGen):
    """Node that reads TFRecord files into splits by a hash of each record's features, so that copies share a split.

    Args:
        pattern: the files: an absolute path or pattern; see `data_files.find`. They may be compressed with
            gzip.
        splits: hash buckets by split.
        time: time column, as for CsvExampleGen: a feature with one text or number.
        label: the feature that some records must have, with one text or number; it decides no split.
        weight: the feature with the sample weight, which decides no split; '' for none.
        by: the feature whose records with the same value are in one split; None assigns each record by its own hash.
        seed: seed of the hash.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
    DRIVER_CLASS = ContentDriver

    def __init__(
        self,
        pattern: str,
        splits: Mapping[str, int],
        time: TimeColumn | None = None,
        label: str = "",
        weight: str = "",
        by: str | None = None,
        seed: int = 0,
    ) -> None:
        options = {
            "time": time.to_json() if time else None,
            "label": label,
            "weight": weight,
            **({"by": by} if by else {}),
            **({"seed": seed} if seed else {}),
        }
        super().__init__(**arguments(pattern, splits, options, span=None))


def _timed_records(files: Sequence[str], column: str, label: str) -> Iterator[tuple[Cell, Record]]:
    """Yield each record with its time."""
    seen = False
    for record in records(files, label):
        seen = seen or column in record.features
        text = _text(record.features[column], record, column)
        yield Cell(record.file, f"record {record.number}", text), record
    if not seen:
        raise DataError(f"{files[0]}: no time column {column!r}: no record has this feature")


def _text(feature: Any, record: Record, column: str) -> str | None:
    values = getattr(feature, feature.WhichOneof("kind") or "bytes_list").value
    if len(values) > 1:
        raise DataError(f"{record.where(column)}: got {len(values)} values, expected one time")
    if not values:
        return None
    return values[0].decode(errors="replace") if isinstance(values[0], bytes) else repr(values[0])


@dataclass(frozen=True)
class Record:
    """A tf.Example and its position.

    Attributes:
        file: the file.
        number: its number in the file, from 1.
        content: the serialised tf.Example.
        features: its features by name.
    """

    file: str
    number: int
    content: bytes
    features: Any

    def without_empty_features(self) -> bytes:
        """Return the tf.Example without features that have no value: SchemaGen would not see which ones are lists."""
        import tensorflow as tf

        kinds = {name: feature.WhichOneof("kind") for name, feature in self.features.items()}
        empty = [n for n, kind in kinds.items() if kind is None or not getattr(self.features[n], kind).value]
        if not empty:
            return self.content
        example = tf.train.Example.FromString(self.content)
        for name in empty:
            example.features.feature.pop(name, None)
        return bytes(example.SerializeToString(deterministic=True))

    def divided(self, label: str, weight: str) -> SplitRow:
        """Return the record by the roles of its features; a feature without a value is as one that is absent.

        Args:
            label: name of the label.
            weight: name of the feature with the sample weight.
        """
        texts = {
            name: f"{name}={self.features[name].SerializeToString().hex()}"
            for name in sorted(self.features)
            if (kind := self.features[name].WhichOneof("kind")) and getattr(self.features[name], kind).value
        }
        known, weighs = texts.pop(label, None), texts.pop(weight, "")
        return SplitRow(tuple(texts.values()), known, weighs)

    def group(self, column: str | None) -> str | None:
        """Return the value of the column of `splits.by` as text; None if there is no such column, or no value."""
        if column is None or column not in self.features:
            return None
        kind = self.features[column].WhichOneof("kind")
        return groups.text_of(getattr(self.features[column], kind).value if kind else (), self.where(column))

    def where(self, column: str) -> str:
        """Return the position of a feature, for messages."""
        return f"{self.file}, record {self.number}, column {column!r}"


def records(files: Sequence[str], label: str = "") -> Iterator[Record]:
    """Yield the tf.Examples of TFRecord files in order; a file may be compressed with gzip, whatever its name.

    Args:
        files: their paths.
        label: name of the label; '' for none.

    Raises:
        DataError: a record is corrupt or not a tf.Example, has an infinite number or the integer that stands for a
            missing one, or a feature of another type than before; a label is not one UTF-8 text or number, or no
            record has one. The message names file and record.
    """
    first: dict[str, tuple[str, Record]] = {}  # by feature, its type and where it is first
    for file in files:
        for record in _read(file):
            for name, feature in record.features.items():
                kind = feature.WhichOneof("kind")
                if kind is None:
                    continue
                before, where = first.setdefault(name, (kind, record))
                if kind != before:
                    raise DataError(
                        f"{record.where(name)}: has {_KINDS[kind]}, but {where.file}, record {where.number} has "
                        f"{_KINDS[before]}; write one type in all records"
                    )
                _check_values(feature, record, name)
            if label in record.features:
                _check_label(record.features[label], record, label)
            yield record
    if label and first and label not in first:
        names = ", ".join(sorted(first)[:20])
        raise DataError(f"{files[0]}: no record has the label {label!r}{did_you_mean(label, first)} (it has {names})")


def _check_values(feature: Any, record: Record, name: str) -> None:
    if MISSING_INTEGER in feature.int64_list.value:
        raise DataError(
            f"{record.where(name)}: got {MISSING_INTEGER}, which stands for a missing integer; leave the feature out "
            "of a record that has no value"
        )
    if (infinite := next((x for x in _INFINITE if x in feature.float_list.value), None)) is not None:
        raise DataError(
            f"{record.where(name)}: got {infinite}, expected a finite number; leave the feature out of a record that "
            "has no value, or write NaN"
        )


def _check_label(feature: Any, record: Record, label: str) -> None:
    values = getattr(feature, feature.WhichOneof("kind") or "bytes_list").value
    if len(values) > 1:
        raise DataError(f"{record.where(label)}: got {len(values)} values, expected one label")
    if values and isinstance(values[0], bytes):
        try:
            values[0].decode()
        except UnicodeDecodeError:
            raise DataError(
                f"{record.where(label)}: the label {values[0][:40]!r} is not UTF-8; write the label as UTF-8 text"
            ) from None


def _read(file: str) -> Iterator[Record]:
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    number = 0
    try:
        for tensor in tf.data.TFRecordDataset(file, compression_type=_compression(file)):
            content: bytes = tensor.numpy()
            features = tf.train.Example.FromString(content).features.feature
            number += 1
            yield Record(file, number, content, features)
    except (tf.errors.DataLossError, tf.errors.OutOfRangeError, DecodeError) as error:
        fault = "not a tf.Example" if isinstance(error, DecodeError) else "corrupt or truncated"
        raise DataError(f"{file}, record {number + 1}: {fault}; write the file again") from None


def _compression(file: str) -> str:
    """Return TensorFlow's name of a file's compression, by its content."""
    import tensorflow as tf

    if not compressed.is_gzip(file):
        return ""
    try:  # the length of a first record may be the same bytes
        list(tf.data.TFRecordDataset(file).take(1))
    except tf.errors.DataLossError:
        return "GZIP"
    return ""
