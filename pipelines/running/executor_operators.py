"""Call the executors of nodes as TFX calls them, but run Beam in this process by default.

The default of newer Beam versions tries to download a binary at run time. Naming the runner in Beam's arguments does
not help: TFX then packs its whole source for remote workers at every node, and Beam 2.60 does not know the runner's
short name.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import attr
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tfx.orchestration.portable.beam_executor_operator import BeamExecutorOperator
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.orchestration.portable.python_executor_operator import PythonExecutorOperator
from tfx.proto.orchestration import executable_spec_pb2
from tfx.proto.orchestration.execution_result_pb2 import ExecutorOutput

from benison.pipelines.running import private_beam, timing
from benison.serving.errors import BenisonError, NodeFailed

_OWN = "benison_"  # begins the names of the execution properties that Benison adds, such as `node_cache.FINGERPRINT`
_PROCESSES = "multi_processing"  # the argument of Beam's in-memory runner for workers in processes of their own


class InThisProcess(PythonExecutorOperator):
    """TFX's operator of executors without Beam."""

    def run_executor(self, execution_info: ExecutionInfo) -> ExecutorOutput:
        """Run the executor; see TFX's PythonExecutorOperator."""
        _empty_outputs(execution_info)
        with _removed_folders(execution_info), timing.phase(timing.EXECUTOR):
            return super().run_executor(_without_own_properties(execution_info, self._executor_cls))


class InMemoryByDefault(BeamExecutorOperator):
    """TFX's operator of Beam executors, with the in-memory runner as the default."""

    def run_executor(
        self, execution_info: ExecutionInfo, make_beam_pipeline_fn: Callable[[], Any] | None = None
    ) -> ExecutorOutput:
        """Run the executor; see TFX's BeamExecutorOperator."""
        _empty_outputs(execution_info)
        # The arguments are still placeholders on one track, and strings on the other.
        if not any("--runner" in str(argument) for argument in self.beam_pipeline_args):
            make_beam_pipeline_fn = make_beam_pipeline_fn or self._in_memory
        own = _without_own_properties(execution_info, self._executor_cls)
        with _removed_folders(execution_info), timing.phase(timing.EXECUTOR):
            return super().run_executor(own, make_beam_pipeline_fn)

    def _in_memory(self) -> beam.Pipeline:
        private_beam.speed_up()
        if not any(_PROCESSES in str(argument) for argument in self.beam_pipeline_args):
            private_beam.pickle_uncompressed()
        # The default of newer Beam versions; dill, that of older ones, takes ten times as long.
        return beam.Pipeline(runner=FnApiRunner(), argv=["--pickle_library=cloudpickle", *self.beam_pipeline_args])


OPERATORS: Mapping[Any, Any] = {
    executable_spec_pb2.PythonClassExecutableSpec: InThisProcess,
    executable_spec_pb2.BeamExecutableSpec: InMemoryByDefault,
}


def _empty_outputs(execution_info: ExecutionInfo) -> None:
    """Remove what is in the folders of the outputs, which are named after the execution's number.

    Files are there if ML Metadata has lost the execution that wrote them and gives its number again. Readers would
    take the files of both for one output.
    """
    for artifact in (artifact for artifacts in execution_info.output_dict.values() for artifact in artifacts):
        if "://" not in artifact.uri and os.path.isdir(artifact.uri) and os.listdir(artifact.uri):
            shutil.rmtree(artifact.uri)
            os.makedirs(artifact.uri)


@contextlib.contextmanager
def _removed_folders(execution_info: ExecutionInfo) -> Iterator[None]:
    """Name the folder if the block fails and a folder of the node's artifacts was removed.

    The libraries report it in many ways, and some of them without the path.

    Raises:
        NodeFailed: In the block: a folder is gone.
    """
    try:
        yield
    except BenisonError:
        raise
    except Exception as error:
        groups = (*execution_info.input_dict.values(), *execution_info.output_dict.values())
        for uri in (artifact.uri for artifacts in groups for artifact in artifacts):
            if "://" not in uri and not os.path.exists(uri):
                raise NodeFailed(
                    f"{uri}: it was removed during the run, or its disk is not mounted; run the pipeline again"
                ) from error
        raise


def _without_own_properties(execution_info: ExecutionInfo, executor: type) -> ExecutionInfo:
    """Leave out the properties that only Benison's own executors expect."""
    if executor.__module__.startswith("benison."):
        return execution_info
    properties = {name: value for name, value in execution_info.exec_properties.items() if not name.startswith(_OWN)}
    return attr.evolve(execution_info, exec_properties=properties)
