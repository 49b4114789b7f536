"""A pipeline with a runtime parameter and a metadata store of its own, compiled for a scheduler.

python counting.py FOLDER ROOT
"""

import sys
from pathlib import Path
from typing import TypedDict

from tfx import v1 as tfx
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import String


class Counted(TypedDict):
    number: int


@component
def Count(start: Parameter[int]) -> Counted:
    print("counting from", start)
    return {"number": start + 1}


@component
def Write(number: int, message: OutputArtifact[String]):
    message.value = f"it is {number}"


@component
def Read(message: InputArtifact[String]):
    print(message.value)


def create(root: Path) -> tfx.dsl.Pipeline:
    count = Count(start=tfx.dsl.experimental.RuntimeParameter(name="start", ptype=int, default=1))
    write = Write(number=count.outputs["number"])
    with tfx.dsl.Cond(count.outputs["number"].future().value > 100):
        many = Write(number=count.outputs["number"]).with_id("Many")
        read = Read(message=many.outputs["message"])
    connection = tfx.orchestration.metadata.mysql_metadata_connection_config(
        host="db.example", port=3306, database="mlmd", username="me", password="secret"
    )
    return tfx.dsl.Pipeline(
        pipeline_name="counting",
        pipeline_root=str(root / "artifacts"),
        metadata_connection_config=connection,
        components=[count, write, many, read],
    )


if __name__ == "__main__":
    from benison.pipelines.airflow import manifest

    manifest.write_any(create(Path(sys.argv[2])), Path(sys.argv[1]), description="Counts")
