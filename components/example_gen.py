"""CsvExampleGen: CSV files in, one Examples artifact with four named splits out.

TFX's component with another driver and executor. TFX's driver recognises files by size and time; ours by content, so
that a `touch` changes nothing and one changed byte does. TFX's executor infers the types anew in each run, takes no
marks for missing values and shuffles at random; ours takes the types from the curated schema where there is one, keeps
to the order of the file, and reads in batches, so that its memory does not grow with the rows.
"""

from __future__ import annotations

import bisect
import csv
import glob
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from google.protobuf import any_pb2, struct_pb2
from tfx import types
from tfx.components.example_gen import component as base
from tfx.components.example_gen import driver as base_driver
from tfx.components.example_gen.input_processor import FileBasedInputProcessor
from tfx.dsl.components.base import base_beam_executor, executor_spec
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from serving.errors import DataError

BATCH_ROWS = 8192
_ARROW = {
    "int": pa.large_list(pa.int64()),
    "float": pa.large_list(pa.float32()),
    "bytes": pa.large_list(pa.large_binary()),
}
_WIDENING = ("int", "float", "bytes")  # each holds all values of those before it


@dataclass(frozen=True)
class Row:
    """One record of a CSV file, with where it stands."""

    file: str
    line: int
    cells: list[str]


class _Driver(base_driver.FileBasedDriver):
    """Puts a hash of the files' content, instead of size and time, into the cache key."""

    def get_input_processor(
        self, splits: Any, range_config: Any = None, input_base_uri: str | None = None
    ) -> FileBasedInputProcessor:
        return _ContentProcessor(input_base_uri, splits, range_config)


class _ContentProcessor(FileBasedInputProcessor):
    def get_input_fingerprint(self, span: int, version: int | None) -> str:
        digest = hashlib.sha256()
        for split in self._splits:
            pattern = self.get_pattern_for_span_version(split.pattern, span, version)
            for file in _files(self._input_base_uri, pattern):
                content = hashlib.sha256()
                with open(file, "rb") as stream:
                    while block := stream.read(1 << 20):
                        content.update(block)
                digest.update(f"{split.name}\0{Path(file).name}\0{content.hexdigest()}\0".encode())
        return digest.hexdigest()


class Executor(base_beam_executor.BaseBeamExecutor):
    """Reads the files once for the types (where no schema gives them) and once for the rows; needs no Beam runner."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        import tensorflow as tf
        from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

        input_config = _proto(exec_properties[standard_component_specs.INPUT_CONFIG_KEY], example_gen_pb2.Input())
        output_config = _proto(exec_properties[standard_component_specs.OUTPUT_CONFIG_KEY], example_gen_pb2.Output())
        options = _options(exec_properties)
        files = _files(exec_properties[standard_component_specs.INPUT_BASE_KEY], input_config.splits[0].pattern)
        missing = frozenset(options["missing"])
        header = _header(files)
        kinds = _schema_kinds(options["schema"]) if options.get("schema") else {}
        kinds = {**infer_kinds(files, header, missing, [c for c in header if c not in kinds]), **kinds}

        splits = [(split.name, split.hash_buckets) for split in output_config.split_config.splits]
        examples = artifact_utils.get_single_instance(output_dict[standard_component_specs.EXAMPLES_KEY])
        examples.split_names = artifact_utils.encode_split_names([name for name, _ in splits])
        writers = []
        for name, _ in splits:
            folder = artifact_utils.get_split_uri([examples], name)
            tf.io.gfile.makedirs(folder)
            writers.append(tf.io.TFRecordWriter(f"{folder}/data_tfrecord-00000-of-00001.gz", "GZIP"))
        encoder = RecordBatchToExamplesEncoder()
        counts = [0] * len(splits)
        for rows, batch in batches(read(files, header), header, kinds, missing):
            for row, record in zip(rows, encoder.encode(batch), strict=True):
                index = assign(row.cells, [buckets for _, buckets in splits])
                counts[index] += 1
                writers[index].write(record)
        for writer in writers:
            writer.close()
        _check_counts(files, dict(zip((name for name, _ in splits), counts, strict=True)))
        print("rows:", ", ".join(f"{name} {n}" for (name, _), n in zip(splits, counts, strict=True)))


class CsvExampleGen(base.FileBasedExampleGen):
    """Reads CSV files into splits by a hash of each row, so that equal rows never stand in two splits.

    Args:
        pattern: the CSV files (a glob).
        splits: name of each split and its number of hash buckets; the shares are buckets over their sum.
        missing: cells that mean "no value".
        schema: curated schema, whose types then hold; None infers them from the files.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
    DRIVER_CLASS = _Driver

    def __init__(
        self, pattern: str, splits: Mapping[str, int], missing: Sequence[str] = ("",), schema: str | None = None
    ) -> None:
        options = struct_pb2.Struct()
        options.update({"missing": list(missing), "schema": schema or "", "schema_hash": _hash_of(schema)})
        packed = any_pb2.Any()
        packed.Pack(options)
        path = Path(pattern)
        super().__init__(
            input_base=str(path.parent),
            input_config=example_gen_pb2.Input(splits=[example_gen_pb2.Input.Split(name="rows", pattern=path.name)]),
            output_config=example_gen_pb2.Output(
                split_config=example_gen_pb2.SplitConfig(
                    splits=[
                        example_gen_pb2.SplitConfig.Split(name=name, hash_buckets=buckets)
                        for name, buckets in splits.items()
                    ]
                )
            ),
            custom_config=example_gen_pb2.CustomConfig(custom_config=packed),
        )


