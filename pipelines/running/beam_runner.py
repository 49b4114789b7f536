"""The Beam runner of nodes whose pipeline names none: the one in this process's memory.

Beam's own default tries, on newer versions, to download a binary at run time. To name the runner among the arguments
is no way out: TFX then packs its whole source for remote workers, at every node, and Beam 2.60 does not know its short
name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tfx.orchestration.portable.beam_executor_operator import BeamExecutorOperator
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.proto.orchestration.execution_result_pb2 import ExecutorOutput


class InMemoryByDefault(BeamExecutorOperator):
    """TFX's operator of Beam executors with another default."""

    def run_executor(
        self, execution_info: ExecutionInfo, make_beam_pipeline_fn: Callable[[], Any] | None = None
    ) -> ExecutorOutput:
        """TFX's contract."""
        # Still placeholders on one track, strings on the other.
        if not any("--runner" in str(argument) for argument in self.beam_pipeline_args):
            make_beam_pipeline_fn = make_beam_pipeline_fn or self._in_memory
        return super().run_executor(execution_info, make_beam_pipeline_fn)

    def _in_memory(self) -> beam.Pipeline:
        return beam.Pipeline(runner=FnApiRunner(), argv=self.beam_pipeline_args)
