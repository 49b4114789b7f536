"""A base driver that adds execution properties to a node, and so extends its cache key."""

from __future__ import annotations

from tfx.dsl.components.base import base_driver as component_driver
from tfx.orchestration.metadata import Metadata
from tfx.orchestration.portable import base_driver
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.proto.orchestration import driver_output_pb2


class Driver(component_driver.BaseDriver, base_driver.BaseDriver):
    """Driver that runs before TFX reads the cache.

    It has two bases because components require one of them and the launcher requires the other.
    """

    def __init__(self, metadata_handle: Metadata) -> None:
        component_driver.BaseDriver.__init__(self, metadata_handle)
        base_driver.BaseDriver.__init__(self, metadata_handle)

    def run(self, execution_info: ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Return the properties of `more_properties`, as TFX's driver contract requires."""
        result = driver_output_pb2.DriverOutput()
        for name, value in self.more_properties(execution_info).items():
            result.exec_properties[name].string_value = value
        return result

    def more_properties(self, execution_info: ExecutionInfo) -> dict[str, str]:
        """Return the execution properties to add, by name.

        Args:
            execution_info: `input_dict` and `exec_properties` of the next execution.
        """
        raise NotImplementedError
