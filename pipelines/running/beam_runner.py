"""The default Beam runner of nodes: the one that runs in this process.

The default of newer Beam versions tries to download a binary at run time. Naming the runner in Beam's arguments does
not help: TFX then packs its whole source for remote workers at every node, and Beam 2.60 does not know the runner's
short name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tfx.orchestration.portable.beam_executor_operator import BeamExecutorOperator
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.proto.orchestration.execution_result_pb2 import ExecutorOutput

from benison.pipelines.running import private_beam


class InMemoryByDefault(BeamExecutorOperator):
    """TFX's operator of Beam executors, with the in-memory runner as the default."""

    def run_executor(
        self, execution_info: ExecutionInfo, make_beam_pipeline_fn: Callable[[], Any] | None = None
    ) -> ExecutorOutput:
        """Run the executor; see TFX's BeamExecutorOperator."""
        # The arguments are still placeholders on one track, and strings on the other.
        if not any("--runner" in str(argument) for argument in self.beam_pipeline_args):
            make_beam_pipeline_fn = make_beam_pipeline_fn or self._in_memory
        return super().run_executor(execution_info, make_beam_pipeline_fn)

    def _in_memory(self) -> beam.Pipeline:
        private_beam.speed_up()
        return beam.Pipeline(runner=FnApiRunner(), argv=self.beam_pipeline_args)
