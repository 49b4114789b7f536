"""Components that go wrong, each in its own way."""

import os
import signal
import sys
from pathlib import Path

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import Model, String

from benison.serving.errors import DataError


@component
def Fine(message: OutputArtifact[String]):
    message.value = "fine"


@component
def After(before: InputArtifact[String], message: OutputArtifact[String]):
    message.value = "after"


@component
def NeedsModel(model: InputArtifact[Model], message: OutputArtifact[String]):
    message.value = model.uri


@component
def Deadly(before: InputArtifact[String], model: OutputArtifact[Model], cure: Parameter[str]):
    Path(model.uri, "half").write_text("")
    if not os.path.exists(cure):
        os.kill(os.getpid(), signal.SIGKILL)


@component
def UsesModel(model: InputArtifact[Model]):
    print(os.listdir(model.uri))


@component
def Raises(message: OutputArtifact[String]):
    print("about to fail", end="")
    raise ValueError("first line\nsecond line")


@component
def Invalid(message: OutputArtifact[String]):
    raise DataError("rows.csv, line 3: not a number")


@component
def Exits(model: OutputArtifact[Model]):
    Path(model.uri, "half").write_text("")
    sys.exit(0)


@component
def Waits(file: Parameter[str], message: OutputArtifact[String]):
    import time

    Path(f"{file}.begun").touch()
    while not os.path.exists(file):
        time.sleep(0.05)
