"""Transform: TFX's component, whose preprocessing_fn also learns what the schema says about the label.

The classes of the label and the positive one are fixed in the schema; if it lists no classes, they are those of all
splits. TFX gives a preprocessing_fn neither schema nor other splits, so the executor adds this to its `custom_config`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
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
_BATCH_ROWS = 512


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
        weight = config.get("weight")
        if label_values.has_fewer(
            input_dict["examples"], schema, config["label"], LEARNT, config.get("out_of_fold_below", 0), weight
        ):
            # No statistic is of the label, and `test` stays apart: each row may tell how features are made.
            splits = transform_pb2.SplitsConfig(analyze=LEARNT, transform=LEARNT)
            exec_properties = {
                **exec_properties,
                standard_component_specs.SPLITS_CONFIG_KEY: proto_utils.proto_to_json(splits),
            }
        of_label = LabelSchema.of(schema, config["label"])
        if not of_label.listed and config["problem"] != "regression":
            by_split = label_values.read(input_dict["examples"], schema, config["label"], weight)
            of_label = replace(of_label, listed=label_values.every_class(by_split))
        config["label_schema"] = asdict(of_label)
        config["lists"] = sorted(raw_examples.list_columns(schema))
        config["single"] = sorted(raw_examples.single_columns(schema))
        config["graph"] = artifact_utils.get_single_uri(output_dict[standard_component_specs.TRANSFORM_GRAPH_KEY])
        with once():
            super().Do(input_dict, output_dict, {**exec_properties, key: json.dumps(config)})
        raw_examples.write_withheld(
            artifact_utils.get_single_uri(output_dict[standard_component_specs.TRANSFORM_GRAPH_KEY]),
            {role: config[role] for role in raw_examples.ROLES if role in config},
        )

    def _GetDesiredBatchSize(self, data_format: int, schema: Any) -> int:
        """Return a fixed number of rows.

        Beam would choose it by the time that batches take. A sum of floats depends on the order of its parts, so the
        last bit of a mean would be another one on a busier machine, and no version could be reproduced.
        """
        return super()._GetDesiredBatchSize(data_format, schema) or _BATCH_ROWS


@contextlib.contextmanager
def once() -> Iterator[None]:
    """Let TFT do once what it does again and again in a run of Transform.

    - TFX asks three times which columns a preprocessing_fn reads, and TFT traces the function for each answer.
    - TFT loads the graph again for each split.
    """
    from tensorflow_transform import impl_helper
    from tensorflow_transform.beam import impl

    trace, load = impl_helper.trace_preprocessing_function, impl._RunMetaGraphDoFn._GraphStateV2
    traced: list[tuple[tuple[Any, ...], Any]] = []
    loaded: dict[tuple[Any, ...], Any] = {}

    def traced_once(preprocessing_fn: Any, specs: Any, use_tf_compat_v1: bool, base_temp_dir: str | None = None) -> Any:
        if base_temp_dir is not None:  # a trace for the analysis, which changes it
            return trace(preprocessing_fn, specs, use_tf_compat_v1, base_temp_dir)
        asked = (preprocessing_fn, specs, use_tf_compat_v1)
        if not traced or traced[0][0] != asked:
            traced[:] = [(asked, trace(*asked))]
        return traced[0][1]

    def loaded_once(folder: str, inputs: set[str], excluded: Sequence[str]) -> Any:
        key = (folder, frozenset(inputs), tuple(excluded))
        if key not in loaded:
            loaded[key] = load(folder, inputs, excluded)
        return loaded[key]

    impl_helper.trace_preprocessing_function = traced_once
    impl._RunMetaGraphDoFn._GraphStateV2 = staticmethod(loaded_once)
    try:
        yield
    finally:
        impl_helper.trace_preprocessing_function = trace
        impl._RunMetaGraphDoFn._GraphStateV2 = load


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
