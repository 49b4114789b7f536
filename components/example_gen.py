"""CsvExampleGen: CSV files in, one Examples artifact with four named splits out.

TFX's component with another driver and executor. TFX's driver recognises files by size and time; ours by content, so
that a `touch` changes nothing and one changed byte does. TFX's executor infers the types anew in each run, takes no
marks for missing values and shuffles at random; ours takes the types from the curated schema where there is one, keeps
to the order of the file, and reads in batches, so that its memory does not grow with the rows.
"""

from __future__ import annotations

import bisect
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import any_pb2, struct_pb2
from tfx import types
from tfx.components.example_gen import component as base
from tfx.components.example_gen import driver as base_driver
from tfx.components.example_gen.input_processor import FileBasedInputProcessor
from tfx.dsl.components.base import base_beam_executor, executor_spec
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from components.csv_table import CsvTable
from serving.errors import DataError


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
            for file in CsvTable.matching(f"{self._input_base_uri}/{pattern}").files:
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
        table = CsvTable.matching(
            f"{exec_properties[standard_component_specs.INPUT_BASE_KEY]}/{input_config.splits[0].pattern}",
            missing=frozenset(options["missing"]),
            delimiter=options["delimiter"],
            encoding=options["encoding"],
        )
        kinds = _schema_kinds(options["schema"]) if options["schema"] else {}
        kinds |= table.infer_kinds([name for name in table.header if name not in kinds])

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
        for rows, batch in table.batches(kinds):
            for row, record in zip(rows, encoder.encode(batch), strict=True):
                index = assign(row.cells, [buckets for _, buckets in splits])
                counts[index] += 1
                writers[index].write(record)
        for writer in writers:
            writer.close()
        check_counts(table.files[0], dict(zip((name for name, _ in splits), counts, strict=True)))
        print("rows:", ", ".join(f"{name} {n}" for (name, _), n in zip(splits, counts, strict=True)))


class CsvExampleGen(base.FileBasedExampleGen):
    """Reads CSV files into splits by a hash of each row, so that equal rows never stand in two splits.

    Args:
        pattern: the CSV files (a glob).
        splits: name of each split and its number of hash buckets; the shares are buckets over their sum.
        missing: cells that mean "no value".
        schema: curated schema, whose types then hold; None infers them from the files.
        delimiter: between cells.
        encoding: of the files.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
    DRIVER_CLASS = _Driver

    def __init__(
        self,
        pattern: str,
        splits: Mapping[str, int],
        missing: Sequence[str] = ("",),
        schema: str | None = None,
        delimiter: str = ",",
        encoding: str = "utf-8",
    ) -> None:
        options = struct_pb2.Struct()
        options.update(
            {
                "missing": list(missing),
                "schema": schema or "",
                "schema_hash": hashlib.sha256(Path(schema).read_bytes()).hexdigest() if schema else "",
                "delimiter": delimiter,
                "encoding": encoding,
            }
        )
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


def check_counts(file: str, counts: Mapping[str, int]) -> None:
    """Raises DataError where a split got no row."""
    empty = [name for name, count in counts.items() if not count]
    if empty:
        raise DataError(
            f"{file}: {sum(counts.values())} rows are too few: no row falls into {', '.join(empty)}; "
            "give more rows, or larger buckets under `splits`"
        )


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
