"""A user's own components: functions, a class with an executor, and executors of ExampleGen."""

import json
from typing import TypedDict

import apache_beam as beam
import tensorflow as tf
from tfx import types
from tfx.components.example_gen.base_example_gen_executor import BaseExampleGenExecutor
from tfx.dsl.component.experimental.annotations import (
    BeamComponentParameter,
    InputArtifact,
    OutputArtifact,
    OutputDict,
    Parameter,
)
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types.artifact import Artifact, Property, PropertyType
from tfx.types.artifact_utils import get_single_instance, get_split_uri
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.types.standard_artifacts import Examples, JsonValue, Model, ModelBlessing, Schema, String


class Basket(Artifact):
    """A type of the user's own."""

    TYPE_NAME = "Basket"
    PROPERTIES = {"fruits": Property(type=PropertyType.INT), "name": Property(type=PropertyType.STRING)}


@component
def Surroundings(message: OutputArtifact[String]):
    """Report what a node finds in its process."""
    import decimal
    import gc
    import locale
    import os
    import sys

    import keras
    import numpy as np

    mask = os.umask(0)
    os.umask(mask)
    found = {
        "environment": dict(os.environ),
        "path": sys.path,
        "folder": os.getcwd(),
        "locale": locale.setlocale(locale.LC_ALL),
        "encoding": [sys.getdefaultencoding(), sys.getfilesystemencoding(), locale.getpreferredencoding()],
        "umask": mask,
        "tf.keras": tf.keras.Model.__module__.partition(".")[0],
        "policy": keras.mixed_precision.dtype_policy().name,
        "float": keras.backend.floatx(),
        "images": keras.backend.image_data_format(),
        "numpy": {key: str(value) for key, value in np.get_printoptions().items()},
        "errors": np.geterr(),
        "threads": [tf.config.threading.get_inter_op_parallelism_threads(),
                    tf.config.threading.get_intra_op_parallelism_threads()],
        "eager": [tf.executing_eagerly(), tf.config.functions_run_eagerly()],
        "decimal": decimal.getcontext().prec,
        "recursion": sys.getrecursionlimit(),
        "garbage": [gc.isenabled(), gc.get_threshold()],
        "optimize": sys.flags.optimize,
        "unseeded": __import__("random").random(),
    }  # fmt: skip
    message.value = json.dumps(found)


@component
def SpanOf(day: Parameter[str], range_config: OutputArtifact[String]):
    number = int(day.rpartition("-")[2])
    range_config.value = json.dumps({"static_range": {"start_span_number": number, "end_span_number": number}})


@component
def Announce(text: Parameter[str], message: OutputArtifact[String]):
    message.value = text


@component
def Verdict(blessing: InputArtifact[ModelBlessing], message: OutputArtifact[String]):
    message.value = f"blessed: {blessing.get_int_custom_property('blessed')}"


class Sums(TypedDict):
    total: int
    mean: float
    name: str
    raw: bytes
    large: bool
    table: dict[str, list[int]]


@component
def Sum(
    examples: InputArtifact[Examples],
    schema: InputArtifact[Schema],
    factor: Parameter[int],
    weights: Parameter[dict[str, list[int]]],
    basket: OutputArtifact[Basket],
    label: Parameter[str] = None,
    model: InputArtifact[Model] = None,
    rate: Parameter[float] = 0.5,
) -> Sums:
    rows = 0
    for file in sorted(tf.io.gfile.glob(f"{examples.uri}/Split-*/*")):
        rows += sum(1 for _ in tf.data.TFRecordDataset(file, compression_type="GZIP"))
    basket.fruits = rows
    basket.name = str(label)
    basket.set_string_custom_property("who", f"{model is None} {tf.io.gfile.listdir(schema.uri)}")
    tf.io.gfile.makedirs(basket.uri)
    with tf.io.gfile.GFile(f"{basket.uri}/list.txt", "w") as file:
        file.write(f"{rows}\n")
    return {
        "total": rows * factor, "mean": rows * rate, "name": "sum", "raw": b"\0\xff", "large": rows > 100,
        "table": {**weights, "rows": [rows]},
    }  # fmt: skip


@component
def Older(basket: InputArtifact[Basket], total: int) -> OutputDict(text=str):  # type: ignore[valid-type]
    return {"text": f"{basket.fruits} {basket.name} {total}"}


