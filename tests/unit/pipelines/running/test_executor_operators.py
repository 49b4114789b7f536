"""Executors are called as TFX calls them, with output folders that are empty."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.proto.orchestration import executable_spec_pb2
from tfx.types import standard_artifacts

from benison.pipelines.running.executor_operators import InThisProcess
from benison.serving.errors import NodeFailed


def _execution(folder: Path, inputs: Any = None, outputs: Any = None) -> ExecutionInfo:
    return ExecutionInfo(
        execution_id=1,
        input_dict=inputs or {},
        output_dict=outputs or {},
        exec_properties={},
        execution_output_uri=str(folder / "output"),
        stateful_working_dir=str(folder / "work"),
        tmp_dir=str(folder / "tmp"),
    )


class Writes:
    """An executor that writes one file."""

    def __init__(self, context: Any) -> None:
        pass

    def Do(self, inputs: Any, outputs: dict[str, list[Any]], properties: Any) -> None:
        Path(outputs["examples"][0].uri, "data-00000-of-00001").touch()


class Reads:
    """An executor that reads a file of its input."""

    def __init__(self, context: Any) -> None:
        pass

    def Do(self, inputs: dict[str, list[Any]], outputs: Any, properties: Any) -> None:
        raise KeyError(Path(inputs["examples"][0].uri, "data").read_text())


@pytest.mark.parametrize("removed", [True, False])
def test_a_folder_that_was_removed_during_the_run_is_named(tmp_path: Path, removed: bool) -> None:
    examples = standard_artifacts.Examples()
    examples.uri = str(tmp_path / "examples/1")
    Path(examples.uri).mkdir(parents=True)
    Path(examples.uri, "data").touch()
    operator = InThisProcess(executable_spec_pb2.PythonClassExecutableSpec(class_path=f"{__name__}.Reads"))
    operator._executor_cls = Reads
    if removed:
        shutil.rmtree(tmp_path / "examples")
    error, message = (NodeFailed, f"{examples.uri}: it was removed during the run, or") if removed else (KeyError, "''")
    with pytest.raises(error, match=message):
        operator.run_executor(_execution(tmp_path, inputs={"examples": [examples]}))


def test_files_of_an_execution_that_ml_metadata_has_lost_are_no_part_of_the_output(tmp_path: Path) -> None:
    examples = standard_artifacts.Examples()
    examples.uri = str(tmp_path / "examples/1")
    Path(examples.uri).mkdir(parents=True)
    for number in range(3):
        Path(examples.uri, f"data-0000{number}-of-00003").touch()
    spec = executable_spec_pb2.PythonClassExecutableSpec(class_path=f"{__name__}.Writes")
    operator = InThisProcess(spec)
    operator._executor_cls = Writes
    operator.run_executor(_execution(tmp_path, outputs={"examples": [examples]}))
    assert [path.name for path in Path(examples.uri).iterdir()] == ["data-00000-of-00001"]
