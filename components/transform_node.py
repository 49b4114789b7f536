"""Transform: TFX's component, whose preprocessing_fn also learns what the schema says about the label.

The classes of the label and the positive one are fixed in the schema; if it lists no classes, they are those of all
splits. TFX gives a preprocessing_fn neither schema nor other splits, so the executor adds this to its `custom_config`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from tfx import types
from tfx.components import Transform as TfxTransform
from tfx.components.transform import executor
from tfx.dsl.components.base import executor_spec
from tfx.proto import transform_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from benison.components import label_values, raw_examples
from benison.components.label_classes import LabelSchema
from benison.serving.errors import DataError

LEARNT = ("train", "valid", "blend")


class Executor(executor.Executor):
    """Executor with `label_schema`, `lists` and `graph` in the custom_config, see `benison.components.transform`.

    Of a small table, with fewer labelled rows to learn from than `out_of_fold_below` of the custom_config, it also
    analyzes and transforms `valid` and `blend`: members then learn from these rows, too.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        key = standard_component_specs.CUSTOM_CONFIG_KEY
        config = json.loads(exec_properties[key])
        schema = raw_examples.load_schema(input_dict["schema"])
        refuse_lists(config["columns"], schema)
        if label_values.has_fewer(
            input_dict["examples"], schema, config["label"], LEARNT, config.get("out_of_fold_below", 0)
        ):
            # No statistic is of the label, and `test` stays apart: each row may tell how features are made.
            splits = transform_pb2.SplitsConfig(analyze=LEARNT, transform=LEARNT)
            exec_properties = {
                **exec_properties,
                standard_component_specs.SPLITS_CONFIG_KEY: proto_utils.proto_to_json(splits),
            }
        of_label = LabelSchema.of(schema, config["label"])
        if not of_label.listed and config["problem"] != "regression":
            by_split = label_values.read(input_dict["examples"], schema, config["label"])
            of_label = replace(of_label, listed=label_values.every_class(by_split))
        config["label_schema"] = asdict(of_label)
        config["lists"] = sorted(raw_examples.list_columns(schema))
        config["single"] = sorted(raw_examples.single_columns(schema))
        config["graph"] = artifact_utils.get_single_uri(output_dict[standard_component_specs.TRANSFORM_GRAPH_KEY])
        super().Do(input_dict, output_dict, {**exec_properties, key: json.dumps(config)})
        raw_examples.write_withheld(
            artifact_utils.get_single_uri(output_dict[standard_component_specs.TRANSFORM_GRAPH_KEY]),
            {role: config[role] for role in raw_examples.ROLES if role in config},
        )


def refuse_lists(columns: Mapping[str, Mapping[str, Any]], schema: Any) -> None:
    """Raise DataError if a column with several values per row has a kind: the generic features take one value.

    Args:
        columns: the kind of each column.
        schema: TensorFlow Metadata's Schema.
    """
    lists = raw_examples.list_columns(schema)
    fixed = {f.name for f in schema.feature if any(dim.size > 1 for dim in f.shape.dim)}
    used = sorted(name for name, column in columns.items() if column["kind"] != "ignore" and name in lists | fixed)
    if used:
        raise DataError(
            f"column {used[0]!r}: rows have several values, and the kinds of `columns` are for one value; write "
            "features of your own for it (`benison eject`), or set its kind to ignore"
        )


class Transform(TfxTransform):
    """Node that fits and applies the preprocessing; it takes the same arguments as TFX's."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
