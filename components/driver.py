"""A driver that adds to a node's execution properties, and thereby to its cache key."""

from __future__ import annotations

from tfx.dsl.components.base import base_driver as component_driver
from tfx.orchestration.metadata import Metadata
from tfx.orchestration.portable import base_driver
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.proto.orchestration import driver_output_pb2


class Driver(component_driver.BaseDriver, base_driver.BaseDriver):
    """Runs before TFX looks into the cache. A component asks for one of its bases, the launcher for the other."""

    def __init__(self, metadata_handle: Metadata) -> None:
        component_driver.BaseDriver.__init__(self, metadata_handle)
        base_driver.BaseDriver.__init__(self, metadata_handle)

    def run(self, execution_info: ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """TFX's contract; see `more_properties`."""
        result = driver_output_pb2.DriverOutput()
        for name, value in self.more_properties(execution_info).items():
            result.exec_properties[name].string_value = value
        return result

    def more_properties(self, execution_info: ExecutionInfo) -> dict[str, str]:
        """What to add to the execution properties.

        Args:
            execution_info: `input_dict` and `exec_properties` of the coming execution.
        """
        raise NotImplementedError
