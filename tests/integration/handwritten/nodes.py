"""A user's own components, in a folder that is not installed.

They are not in the folder of Transform's and Trainer's modules: TFX packs that folder, so an edit here would run both
again.
"""

from typing import TypedDict

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import Examples, Model, Schema, String


class Counted(TypedDict):
    rows: int
    models: int


@component
def Count(
    examples: InputArtifact[Examples],
    schema: InputArtifact[Schema],
    blessed: InputArtifact[Model] = None,
) -> Counted:
    import tensorflow as tf

    rows = 0
    for file in tf.io.gfile.glob(f"{examples.uri}/Split-*/*"):
        rows += sum(1 for _ in tf.data.TFRecordDataset(file, compression_type="GZIP"))
    return {"rows": rows, "models": 0 if blessed is None else 1}


@component
def Announce(rows: int, message: OutputArtifact[String]):
    message.value = f"{rows} rows"


@component
def Surroundings(model: InputArtifact[Model], message: OutputArtifact[String]):
    """Report what a node finds in its process."""
    import json
    import locale
    import os
    from pathlib import Path

    import tensorflow as tf

    print(Path(__file__).with_name("words.txt").read_text())
    message.value = json.dumps(
        {
            "environment": dict(os.environ),
            "folder": os.getcwd(),
            "locale": locale.setlocale(locale.LC_ALL),
            "tf.keras": tf.keras.Model.__module__.partition(".")[0],
        }
    )


@component
def Read(message: InputArtifact[String]):
    print(message.uri)
