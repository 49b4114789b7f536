"""CsvExampleGen: reads CSV files and writes one Examples artifact with four named splits.

It is TFX's component with another driver and executor. TFX's driver compares files by size and time; this one compares
their content, so that `touch` changes nothing and one changed byte does. TFX's executor infers the types in each run,
knows no markers for missing values and shuffles at random. This one uses the types of the curated schema if there is
one, keeps the order of the file, and reads in batches, so that memory does not grow with the rows.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tfx import types
from tfx.components.example_gen import component as base
from tfx.dsl.components.base import base_beam_executor, executor_spec
from tfx.types import artifact_utils, standard_component_specs

from benison.components import groups
from benison.components.ingest.arguments import arguments, options_of, record_files, splits_of
from benison.components.ingest.content_driver import ContentDriver, refuse_changed
from benison.components.ingest.csv_table import KINDS_OF_COLUMNS, WARNINGS, CsvTable, other_delimiter
from benison.components.ingest.example_writer import ExampleWriter, files_of_parts, in_order, one_file_per_split
from benison.components.ingest.split_keys import Roles, SplitKeys
from benison.components.ingest.splits import check_counts, parts_by_time, split_by_hash
from benison.components.ingest.times import TimeColumn, cells_of, index_of
from benison.serving.close_names import did_you_mean
from benison.serving.errors import DataError
from benison.serving.number_text import is_code
from benison.serving.rows.chunks import Row


class Executor(base_beam_executor.BaseBeamExecutor):
    """Executor that reads the files once for the rows, and before that for equal rows and for types without a schema.

    It needs no Beam runner.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

        options = options_of(exec_properties)
        examples = artifact_utils.get_single_instance(output_dict[standard_component_specs.EXAMPLES_KEY])
        table = CsvTable(
            record_files(exec_properties, examples),
            missing=frozenset(options["missing"]),
            delimiter=options["delimiter"],
            encoding=options["encoding"],
            decimal=options["decimal"],
            amounts=options["amounts"],
        )
        check_columns(table, options["needed"])
        kinds = _schema_kinds(options["schema"]) if options["schema"] else {}
        inferred, warnings = table.infer_kinds([name for name in table.header if name not in kinds])
        kinds |= inferred

        splits, column, by = splits_of(exec_properties), TimeColumn.from_json(options["time"]), options.get("by")
        roles = Roles(table.header, table.missing, options["label"], options["weight"])
        keys = SplitKeys(map(roles.row, table.rows()), int(options.get("seed", 0)))
        if column:
            index, parts = index_of(table, column.name), parts_by_time(cells_of(table, column.name), column, splits, by)
            warnings += parts.warnings
            files = files_of_parts(parts.names)

            def part_of(number: int, row: Row, group: str | None) -> str:
                key = keys.of(number, roles.row(row), group)
                return parts.part_of(row.cells[index], key, in_group=group is not None)
        else:
            files = one_file_per_split(splits)

            def part_of(number: int, row: Row, group: str | None) -> str:
                return split_by_hash(keys.of(number, roles.row(row), group), splits)

        if not options["schema"]:  # inferred from these files alone; SpanWindow compares them with those of other spans
            examples.set_string_custom_property(
                KINDS_OF_COLUMNS, json.dumps({name: kinds[name] for name in table.header})
            )
        encoder = RecordBatchToExamplesEncoder()
        codes = _Codes([i for i, name in enumerate(table.header) if kinds[name] == "int"])
        numbers = itertools.count()
        with ExampleWriter(examples, files) as writer:
            for rows, batch in table.batches(kinds):
                codes.look(rows)
                cells = batch.column(by).to_pylist() if by else [None] * len(rows)
                for row, record, values in zip(rows, encoder.encode(batch), cells, strict=True):
                    writer.write(part_of(next(numbers), row, groups.text_of(values)), in_order(record))
        examples.set_string_custom_property(WARNINGS, json.dumps([*warnings, *codes.warnings(table.header)]))
        if column is None:  # otherwise SpanWindow checks the splits of the window
            check_counts(table.files[0], writer.counts, by=by)
        refuse_changed(exec_properties)


