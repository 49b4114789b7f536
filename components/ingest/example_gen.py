"""CsvExampleGen: reads CSV files and writes one Examples artifact with four named splits.

It is TFX's component with another driver and executor. TFX's driver compares files by size and time; this one compares
their content, so that `touch` changes nothing and one changed byte does. TFX's executor infers the types in each run,
knows no markers for missing values and shuffles at random. This one uses the types of the curated schema if there is
one, keeps the order of the file, and reads in batches, so that memory does not grow with the rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import any_pb2, struct_pb2
from tfx import types
from tfx.components.example_gen import component as base
from tfx.dsl.components.base import base_beam_executor, executor_spec
from tfx.proto import example_gen_pb2, range_config_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from benison.components.ingest.content_driver import ContentDriver, input_of, record_files
from benison.components.ingest.csv_table import WARNINGS, CsvTable
from benison.components.ingest.example_writer import ExampleWriter, one_file_per_split
from benison.components.ingest.splits import SPAN_SPLIT, check_counts, parts_by_time, split_by_hash
from benison.serving.close_names import did_you_mean
from benison.serving.errors import DataError


class Executor(base_beam_executor.BaseBeamExecutor):
    """Executor that reads the files once for the rows, and before that for types that no schema defines.

    It needs no Beam runner.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

        output_config = _proto(exec_properties[standard_component_specs.OUTPUT_CONFIG_KEY], example_gen_pb2.Output())
        options = _options(exec_properties)
        examples = artifact_utils.get_single_instance(output_dict[standard_component_specs.EXAMPLES_KEY])
        table = CsvTable(
            record_files(exec_properties, examples),
            missing=frozenset(options["missing"]),
            delimiter=options["delimiter"],
            encoding=options["encoding"],
            decimal=options["decimal"],
        )
        check_columns(table, options["needed"])
        kinds = _schema_kinds(options["schema"]) if options["schema"] else {}
        inferred, warnings = table.infer_kinds([name for name in table.header if name not in kinds])
        kinds |= inferred

        splits = {split.name: split.hash_buckets for split in output_config.split_config.splits}
        if options["time"]:
            parts, part_of = parts_by_time(table, options["time"], splits)
            # One split for all rows, so that statistics cover all rows; SpanWindow builds the splits from its files.
            files = {part: (SPAN_SPLIT, part) for part in parts}
        else:
            files, part_of = one_file_per_split(splits), lambda row: split_by_hash(row.cells, splits)
        examples.set_string_custom_property(WARNINGS, json.dumps(warnings))
        encoder = RecordBatchToExamplesEncoder()
        with ExampleWriter(examples, files) as writer:
            for rows, batch in table.batches(kinds):
                for row, record in zip(rows, encoder.encode(batch), strict=True):
                    writer.write(part_of(row), record)
        if not options["time"]:  # otherwise SpanWindow checks the splits of the window
            check_counts(table.files[0], writer.counts)


class CsvExampleGen(base.FileBasedExampleGen):
    """Node that reads CSV files into splits by a hash of each row, so that equal rows are always in the same split.

    Args:
        pattern: the CSV files: an absolute path or pattern; see `data_files.find`.
        splits: hash buckets by split; the share of a split is its buckets divided by their sum.
        missing: cells that mean "no value".
        schema: path of the curated schema, which defines the types; None infers them from the files.
        delimiter: separates cells.
        encoding: encoding of the files.
        decimal: decimal separator of numbers.
        time: time column; the latest rows become `test`. The artifact then has one split, `rows`, and SpanWindow
            builds the four splits from its files. None assigns the rows to the four splits by hash.
        span: number of the span to read; `pattern` then contains {SPAN}.
        needed: columns that the pipeline requires.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
    DRIVER_CLASS = ContentDriver

    def __init__(
        self,
        pattern: str,
        splits: Mapping[str, int],
        missing: Sequence[str] = ("",),
        schema: str | None = None,
        delimiter: str = ",",
        encoding: str = "utf-8",
        decimal: str = ".",
        time: str | None = None,
        span: int | None = None,
        needed: Sequence[str] = (),
    ) -> None:
        options = struct_pb2.Struct()
        options.update(
            {
                "missing": list(missing),
                "schema": schema or "",
                "schema_hash": hashlib.sha256(Path(schema).read_bytes()).hexdigest() if schema else "",
                "delimiter": delimiter,
                "encoding": encoding,
                "decimal": decimal,
                "time": time or "",
                "needed": list(needed),
            }
        )
        packed = any_pb2.Any()
        packed.Pack(options)
        super().__init__(
            **input_of(pattern),
            range_config=None
            if span is None
            else range_config_pb2.RangeConfig(
                static_range=range_config_pb2.StaticRange(start_span_number=span, end_span_number=span)
            ),
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


def check_columns(table: CsvTable, needed: Sequence[str]) -> None:
    """Raise DataError if a required column is missing; suggest a similar name."""
    for name in needed:
        if name not in table.header:
            hint = did_you_mean(name, table.header)
            raise DataError(f"{table.files[0]}: no column {name!r}{hint} (it has {', '.join(table.header)})")


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