def read(files: Sequence[str], header: Sequence[str]) -> Iterator[Row]:
    """The records of all files in order.

    Raises:
        DataError: a record has more or fewer cells than the header, or a file is not UTF-8.
    """
    for file in files:
        rows = _csv(file)
        next(rows, None)
        for row in rows:
            if not row.cells:  # a blank line
                continue
            if len(row.cells) != len(header):
                raise DataError(
                    f"{file}, line {row.line}: {len(row.cells)} cells, expected {len(header)} as in the header"
                )
            yield row


def infer_kinds(
    files: Sequence[str], header: Sequence[str], missing: frozenset[str], columns: Sequence[str]
) -> dict[str, str]:
    """The narrowest of int, float and bytes that holds all values of each column; bytes where there is none."""
    if not columns:
        return {}
    wanted = {name: header.index(name) for name in columns}
    kinds: dict[str, str] = {}
    for row in read(files, header):
        for name, index in wanted.items():
            cell = row.cells[index]
            if kinds.get(name) != "bytes" and cell not in missing:
                kinds[name] = max(kinds.get(name, "int"), _kind(cell), key=_WIDENING.index)
    return {name: kinds.get(name, "bytes") for name in columns}


def batches(
    rows: Iterator[Row], header: Sequence[str], kinds: Mapping[str, str], missing: frozenset[str]
) -> Iterator[tuple[list[Row], pa.RecordBatch]]:
    """Up to BATCH_ROWS rows at a time, also as an Arrow batch: one list column per CSV column, missing being null.

    Raises:
        DataError: a cell does not have its column's type; names file, line and column.
    """
    while chunk := list(islice(rows, BATCH_ROWS)):
        arrays = []
        for index, name in enumerate(header):
            values = [None if row.cells[index] in missing else row.cells[index] for row in chunk]
            try:
                arrays.append(_column(values, kinds[name]))
            except ValueError:
                raise _bad_cell(chunk, index, name, kinds[name], missing) from None
        yield chunk, pa.RecordBatch.from_arrays(arrays, names=list(header))


