"""Ten pipelines in the shapes of TFX's public examples, from relative paths in the current folder.

python shapes.py SHAPE tfx|benison
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

import parts  # type: ignore[import-not-found]  # beside this script
import tensorflow_model_analysis as tfma
from tfx import v1 as tfx
from tfx.components.example_gen.component import FileBasedExampleGen, QueryBasedExampleGen
from tfx.components.example_gen.custom_executors import parquet_executor
from tfx.components.trainer.executor import GenericExecutor
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.base import executor_spec
from tfx.dsl.control_flow.for_each import ForEach
from tfx.types import standard_artifacts as artifacts

MODULES = Path(__file__).parent / "modules"
ORCHARD, PLAIN = str(MODULES / "orchard.py"), str(MODULES / "plain.py")


@component
def Say(examples: InputArtifact[artifacts.Examples], message: OutputArtifact[artifacts.String]):
    """Stand in the script that runs it."""
    message.value = examples.split_names


def rows(count: int, seed: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    made = []
    for _ in range(count):
        weight, width = round(draw.uniform(100, 200), 2), round(draw.uniform(4, 9), 2)
        ripe = int(weight / 40 + width + draw.gauss(0, 0.5) > 10)
        colours = ["red", "yellow", "red"] if ripe else ["green", "yellow", "green"]
        made.append({"weight": weight, "width": width, "colour": draw.choice(colours), "ripe": ripe})
    return made


def write_csv(folder: str, count: int = 200, seed: int = 1, label: bool = True) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    table = rows(count, seed)
    names = [name for name in table[0] if label or name != "ripe"]
    lines = [",".join(names), *(",".join(str(row[name]) for name in names) for row in table)]
    Path(folder, "rows.csv").write_text("\n".join(lines) + "\n")


def write_records(folder: str, count: int = 120, seed: int = 1) -> None:
    import tensorflow as tf

    Path(folder).mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(f"{folder}/rows.tfrecord.gz", "GZIP") as writer:
        for row in rows(count, seed):
            feature = {
                "weight": tf.train.Feature(float_list=tf.train.FloatList(value=[row["weight"]])),
                "width": tf.train.Feature(float_list=tf.train.FloatList(value=[row["width"]])),
                "colour": tf.train.Feature(bytes_list=tf.train.BytesList(value=[row["colour"].encode()])),
                "ripe": tf.train.Feature(int64_list=tf.train.Int64List(value=[row["ripe"]])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def steps(count: int) -> Any:
    return tfx.proto.TrainArgs(num_steps=count)


def evaluation(lower: float, *slices: str) -> Any:
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                signature_name="serving_default",
                label_key="ripe_xf",
                preprocessing_function_names=["transform_features"],
            )
        ],
        slicing_specs=[tfma.SlicingSpec(), *(tfma.SlicingSpec(feature_keys=[name]) for name in slices)],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[
                    tfma.MetricConfig(class_name="ExampleCount"),
                    tfma.MetricConfig(
                        class_name="AUC",
                        threshold=tfma.MetricThreshold(
                            value_threshold=tfma.GenericValueThreshold(lower_bound={"value": lower}),
                            change_threshold=tfma.GenericChangeThreshold(
                                direction=tfma.MetricDirection.HIGHER_IS_BETTER, absolute={"value": -1e-10}
                            ),
                        ),
                    ),
                ]
            )
        ],
    )


def latest_blessed() -> Any:
    return tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=artifacts.ModelBlessing),
    ).with_id("latest_blessed_model_resolver")


def destination(folder: str) -> Any:
    return tfx.proto.PushDestination(filesystem=tfx.proto.PushDestination.Filesystem(base_directory=folder))


def front(data: str, **transform: Any) -> tuple[Any, ...]:
    """Return ExampleGen, StatisticsGen, SchemaGen and Transform."""
    example_gen = tfx.components.CsvExampleGen(input_base=data)
    statistics_gen = tfx.components.StatisticsGen(examples=example_gen.outputs["examples"])
    schema_gen = tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"], infer_feature_shape=True)
    transform_node = tfx.components.Transform(
        examples=example_gen.outputs["examples"], schema=schema_gen.outputs["schema"], module_file=ORCHARD, **transform
    )
    return example_gen, statistics_gen, schema_gen, transform_node


def trainer(transform: Any, count: int = 4, **more: Any) -> Any:
    return tfx.components.Trainer(
        module_file=ORCHARD,
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        train_args=steps(count),
        eval_args=tfx.proto.EvalArgs(num_steps=1),
        **more,
    )


def simple(run: int) -> list[Any]:
    """CsvExampleGen, two Trainers with GenericExecutor, Pusher; nothing else."""
    write_csv("data")
    example_gen = tfx.components.CsvExampleGen(input_base="data")
    first, second = (
        tfx.components.Trainer(
            module_file=PLAIN,
            custom_executor_spec=executor_spec.ExecutorClassSpec(GenericExecutor),
            examples=example_gen.outputs["examples"],
            train_args=steps(2),
            eval_args=tfx.proto.EvalArgs(num_steps=1),
            custom_config={"epochs": epochs},
        ).with_id(f"Trainer{epochs}")
        for epochs in (2, 3)
    )
    pusher = tfx.components.Pusher(model=second.outputs["model"], push_destination=destination("serving/simple"))
    return [example_gen, first, second, pusher, Say(examples=example_gen.outputs["examples"])]


def tuner(run: int) -> list[Any]:
    """Tuner, and a Trainer that takes its hyperparameters."""
    write_csv("data")
    *nodes, transform = front("data")
    search = tfx.components.Tuner(
        module_file=ORCHARD,
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        train_args=steps(2),
        eval_args=tfx.proto.EvalArgs(num_steps=1),
    )
    return [*nodes, transform, search, trainer(transform, hyperparameters=search.outputs["best_hyperparameters"])]


def baseline(run: int) -> list[Any]:
    """The latest blessed model is the Evaluator's baseline and the Trainer's start; the second run has better data."""
    write_csv("data", 200 + 100 * run)
    example_gen, statistics_gen, schema_gen, transform = front("data")
    blessed = latest_blessed()
    latest_model = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestArtifactStrategy, latest=tfx.dsl.Channel(type=artifacts.Model)
    ).with_id("latest_model_resolver")
    train = trainer(transform, 20 + 20 * run, base_model=latest_model.outputs["latest"])
    evaluator = tfx.components.Evaluator(
        examples=example_gen.outputs["examples"],
        model=train.outputs["model"],
        baseline_model=blessed.outputs["model"],
        eval_config=evaluation(0.6, "colour"),
    )
    pusher = tfx.components.Pusher(
        model=train.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=destination("serving/baseline"),
    )
    return [example_gen, statistics_gen, schema_gen, transform, latest_model, train, blessed, evaluator, pusher]


def conditions(run: int) -> list[Any]:
    """Cond on a blessing, nested and negated; a span from a function component."""
    write_csv(f"data/day-{run + 1}", seed=run)
    span = parts.SpanOf(day=f"2026-{run + 1}")
    example_gen = tfx.components.CsvExampleGen(
        input_base="data",
        input_config=tfx.proto.Input(splits=[tfx.proto.Input.Split(name="all", pattern="day-{SPAN}/*")]),
        range_config=span.outputs["range_config"].future()[0].value,
    )
    statistics_gen = tfx.components.StatisticsGen(examples=example_gen.outputs["examples"])
    schema_gen = tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"])
    transform = tfx.components.Transform(
        examples=example_gen.outputs["examples"], schema=schema_gen.outputs["schema"], module_file=ORCHARD
    )
    train = trainer(transform, 15)
    evaluator = tfx.components.Evaluator(
        examples=example_gen.outputs["examples"],
        model=train.outputs["model"],
        eval_config=evaluation(0.99999 if run else 0.5),
    )
    is_blessed = evaluator.outputs["blessing"].future()[0].custom_property("blessed") == 1
    verdict = parts.Verdict(blessing=evaluator.outputs["blessing"])
    with tfx.dsl.Cond(is_blessed):
        pusher = tfx.components.Pusher(model=train.outputs["model"], push_destination=destination("serving/cond"))
        with tfx.dsl.Cond(verdict.outputs["message"].future().value != "nothing"):
            inner = parts.Announce(text="pushed").with_id("Inner")
    with tfx.dsl.Cond(evaluator.outputs["blessing"].future()[0].custom_property("blessed") != 1):
        refused = parts.Announce(text="refused").with_id("Refused")
    return [span, example_gen, statistics_gen, schema_gen, transform, train, evaluator, verdict, pusher, inner, refused]


CURATED = """
feature { name: "weight" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } float_domain { min: 100 max: 150 } }
feature { name: "width" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
feature { name: "colour" type: BYTES presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } domain: "colours" }
feature { name: "ripe" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
string_domain { name: "colours" value: "red" value: "yellow" }
"""


def importers(run: int) -> list[Any]:
    """A curated schema by Importer and by ImportSchemaGen, hyperparameters of an earlier search, ExampleValidator."""
    write_csv("data")
    Path("schema").mkdir(exist_ok=True)
    Path("schema/schema.pbtxt").write_text(CURATED)
    Path("best").mkdir(exist_ok=True)
    space = {"name": "rate", "value": 0.05}, {"name": "units", "value": 2}
    Path("best/best_hyperparameters.txt").write_text(
        json.dumps(
            {
                "space": [
                    {"class_name": "Fixed", "config": {"conditions": [], **hyperparameter}} for hyperparameter in space
                ],
                "values": {hyperparameter["name"]: hyperparameter["value"] for hyperparameter in space},
            }
        )
    )
    schema = tfx.dsl.Importer(
        source_uri="schema", artifact_type=artifacts.Schema, custom_properties={"who": "me", "version": 2}
    ).with_id("schema_importer")
    best = tfx.dsl.Importer(source_uri="best", artifact_type=artifacts.HyperParameters).with_id("import_hparams")
    again = tfx.dsl.Importer(source_uri="schema", artifact_type=artifacts.Schema, reimport=True).with_id("again")
    imported = tfx.components.ImportSchemaGen(schema_file="schema/schema.pbtxt")
    example_gen = tfx.components.CsvExampleGen(input_base="data")
    statistics_gen = tfx.components.StatisticsGen(
        examples=example_gen.outputs["examples"], schema=schema.outputs["result"], exclude_splits=["eval"]
    )
    validator = tfx.components.ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=imported.outputs["schema"]
    )
    transform = tfx.components.Transform(
        examples=example_gen.outputs["examples"], schema=schema.outputs["result"], module_file=ORCHARD
    )
    train = trainer(transform, hyperparameters=best.outputs["result"], schema=schema.outputs["result"])
    return [schema, best, again, imported, example_gen, statistics_gen, validator, transform, train]


def functions(run: int) -> list[Any]:
    """Function components with every kind of parameter and output, one on Beam, and a component with an executor."""
    write_csv("data")
    example_gen = tfx.components.CsvExampleGen(input_base="data")
    examples = example_gen.outputs["examples"]
    statistics_gen = tfx.components.StatisticsGen(examples=examples)
    schema_gen = tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"])
    greet = parts.Greet(input_data=examples, name="you", settings={"b": 2, "a": 1})
    total = parts.Sum(
        examples=greet.outputs["output_data"],
        schema=schema_gen.outputs["schema"],
        factor=tfx.dsl.experimental.RuntimeParameter(name="factor", ptype=int, default=3),
        weights={"z": [1, 2], "a": []},
    )
    older = parts.Older(basket=total.outputs["basket"], total=total.outputs["total"])
    tell = parts.Tell(**{name: total.outputs[name] for name in ("mean", "name", "large")})
    shorten = parts.Shorten(examples=examples, rows=2)
    after = parts.Announce(text="after").with_id("After")
    after.add_upstream_node(shorten)
    return [example_gen, statistics_gen, schema_gen, greet, total, older, tell, shorten, after, Say(examples=examples)]


def spans(run: int) -> list[Any]:
    """ImportExampleGen with a rolling span, and Transform on the two newest; the second run finds a new span."""
    for split, count in (("train", 120), ("eval", 40)):
        write_records(f"data/span{run + 1}/version1/{split}", count, seed=run)
    example_gen = tfx.components.ImportExampleGen(
        input_base="data",
        input_config=tfx.proto.Input(
            splits=[
                tfx.proto.Input.Split(name=split, pattern=f"span{{SPAN}}/version{{VERSION}}/{split}/*")
                for split in ("train", "eval")
            ]
        ),
    )
    window = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.SpanRangeStrategy,
        config={"range_config": tfx.proto.RangeConfig(rolling_range=tfx.proto.RollingRange(num_spans=2))},
        examples=tfx.dsl.Channel(type=artifacts.Examples, producer_component_id=example_gen.id),
    ).with_id("span_resolver")
    window.add_upstream_node(example_gen)
    statistics_gen = tfx.components.StatisticsGen(examples=example_gen.outputs["examples"])
    schema_gen = tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"])
    count = parts.Count(many=window.outputs["examples"])
    transform = tfx.components.Transform(
        examples=window.outputs["examples"], schema=schema_gen.outputs["schema"], module_file=ORCHARD
    )
    return [example_gen, window, statistics_gen, schema_gen, count, transform, trainer(transform)]


def inference(run: int) -> list[Any]:
    """Transform with hooks, its cache and splits of its own; BulkInferrer on unlabelled rows; a multi-process Beam."""
    write_csv("data", 200 + 50 * run)
    write_csv("unlabelled", 50, seed=9, label=False)
    cache = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestArtifactStrategy,
        cache=tfx.dsl.Channel(type=artifacts.TransformCache),
    ).with_id("transform_cache_resolver")
    example_gen, statistics_gen, schema_gen, transform = front(
        "data",
        analyzer_cache=cache.outputs["cache"],
        splits_config=tfx.proto.SplitsConfig(analyze=["train"], transform=["train", "eval"]),
        custom_config={"buckets": 4},
    )
    train = trainer(transform)
    unlabelled = tfx.components.CsvExampleGen(
        input_base="unlabelled",
        output_config=tfx.proto.Output(
            split_config=tfx.proto.SplitConfig(splits=[tfx.proto.SplitConfig.Split(name="all", hash_buckets=1)])
        ),
    ).with_id("unlabelled_example_gen")
    inferrer = tfx.components.BulkInferrer(
        examples=unlabelled.outputs["examples"],
        model=train.outputs["model"],
        data_spec=tfx.proto.DataSpec(),
        model_spec=tfx.proto.ModelSpec(),
    )
    return [example_gen, statistics_gen, schema_gen, cache, transform, train, unlabelled, inferrer]


def executors(run: int) -> list[Any]:
    """ExampleGens with executors of TFX and of the user: Parquet, JSON lines, a query."""
    import pandas as pd

    write_csv("data")
    for folder in ("parquet", "lines"):
        Path(folder).mkdir(exist_ok=True)
    pd.DataFrame(rows(80, 1)).to_parquet("parquet/rows.parquet")
    Path("lines/rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows(90, 2)))
    buckets = [tfx.proto.SplitConfig.Split(name=name, hash_buckets=count) for name, count in (("a", 3), ("b", 1))]
    output = tfx.proto.Output(split_config=tfx.proto.SplitConfig(splits=buckets, partition_feature_name="colour"))
    parquet = FileBasedExampleGen(
        input_base="parquet", custom_executor_spec=executor_spec.BeamExecutorSpec(parquet_executor.Executor)
    ).with_id("parquet")
    lines = FileBasedExampleGen(
        input_base="lines",
        input_config=tfx.proto.Input(splits=[tfx.proto.Input.Split(name="lines", pattern="*.jsonl")]),
        output_config=output,
        custom_executor_spec=executor_spec.BeamExecutorSpec(parts.LinesExecutor),
    ).with_id("lines")
    query = QueryBasedExampleGen(
        input_config=tfx.proto.Input(splits=[tfx.proto.Input.Split(name="all", pattern="select 30")]),
        custom_executor_spec=executor_spec.BeamExecutorSpec(parts.QueryExecutor),
    ).with_id("query")
    statistics = [
        tfx.components.StatisticsGen(examples=node.outputs["examples"]).with_id(f"{node.id}_statistics")
        for node in (parquet, lines, query)
    ]
    return [parquet, lines, query, *statistics]


def loops(run: int) -> list[Any]:
    """ForEach, SchemaGen without shapes, ExampleValidator, a Trainer on raw rows with a schema, a runtime parameter."""
    write_csv("data")
    example_gen = tfx.components.CsvExampleGen(
        input_base=tfx.dsl.experimental.RuntimeParameter(name="data-root", ptype=str, default="data")
    )
    with ForEach(example_gen.outputs["examples"]) as examples:
        statistics_gen = tfx.components.StatisticsGen(examples=examples)
    schema_gen = tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"], infer_feature_shape=False)
    validator = tfx.components.ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema_gen.outputs["schema"]
    )
    shaped = tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"]).with_id("shaped")
    train = tfx.components.Trainer(
        run_fn="modules.plain.run_fn",
        examples=example_gen.outputs["examples"],
        schema=shaped.outputs["schema"],
        train_args=steps(2),
        eval_args=tfx.proto.EvalArgs(num_steps=1),
    )
    return [example_gen, statistics_gen, schema_gen, validator, shaped, train]


SHAPES = (simple, tuner, baseline, conditions, importers, functions, spans, inference, executors, loops)
TWICE = ("baseline", "conditions", "spans", "inference")  # the second run finds what the first one has left


def create(shape: str, run: int) -> tfx.dsl.Pipeline:
    make = next(make for make in SHAPES if make.__name__ == shape)
    nodes = make(run)
    last = parts.Surroundings().with_id("Last")
    last.add_upstream_nodes(
        [node for node in nodes if node.id not in ("Pusher", "Inner", "Refused") or shape != "conditions"]
    )
    return tfx.dsl.Pipeline(
        pipeline_name=shape,
        pipeline_root=f"tfx/pipelines/{shape}",
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            "tfx/metadata/metadata.db"
        ),
        components=[parts.Surroundings().with_id("First"), *nodes, last],
        enable_cache=True,
        beam_pipeline_args=["--direct_running_mode=multi_processing", "--direct_num_workers=1"]
        if shape == "inference"
        else [],
    )


def main(shape: str, runner: str) -> None:
    for run in range(2 if shape in TWICE else 1):
        pipeline = create(shape, run)
        if runner == "tfx":
            tfx.orchestration.LocalDagRunner().run(pipeline)
        else:
            from benison import LocalRunner

            LocalRunner().run(pipeline)


if __name__ == "__main__":
    main(*sys.argv[1:])