@component
def Tell(mean: float, name: str, large: bool, message: OutputArtifact[String]):
    message.value = f"{mean} {name} {large}"


@component(use_beam=True)
def Shorten(
    examples: InputArtifact[Examples],
    names: OutputArtifact[String],
    rows: Parameter[int],
    beam_pipeline: BeamComponentParameter[beam.Pipeline] = None,
):
    with beam_pipeline as pipeline:
        _ = (
            pipeline
            | beam.io.ReadFromTFRecord(f"{examples.uri}/Split-eval/*")
            | beam.Map(
                lambda record: tf.train.Example.FromString(record).features.feature["colour"].bytes_list.value[0]
            )
            | beam.combiners.Count.PerElement()
            | beam.combiners.ToList()
            | beam.Map(lambda pairs: json.dumps(sorted((key.decode(), count) for key, count in pairs)[:rows]))
            | beam.io.WriteToText(names.uri, shard_name_template="")
        )


@component
def Count(many: InputArtifact[list[Examples]], table: OutputArtifact[JsonValue]):
    table.value = {"spans": [examples.get_string_custom_property("span") or examples.span for examples in many]}


class GreetSpec(ComponentSpec):
    PARAMETERS = {
        "name": ExecutionParameter(type=str),
        "settings": ExecutionParameter(type=dict[str, int]),
        "maybe": ExecutionParameter(type=int, optional=True),
    }
    INPUTS = {"input_data": ChannelParameter(type=Examples)}
    OUTPUTS = {"output_data": ChannelParameter(type=Examples), "said": ChannelParameter(type=String)}


class GreetExecutor(base_executor.BaseExecutor):
    """Copies the examples, and says which properties it has got."""

    def Do(self, input_dict, output_dict, exec_properties):
        source, target = (get_single_instance(each) for each in (input_dict["input_data"], output_dict["output_data"]))
        target.split_names = source.split_names
        for split in json.loads(source.split_names):
            folder = get_split_uri([target], split)
            tf.io.gfile.makedirs(folder)
            for name in tf.io.gfile.listdir(get_split_uri([source], split)):
                tf.io.gfile.copy(f"{get_split_uri([source], split)}/{name}", f"{folder}/{name}")
        said = {"properties": exec_properties, "inputs": sorted(input_dict), "outputs": sorted(output_dict)}
        get_single_instance(output_dict["said"]).value = json.dumps(said, sort_keys=True)


class Greet(base_component.BaseComponent):
    SPEC_CLASS = GreetSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(GreetExecutor)

    def __init__(self, input_data, name, settings):
        super().__init__(
            GreetSpec(
                input_data=input_data,
                name=name,
                settings=settings,
                output_data=types.Channel(type=Examples),
                said=types.Channel(type=String),
            )
        )


@beam.ptransform_fn
def _lines_to_examples(pipeline, exec_properties, split_pattern):
    def example(line):
        row = json.loads(line)
        return tf.train.Example(
            features=tf.train.Features(
                feature={
                    "weight": tf.train.Feature(float_list=tf.train.FloatList(value=[row["weight"]])),
                    "colour": tf.train.Feature(bytes_list=tf.train.BytesList(value=[row["colour"].encode()])),
                    "ripe": tf.train.Feature(int64_list=tf.train.Int64List(value=[row["ripe"]])),
                }
            )
        )

    return pipeline | beam.io.ReadFromText(f"{exec_properties['input_base']}/{split_pattern}") | beam.Map(example)


class LinesExecutor(BaseExampleGenExecutor):
    """Reads JSON lines."""

    def GetInputSourceToExamplePTransform(self):
        return _lines_to_examples


@beam.ptransform_fn
def _query_to_examples(pipeline, exec_properties, split_pattern):
    return (
        pipeline
        | beam.Create([split_pattern])
        | beam.FlatMap(lambda query: range(int(query.rpartition(" ")[2])))
        | beam.Map(
            lambda number: tf.train.Example(
                features=tf.train.Features(
                    feature={"n": tf.train.Feature(int64_list=tf.train.Int64List(value=[number]))}
                )
            )
        )
    )


class QueryExecutor(BaseExampleGenExecutor):
    """Answers a query with as many rows as it names."""

    def GetInputSourceToExamplePTransform(self):
        return _query_to_examples
