"""The arguments of TFX's ExampleGen from ours, and back from a node's execution properties."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from google.protobuf import any_pb2, struct_pb2
from tfx import types
from tfx.proto import example_gen_pb2, range_config_pb2
from tfx.types import standard_component_specs
from tfx.utils import proto_utils

from benison.components.ingest.splits import SPAN_SPLIT

FILES = "files"  # execution and artifact property: JSON list of the files that were read, in this order
CONTENTS = "contents"  # likewise: JSON list, for each of these files its `sha256`, and its DVC `pointer` and `md5`
FINGERPRINT = "input_fingerprint"  # likewise: the hash of all of them; TFX's name
SPAN_HASH = "span_hash"  # execution and artifact property: the hash of a landed span's data, as in its span.json


def arguments(path: str, splits: Mapping[str, int], options: Mapping[str, Any], span: int | None) -> dict[str, Any]:
    """Return the arguments of TFX's FileBasedExampleGen.

    Args:
        path: the files, as an absolute path or pattern; see `data_files.find`.
        splits: hash buckets by split.
        options: plain data for the executor.
        span: number of the span to read; `path` then contains {SPAN}.
    """
    folder, name = os.path.split(path)
    struct, packed = struct_pb2.Struct(), any_pb2.Any()
    struct.update(options)
    packed.Pack(struct)
    buckets = [example_gen_pb2.SplitConfig.Split(name=name, hash_buckets=count) for name, count in splits.items()]
    return {
        "input_base": folder,
        "input_config": example_gen_pb2.Input(splits=[example_gen_pb2.Input.Split(name=SPAN_SPLIT, pattern=name)]),
        "output_config": example_gen_pb2.Output(split_config=example_gen_pb2.SplitConfig(splits=buckets)),
        "custom_config": example_gen_pb2.CustomConfig(custom_config=packed),
        "range_config": None
        if span is None
        else range_config_pb2.RangeConfig(
            static_range=range_config_pb2.StaticRange(start_span_number=span, end_span_number=span)
        ),
    }


def splits_of(exec_properties: Mapping[str, Any]) -> dict[str, int]:
    """Return the hash buckets by split."""
    output = _proto(exec_properties[standard_component_specs.OUTPUT_CONFIG_KEY], example_gen_pb2.Output())
    return {split.name: split.hash_buckets for split in output.split_config.splits}


def options_of(exec_properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options for the executor."""
    config = _proto(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY], example_gen_pb2.CustomConfig())
    options = struct_pb2.Struct()
    config.custom_config.Unpack(options)
    return dict(json.loads(proto_utils.proto_to_json(options)))


def record_files(exec_properties: Mapping[str, Any], examples: types.Artifact) -> tuple[str, ...]:
    """Return the files that the driver found; record them and their hashes in the Examples made from them."""
    examples.set_string_custom_property(FILES, exec_properties[FILES])
    examples.set_string_custom_property(CONTENTS, exec_properties[CONTENTS])
    if SPAN_HASH in exec_properties:
        examples.set_string_custom_property(SPAN_HASH, exec_properties[SPAN_HASH])
    return tuple(json.loads(exec_properties[FILES]))


def _proto(text: str, message: Any) -> Any:
    proto_utils.json_to_proto(text, message)
    return message