def assign(cells: Sequence[str], buckets: Sequence[int]) -> int:
    """The split of a row: SHA-256 modulo the sum of all buckets.

    As TFX's own ExampleGen does it, but over the text of the cells: a serialised tf.Example may differ between the
    two tracks of TFX, and then the splits would.

    Args:
        cells: the row.
        buckets: number of hash buckets of each split.

    Returns:
        Index of the split.
    """
    bounds = [sum(buckets[: i + 1]) for i in range(len(buckets))]
    digest = hashlib.sha256("\x1f".join(cells).encode()).hexdigest()
    return bisect.bisect(bounds, int(digest, 16) % bounds[-1])


def _column(values: list[str | None], kind: str) -> pa.Array:
    if kind == "bytes":
        cells: list[Any] = [None if v is None else [v.encode()] for v in values]
    else:
        convert = int if kind == "int" else float
        cells = [None if v is None else [convert(v)] for v in values]
    return pa.array(cells, type=_ARROW[kind])


def _bad_cell(chunk: list[Row], index: int, name: str, kind: str, missing: frozenset[str]) -> DataError:
    word = {"int": "a whole number", "float": "a number"}[kind]
    bad = next(
        r
        for r in chunk
        if r.cells[index] not in missing and _WIDENING.index(_kind(r.cells[index])) > _WIDENING.index(kind)
    )
    return DataError(
        f"{bad.file}, line {bad.line}, column {name!r}: got {bad.cells[index][:80]!r}, expected {word}; "
        "if it means a missing value, add it to data.missing, else mend the file or the schema"
    )


def _kind(cell: str) -> str:
    for kind, convert in (("int", int), ("float", float)):
        try:
            convert(cell)
        except ValueError:
            continue
        # Python takes 1_000 for a number; no CSV means one by it.
        return "bytes" if "_" in cell else kind
    return "bytes"


def _csv(file: str) -> Iterator[Row]:
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            line = 1
            for cells in reader:
                yield Row(file, line, cells)
                line = reader.line_num + 1
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 (byte {error.object[error.start]:#04x}); convert it with iconv") from None
    except csv.Error as error:
        raise DataError(f"{file}, from line {line}: {error}") from None


def _header(files: Sequence[str]) -> list[str]:
    first: list[str] = []
    for file in files:
        row = next(_csv(file), None)
        if row is None or not any(row.cells):
            raise DataError(f"{file}: empty; expected a header line with the names of the columns")
        if first and row.cells != first:
            raise DataError(f"{file}: its header differs from that of {files[0]}")
        first = row.cells
    repeated = sorted({name for name in first if first.count(name) > 1})
    if repeated or "" in first:
        what = f"column {repeated[0]!r} stands twice" if repeated else f"column {first.index('') + 1} has no name"
        raise DataError(f"{files[0]}, line 1: {what}; each column needs a name of its own")
    return first


def _check_counts(files: Sequence[str], counts: Mapping[str, int]) -> None:
    empty = [name for name, count in counts.items() if not count]
    if empty:
        raise DataError(
            f"{files[0]}: {sum(counts.values())} rows are too few: no row falls into {', '.join(empty)}; "
            "give more rows, or larger buckets under `splits`"
        )


def _files(input_base: str, pattern: str) -> list[str]:
    found = sorted(glob.glob(str(Path(input_base) / pattern)))
    if not found:
        raise DataError(f"{input_base}/{pattern}: no such file")
    return found


def _schema_kinds(path: str) -> dict[str, str]:
    from tensorflow_data_validation import load_schema_text
    from tensorflow_metadata.proto.v0 import schema_pb2

    names = {schema_pb2.INT: "int", schema_pb2.FLOAT: "float", schema_pb2.BYTES: "bytes"}
    return {f.name: names[f.type] for f in load_schema_text(path).feature if f.type in names}


def _options(exec_properties: Mapping[str, Any]) -> dict[str, Any]:
    config = _proto(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY], example_gen_pb2.CustomConfig())
    options = struct_pb2.Struct()
    config.custom_config.Unpack(options)
    return dict(json.loads(proto_utils.proto_to_json(options)))


def _proto(text: str, message: Any) -> Any:
    proto_utils.json_to_proto(text, message)
    return message


def _hash_of(path: str | None) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else ""
