"""Pusher: a blessed ensemble becomes a version in TF Serving's layout, visible by one rename.

TFX's component with another driver and executor: TFX's copies into the folder that the server watches, and never looks
at what is served already.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.pusher import component as base
from tfx.components.pusher import executor as base_executor
from tfx.dsl.components.base import executor_spec
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils
from tfx.utils import json_utils, proto_utils

from components.blessing import FILE as BLESSING_FILE
from components.driver import Driver
from serving import versions
from serving.ensemble import Ensemble

ALREADY_SERVED = "already_served"


class _Driver(Driver):
    """Keeps the Pusher out of the cache: what it did once says nothing of what is on the disk now."""

    def more_properties(self, execution_info: ExecutionInfo) -> dict[str, str]:
        return {"attempt": uuid.uuid4().hex}


class Executor(base_executor.Executor):
    """Publishes the model unless it is the served one already."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        model = Path(self.GetModelPath(input_dict))
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties["push_destination"], destination)
        base_folder = Path(destination.filesystem.base_directory)

        served = versions.served(base_folder)
        if served and served.manifest.get("candidate") == versions.checksum(model):
            self._MarkNotPushed(pushed)
            pushed.set_int_custom_property(ALREADY_SERVED, 1)
            pushed.set_string_custom_property("pushed_destination", str(served.path))
            pushed.set_string_custom_property("pushed_version", str(served.number))
            print(f"already served as version {served.number}; not pushed again")
            return
        blessing = json.loads(
            Path(artifact_utils.get_single_uri(input_dict["model_blessing"]), BLESSING_FILE).read_text()
        )
        ensemble = Ensemble.load(Path(artifact_utils.get_single_uri(input_dict["model"])))
        facts = json_utils.loads(exec_properties["custom_config"]) or {}
        version = versions.publish(
            model,
            base_folder,
            {
                **facts,
                "members": ensemble.members,
                "combiner": ensemble.combiner.kind,
                "weights": getattr(ensemble.combiner, "weights", {}),
                **blessing,
            },
        )
        self._MarkPushed(pushed, pushed_destination=str(version.path), pushed_version=str(version.number))
        print(f"pushed version {version.number} to {version.path}")


class Pusher(base.Pusher):
    """TFX's Pusher with a filesystem destination; `custom_config` goes into the version's manifest."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
    DRIVER_CLASS = _Driver
