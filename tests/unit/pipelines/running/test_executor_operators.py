"""Executors are called as TFX calls them, with output folders that are empty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.proto.orchestration import executable_spec_pb2
from tfx.types import standard_artifacts

from benison.pipelines.running.executor_operators import InThisProcess


class Writes:
    """An executor that writes one file."""

    def __init__(self, context: Any) -> None:
        pass

    def Do(self, inputs: Any, outputs: dict[str, list[Any]], properties: Any) -> None:
        Path(outputs["examples"][0].uri, "data-00000-of-00001").touch()


def test_files_of_an_execution_that_ml_metadata_has_lost_are_no_part_of_the_output(tmp_path: Path) -> None:
    examples = standard_artifacts.Examples()
    examples.uri = str(tmp_path / "examples/1")
    Path(examples.uri).mkdir(parents=True)
    for number in range(3):
        Path(examples.uri, f"data-0000{number}-of-00003").touch()
    spec = executable_spec_pb2.PythonClassExecutableSpec(class_path=f"{__name__}.Writes")
    operator = InThisProcess(spec)
    operator._executor_cls = Writes
    operator.run_executor(
        ExecutionInfo(
            execution_id=1,
            input_dict={},
            output_dict={"examples": [examples]},
            exec_properties={},
            execution_output_uri=str(tmp_path / "output"),
            stateful_working_dir=str(tmp_path / "work"),
            tmp_dir=str(tmp_path / "tmp"),
        )
    )
    assert [path.name for path in Path(examples.uri).iterdir()] == ["data-00000-of-00001"]
