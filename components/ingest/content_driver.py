"""ExampleGen's driver: it finds the files of a run once, and puts them and a hash of their content into the cache key.

TFX's own driver uses size and modification time, and its executors find the files again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfx.components.example_gen import driver as base_driver
from tfx.components.example_gen import utils
from tfx.orchestration import data_types
from tfx.proto import example_gen_pb2, range_config_pb2
from tfx.types import standard_component_specs
from tfx.utils import proto_utils

from benison.components.ingest import data_files
from benison.components.ingest.arguments import CONTENTS, FILES, SPAN_HASH
from benison.serving.errors import DataError
from benison.serving.files import checksum


class ContentDriver(base_driver.Driver):
    """Driver of a node whose input is one path or pattern; see `arguments`."""

    def resolve_exec_properties(
        self,
        exec_properties: dict[str, Any],
        pipeline_info: data_types.PipelineInfo,
        component_info: data_types.ComponentInfo,
    ) -> dict[str, Any]:
        """Add the span, the files and their hash; TFX's contract of an ExampleGen driver."""
        inputs, span_range = example_gen_pb2.Input(), range_config_pb2.RangeConfig()
        proto_utils.json_to_proto(exec_properties[standard_component_specs.INPUT_CONFIG_KEY], inputs)
        landed = bool(exec_properties.get(standard_component_specs.RANGE_CONFIG_KEY))
        if landed:
            proto_utils.json_to_proto(exec_properties[standard_component_specs.RANGE_CONFIG_KEY], span_range)
        span = span_range.static_range.start_span_number
        path = os.path.join(exec_properties[standard_component_specs.INPUT_BASE_KEY], inputs.splits[0].pattern)
        pattern = path.replace(data_files.SPAN, str(span)) if landed else path
        files = data_files.contents(pattern)
        contents = [_record(file, landed) for file in files]
        exec_properties[utils.SPAN_PROPERTY_NAME] = span
        exec_properties[utils.VERSION_PROPERTY_NAME] = None
        exec_properties[utils.FINGERPRINT_PROPERTY_NAME] = data_files.of_contents(
            (file.path, _span_hash(file.path) if landed else record["sha256"])
            for file, record in zip(files, contents, strict=True)
        )
        exec_properties[FILES] = json.dumps([file.path for file in files])
        exec_properties[CONTENTS] = json.dumps(contents)
        if landed:
            exec_properties[SPAN_HASH] = _span_hash(files[0].path)
        return exec_properties


def refuse_changed(exec_properties: Mapping[str, Any]) -> None:
    """Raise DataError if the content of a file is no longer that of the cache key: it was written while it was read.

    Args:
        exec_properties: of the executor, after it has read the files.
    """
    files, landed = json.loads(exec_properties[FILES]), SPAN_HASH in exec_properties
    try:
        hashes = ((file, _span_hash(file) if landed else checksum.of_file(Path(file))) for file in files)
        changed = data_files.of_contents(hashes) != exec_properties[utils.FINGERPRINT_PROPERTY_NAME]
    except OSError:
        changed = True
    if changed:
        raise DataError(
            f"{files[0]}{f' or one of {len(files) - 1} others' if files[1:] else ''}: changed while it was read; run "
            "again when it is complete"
        )


def _record(file: data_files.DataFile, landed: bool) -> dict[str, str]:
    """Return the hash of a file, and the pointer of DVC that named it.

    A landed span never changes, so its files have the hashes that were recorded on landing; earlier releases recorded
    none.
    """
    if landed:
        span = json.loads(_span_json(file.path).read_text())
        return dict(span.get("files", {}).get(os.path.basename(file.path), {}))
    pointer = {"pointer": file.pointer, "md5": file.md5} if file.pointer else {}
    return {"sha256": checksum.of_file(Path(file.path)), **pointer}


def _span_hash(file: str) -> str:
    """Return the hash of a landed span's files, as recorded on landing."""
    return str(json.loads(_span_json(file).read_text())["sha256"])


def _span_json(file: str) -> Path:
    return Path(file).with_name("span.json")
