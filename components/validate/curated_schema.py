"""ImportSchemaGen: TFX's, but columns that the YAML uses are read whatever stage the curated schema gives them.

`benison init` marks the columns that it leaves out as DEPRECATED, and TFX gives such a column to no node. A YAML may
name one later, as the column of `splits.by` or `weight`, or in `columns`.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import tensorflow_data_validation as tfdv
from tfx import types
from tfx.components.schema_gen.import_schema_gen import executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from benison.components import raw_examples


class Executor(executor.Executor):
    """Executor that imports the schema, and clears the stage of the columns that are used."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        super().Do(input_dict, output_dict, exec_properties)
        if columns := json.loads(exec_properties["columns"]):
            schema = raw_examples.load_schema(output_dict["schema"])
            raw_examples.clear_stage(schema, columns)
            file = Path(artifact_utils.get_single_uri(output_dict["schema"]), raw_examples.SCHEMA)
            tfdv.write_schema_text(schema, str(file))


class _Spec(ComponentSpec):
    PARAMETERS = {"schema_file": ExecutionParameter(type=str), "columns": ExecutionParameter(type=str)}
    INPUTS: dict[str, ChannelParameter] = {}
    OUTPUTS = {"schema": ChannelParameter(type=standard_artifacts.Schema)}


class ImportSchemaGen(base_component.BaseComponent):
    """Node that imports a curated schema.

    Args:
        schema_file: path of the schema.
        columns: the columns whose stage is cleared.
    """

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, schema_file: str, columns: Collection[str] = ()) -> None:
        super().__init__(
            _Spec(
                schema_file=schema_file,
                columns=json.dumps(sorted(columns)),
                schema=types.Channel(type=standard_artifacts.Schema),
            )
        )