class _Codes:
    """The first cell with a leading zero of each column of whole numbers: the number 2134 may be the zip code 02134.

    Args:
        columns: positions of the columns.
    """

    def __init__(self, columns: Sequence[int]) -> None:
        self._columns = list(columns)
        self._first: dict[int, tuple[Row, str]] = {}

    def look(self, rows: Sequence[Row]) -> None:
        """Look at rows, and no further at a column that has such a cell."""
        for index in list(self._columns):
            first = next((row for row in rows if row.cells[index][:1] == "0" and is_code(row.cells[index])), None)
            if first is not None:
                self._first[index] = first, first.cells[index]
                self._columns.remove(index)

    def warnings(self, header: Sequence[str]) -> list[str]:
        """Return a warning for each column that has such a cell."""
        return [
            f"{row.file}, {row.place}, column {header[index]!r}: {cell[:80]!r} is read as the number {int(cell)}, "
            "because the schema says INT; if these are codes, such as zip codes, write type: BYTES there"
            for index, (row, cell) in sorted(self._first.items())
        ]


class CsvExampleGen(base.FileBasedExampleGen):
    """Node that reads CSV files into splits by a hash of each row's features, so that copies are in the same split.

    Args:
        pattern: the CSV files: an absolute path or pattern; see `data_files.find`.
        splits: hash buckets by split; the share of a split is its buckets divided by their sum.
        missing: cells that mean "no value".
        schema: path of the curated schema, which defines the types; None infers them from the files.
        delimiter: separates cells.
        encoding: encoding of the files.
        decimal: decimal separator of numbers.
        amounts: the form of the numbers in columns of amounts, see `number_text.AMOUNTS`.
        time: time column; the latest rows become `test`. The artifact then has one split, `rows`, and SpanWindow
            builds the four splits from its files. None assigns the rows to the four splits by hash.
        span: number of the span to read; `pattern` then contains {SPAN}.
        needed: columns that the pipeline requires.
        label: name of the label, which decides no split; '' for none.
        weight: name of the column of sample weights, which decides no split; '' for none.
        by: column whose rows with the same value are in one split; None assigns each row by its own hash.
        seed: seed of the hash.
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
        amounts: Mapping[str, str] = MappingProxyType({}),
        time: TimeColumn | None = None,
        span: int | None = None,
        needed: Sequence[str] = (),
        label: str = "",
        weight: str = "",
        by: str | None = None,
        seed: int = 0,
    ) -> None:
        options = {
            "missing": list(missing),
            "schema": schema or "",
            "schema_hash": hashlib.sha256(Path(schema).read_bytes()).hexdigest() if schema else "",
            "delimiter": delimiter,
            "encoding": encoding,
            "decimal": decimal,
            "amounts": dict(amounts),
            "time": time.to_json() if time else None,
            "needed": list(needed),
            "label": label,
            "weight": weight,
            **({"by": by} if by else {}),
            **({"seed": seed} if seed else {}),
        }
        super().__init__(**arguments(pattern, splits, options, span))


def check_columns(table: CsvTable, needed: Sequence[str]) -> None:
    """Raise DataError if a required column is missing; suggest a similar name."""
    for name in needed:
        if name not in table.header:
            if fault := other_delimiter(table, needed):
                raise DataError(fault)
            hint = did_you_mean(name, table.header)
            raise DataError(f"{table.files[0]}: no column {name!r}{hint} (it has {', '.join(table.header)})")


def _schema_kinds(path: str) -> dict[str, str]:
    from tensorflow_data_validation import load_schema_text
    from tensorflow_metadata.proto.v0 import schema_pb2

    names = {schema_pb2.INT: "int", schema_pb2.FLOAT: "float", schema_pb2.BYTES: "bytes"}
    return {f.name: names[f.type] for f in load_schema_text(path).feature if f.type in names}
