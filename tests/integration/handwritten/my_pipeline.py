"""A pipeline as a user of TFX writes it, without anything of Benison's but the runner.

python my_pipeline.py tfx|benison DATA ROOT
"""

import sys
from pathlib import Path

from nodes import Announce, Count, Read, Surroundings  # type: ignore[import-not-found]  # beside this script
from tfx import v1 as tfx

HERE = Path(__file__).parent


def create(data: Path, root: Path) -> tfx.dsl.Pipeline:
    example_gen = tfx.components.CsvExampleGen(input_base=str(data))
    examples = example_gen.outputs["examples"]
    statistics_gen = tfx.components.StatisticsGen(examples=examples)
    schema_gen = tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"], infer_feature_shape=True)
    latest_schema = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestArtifactStrategy, schema=schema_gen.outputs["schema"]
    ).with_id("LatestSchema")
    transform = tfx.components.Transform(
        examples=examples, schema=latest_schema.outputs["schema"], module_file=str(HERE / "modules" / "features.py")
    )
    latest_best = tfx.dsl.Resolver(  # it never finds any
        strategy_class=tfx.dsl.experimental.LatestArtifactStrategy,
        best=tfx.dsl.Channel(type=tfx.types.standard_artifacts.HyperParameters),
    ).with_id("LatestBest")
    trainer = tfx.components.Trainer(
        module_file=str(HERE / "modules" / "model.py"),
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        hyperparameters=latest_best.outputs["best"],
        train_args=tfx.proto.TrainArgs(num_steps=5),
        eval_args=tfx.proto.EvalArgs(num_steps=1),
    )
    latest_blessed = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
    ).with_id("LatestBlessed")
    count = Count(examples=examples, schema=latest_schema.outputs["schema"], blessed=latest_blessed.outputs["model"])
    with tfx.dsl.Cond(count.outputs["rows"].future().value > 100):
        many = Announce(rows=count.outputs["rows"]).with_id("Many")
    with tfx.dsl.Cond(count.outputs["rows"].future().value > 1000):
        too_many = Announce(rows=count.outputs["rows"]).with_id("TooMany")
        read = Read(message=too_many.outputs["message"])
    surroundings = Surroundings(model=trainer.outputs["model"])
    return tfx.dsl.Pipeline(
        pipeline_name="handwritten",
        pipeline_root=str(root / "handwritten"),
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(root / "own.sqlite")
        ),
        components=[
            example_gen,
            statistics_gen,
            schema_gen,
            latest_schema,
            transform,
            latest_best,
            trainer,
            latest_blessed,
            count,
            many,
            too_many,
            read,
            surroundings,
        ],
        enable_cache=True,
    )


def main(runner: str, data: Path, root: Path) -> None:
    pipeline = create(data, root)
    if runner == "tfx":
        tfx.orchestration.LocalDagRunner().run(pipeline)
        return
    from benison.pipelines.runner import LocalRunner

    LocalRunner(root).run(pipeline)
    LocalRunner(root).run(pipeline)
    nodes = HERE / "nodes.py"
    nodes.write_text(nodes.read_text().replace('} rows"', '} rows in all"'))
    (HERE / "words.txt").write_text("two")
    LocalRunner(root).run(pipeline)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
