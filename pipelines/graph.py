"""The graph of a pipeline: a config becomes a plain `tfx.dsl.Pipeline`."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.components.evaluate.metrics import MEDIAN_METRIC
from benison.components.transform import LABEL
from benison.pipelines import made_from
from benison.pipelines.code import cache_key
from benison.pipelines.code.user_code import UserCode
from benison.pipelines.config import AROUND_RUNS
from benison.pipelines.data import ingest, spans

if TYPE_CHECKING:
    from tfx.dsl.components.base.base_node import BaseNode
    from tfx.orchestration.pipeline import Pipeline as TfxPipeline

    from benison.components.deploy.pusher import PushSettings
    from benison.components.ensemble.ensemble_builder import BuilderSettings
    from benison.pipelines.config import Member, Pipeline
    from benison.pipelines.config import Tuner as TunerConfig
    from benison.pipelines.generic.columns import ColumnConfig

# Keys without a part in what is pushed.
_NOT_PUSHED = frozenset({"source"}) | AROUND_RUNS
TRAINING, JUDGING = ("train", "valid"), "test"


def build(config: Pipeline, root: str | Path, window: Sequence[int] = ()) -> TfxPipeline:
    """Build the whole pipeline, from CSV to a pushed ensemble.

    Args:
        config: the pipeline's config.
        root: the folder for artifacts and pushed versions.
        window: for a pipeline with spans, the spans of the run, ascending; see `ingest.build`.

    Returns:
        A pipeline without a metadata connection: the runner connects each node.
    """
    from tfx.components import Evaluator
    from tfx.dsl.experimental.conditionals.conditional import Cond
    from tfx.proto import transform_pb2

    from benison.components.deploy.pusher import Pusher
    from benison.components.deploy.serving_costs import ServingBudget
    from benison.components.deploy.serving_validator import ServingValidator
    from benison.components.ensemble.ensemble_builder import EnsembleBuilder
    from benison.components.evaluate.baseline import Baseline
    from benison.components.evaluate.blessing import ENSEMBLE, Blessing
    from benison.components.evaluate.column_importance import ColumnImportance
    from benison.components.evaluate.own_metrics import OwnMetric
    from benison.components.evaluate.scorer import Scorer
    from benison.components.transform_node import Transform
    from benison.components.validate.label_check import LabelCheck
    from benison.components.validate.overlap_check import OverlapCheck

    root = Path(root).absolute()
    serving = root / "serving" / config.name

    data = ingest.build(config, root, window)
    ignored = [name for name, column in config.columns.items() if column.kind == "ignore"]
    ignored += [name for name in config.withheld if name not in ignored]
    label_check = LabelCheck(
        data.examples,
        data.schema,
        config.label,
        config.problem,
        severity=config.validation.severity.get("leak", "stop"),
        columns=config.validation.columns,
        ignored=ignored,
        positive=config.positive,
        max_missing=config.validation.max_missing_labels,
        weight=config.weight,
    )
    overlap_check = OverlapCheck(
        data.examples,
        data.schema,
        config.label,
        config.data.time,
        ignored,
        config.validation.max_overlap,
        config.splits.by,
    )
    for check in (label_check, overlap_check):
        check.add_upstream_node(data.gate)

    transform = Transform(
        examples=data.examples,
        schema=data.schema,
        preprocessing_fn="benison.components.transform.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=["train"], transform=TRAINING),
        disable_statistics=True,  # no node reads them
        disable_analyzer_cache=True,  # no run reads it, and each split would be analyzed on its own
        custom_config={
            "features": config.features,
            "columns": {name: column.model_dump(exclude_none=True) for name, column in _columns(config).items()},
            "label": config.label,
            "problem": config.problem,
            "positive": config.positive,
            "marks": _marks(config),
            "trees": config.references.get("trees", ""),
            **({"foreign": config.foreign_columns} if config.foreign else {}),
            **({"group": config.splits.by} if config.splits.by else {}),
            **({"weight": config.weight} if config.weight else {}),
            "out_of_fold_below": _out_of_fold_below(config),
            **_user_code(config, "Transform"),
        },
    )
    for check in (data.gate, label_check, overlap_check):  # TFX alone would continue with bad data
        transform.add_upstream_node(check)
    graph = transform.outputs["transform_graph"]

    nodes: list[BaseNode] = [*data.nodes, label_check, overlap_check, transform]
    members = {}
    for name, member in config.ensemble.members.items():
        member_nodes = _member_nodes(name, member, config, transform, data.schema)
        nodes += member_nodes
        members[name] = member_nodes[-1].outputs["model"]

    # Separate from the ensemble's scores, because the combiner is fitted to the members' scores.
    scorer = partial(
        Scorer,
        examples=data.examples,
        transform_graph=graph,
        label=config.label,
        slices=config.slices,
        schema=data.schema,
        weight=config.weight,
    )
    member_scores = scorer(members).with_id("MemberScores")
    ensemble = EnsembleBuilder(
        members,
        member_scores.outputs["scores"],
        graph,
        config.label,
        config.problem,
        _builder_settings(config),
        _user_code(config, "EnsembleBuilder"),
    )
    model = ensemble.outputs["model"]
    baseline = Baseline(model, str(serving), window)
    ensemble_scores = scorer({ENSEMBLE: model}, baseline=baseline.outputs["baseline"], splits=[JUDGING])
    ensemble_scores = ensemble_scores.with_id("EnsembleScores")
    # Only the ensemble: TFMA takes several seconds per model, and Blessing has the members' metrics from their scores.
    evaluator = Evaluator(
        examples=data.examples,
        model=model,
        eval_config=_eval_config(config),
        example_splits=[JUDGING],
        module_path="benison.components.evaluate.labelled_rows",  # rows without a label are in no metric
    )
    judged: dict[str, Any] = {
        "metric": config.metric,
        "costs": config.cost.model_dump() if config.cost else None,
        "confidence": config.blessing.confidence,
        "seed": config.seed,
        "own": [OwnMetric(**metric.model_dump()) for metric in config.metrics],
        "user_code": _user_code(config, "Blessing"),
    }
    importance = ColumnImportance(
        model, members, data.examples, graph, config.label, config.problem, weight=config.weight, **judged
    )
    blessing = Blessing(
        unproven=config.unproven,
        model=model,
        member_scores=member_scores.outputs["scores"],
        ensemble_scores=ensemble_scores.outputs["scores"],
        baseline=baseline.outputs["baseline"],
        label_report=label_check.outputs["report"],
        problem=config.problem,
        additional_rules=_rules(config),
        resamples=config.blessing.resamples,
        **judged,
    )
    converter = None
    with Cond(blessing.outputs["blessing"].future()[0].custom_property("blessed") == 1):
        validator = ServingValidator(
            model,
            members,
            data.examples,
            graph,
            config.label,
            ServingBudget(**config.serving.budget.model_dump()),
            config.serving.fan_out,
        )
        if config.serving.tflite is not None:
            converter = _converter(config, model, data.examples, graph, judged)
    # Not nested in the other Cond: TFX's compiler keeps both conditions, and a skipped node has no blessing to read.
    with Cond(validator.outputs["blessing"].future()[0].custom_property("blessed") == 1):
        pusher = Pusher(
            model=model,
            members=members,
            model_blessing=blessing.outputs["blessing"],
            infra_blessing=validator.outputs["blessing"],
            examples=data.examples,
            transform_graph=graph,
            settings=_push_settings(config, root, window),
            user_code=_user_code(config, "Pusher"),
            data_verdict=data.gate.outputs["verdict"],
            label_report=label_check.outputs["report"],
            lite_model=converter.outputs["lite_model"] if converter else None,
        )
    pusher.add_upstream_node(evaluator)  # no push after a failed evaluation
    nodes += [member_scores, ensemble, baseline, ensemble_scores, evaluator, importance, blessing, validator]
    nodes += [*([converter] if converter else []), pusher]
    return _pipeline(config, root, nodes)


def _converter(config: Pipeline, model: Any, examples: Any, graph: Any, judged: dict[str, Any]) -> BaseNode:
    """Return the node that makes the TensorFlow Lite file, which is judged by the metric of the blessing."""
    from benison.components.deploy.tflite_converter import LiteSettings, TFLiteConverter

    assert config.serving.tflite is not None
    of_blessing = {key: judged[key] for key in ("metric", "costs", "confidence", "seed")}
    settings = LiteSettings(
        **config.serving.tflite.model_dump(),
        **of_blessing,
        weight=config.weight,
        resamples=config.blessing.resamples,
    )
    user_code = _user_code(config, "TFLiteConverter")
    return TFLiteConverter(model, examples, graph, config.label, config.problem, settings, judged["own"], user_code)


def build_ingest(config: Pipeline, root: Path, window: Sequence[int] = (), infer: bool = False) -> TfxPipeline:
    """Build only the nodes up to the anomaly gate: for earlier spans, and for `benison schema`.

    Args:
        config: the pipeline's config.
        root: ROOT.
        window: the span, for a pipeline with spans.
        infer: infer the schema even if there is a curated one.
    """
    return _pipeline(config, root, list(ingest.build(config, root, window, infer=infer, to_gate=True).nodes))


def _member_nodes(name: str, member: Member, config: Pipeline, transform: BaseNode, schema: Any) -> list[BaseNode]:
    """Return a member's Trainer, after its Tuner if it declares a search space; or the import of a finished model."""
    from tfx.components import Trainer
    from tfx.proto import trainer_pb2

    from benison.components.tuning.node import Tuner

    if name in config.foreign:
        return [_import_node(name, member, config, transform)]
    recipe = recipe_of(name, member, config)

    def settings(node: str, unread: Sequence[str], more: dict[str, Any]) -> dict[str, Any]:
        # A node's config is part of its cache key, so it holds only what the node reads.
        return {
            "recipe": {key: value for key, value in recipe.items() if key not in unread},
            "label": config.label,
            **more,
            **_user_code(config, f"{node}.{name}"),
        }

    common = {
        "examples": transform.outputs["transformed_examples"],
        "transform_graph": transform.outputs["transform_graph"],
        "schema": schema,
        "train_args": trainer_pb2.TrainArgs(splits=["train"]),
        "eval_args": trainer_pb2.EvalArgs(splits=["valid"]),
    }
    trainer = partial(
        Trainer,
        run_fn="benison.components.train.trainer.run_fn",
        custom_config=settings("Trainer", ["tuner"], _of_training(config)),
        **common,
    )
    if member.tuner is None:
        return [trainer().with_id(f"Trainer.{name}")]
    tuner = Tuner(custom_config=settings("Tuner", ["epochs", "distribute"], _of_search(member.tuner, config)), **common)
    tuner = tuner.with_id(f"Tuner.{name}")
    return [tuner, trainer(hyperparameters=tuner.outputs["best_hyperparameters"]).with_id(f"Trainer.{name}")]


def _import_node(name: str, member: Member, config: Pipeline, transform: BaseNode) -> BaseNode:
    """Return the node that imports a finished model."""
    from benison.components.train.foreign.importer import ModelImport

    files = config.foreign_files(name)
    return ModelImport(
        transform.outputs["transformed_examples"],
        transform.outputs["transform_graph"],
        config.label,
        foreign_of(name, member, config),
        files,
        {cache_key.USER_CODE: asdict(UserCode((), (files,)))},
    ).with_id(f"Import.{name}")


def foreign_of(name: str, member: Member, config: Pipeline) -> dict[str, Any]:
    """Return the settings of a finished model, the fields of `components.train.foreign.settings.ForeignModel`."""
    return {
        "name": name,
        "kind": member.kind,
        "problem": config.problem,
        "path": member.path,
        "signature": member.signature,
        "inputs": {key: list(columns) for key, columns in member.inputs.items()},
        "missing": dict(member.missing),
        "output": member.output or "",
        "classes": list(member.classes),
        "logits": member.logits,
        "learnt_from": member.learnt_from,
    }


def _of_training(config: Pipeline) -> dict[str, Any]:
    """Return what Trainer reads and Tuner does not."""
    scale = {"label_scale": {"absolute": config.metric == MEDIAN_METRIC}} if config.target == "auto" else {}
    return {"folds": config.ensemble.folds or 0, **scale}


def _of_search(tuner: TunerConfig, config: Pipeline) -> dict[str, Any]:
    """Return what Tuner reads and Trainer does not: what a trial is judged by."""
    from benison.components.evaluate.own_metrics import OwnMetric
    from benison.components.tuning import goal

    if tuner.objective == "loss":
        return {}
    own = [OwnMetric(**metric.model_dump()) for metric in config.metrics]
    costs = config.cost.model_dump() if config.cost else None
    return {"goal": goal.of_metric(config.metric, _threshold(config), costs, own)}


def _threshold(config: Pipeline) -> float | None:
    """Return the lowest probability that decides for the positive class; None: the most likely class."""
    from benison.components.evaluate.metrics import Costs

    return Costs(**config.cost.model_dump()).threshold if config.cost else config.threshold


def _out_of_fold_below(config: Pipeline) -> int:
    """Return the number of labelled rows below which members learn in folds."""
    from benison.components.train.out_of_fold import SOME

    if config.ensemble.folds is None:
        return SOME
    return sys.maxsize if config.ensemble.folds else 0


def recipe_of(name: str, member: Member, config: Pipeline) -> dict[str, Any]:
    """Return a member's settings for Trainer and Tuner: the fields of `benison.components.train.member.Recipe`."""
    return {
        "name": name,
        "kind": member.kind,
        "function": member.function,
        "problem": config.problem,
        "epochs": member.epochs,
        "batch_size": member.batch_size,
        "patience": member.patience,
        "seed": config.seed,
        "imbalance": member.imbalance,
        "hyperparameters": dict(member.hyperparameters),
        "tuner": member.tuner.model_dump(mode="json", exclude_none=True) if member.tuner else None,
        "distribute": member.trainer.distribute,
    }


def _builder_settings(config: Pipeline) -> BuilderSettings:
    """Return the settings for EnsembleBuilder."""
    from benison.components.ensemble.ensemble_builder import BuilderSettings

    ensemble = config.ensemble
    return BuilderSettings(
        combiner=ensemble.combiner,
        weights=dict(ensemble.weights),
        calibration=ensemble.calibration,
        drop=ensemble.drop,
        quorum=ensemble.quorum,
        threshold=_threshold(config),
        seed=config.seed,
        **({"interval": config.interval} if config.interval else {}),
        scaled_interval=config.target == "auto",
        caveat=_caveat(config),
    )


def _caveat(config: Pipeline) -> str:
    """Return why the rows of `blend` and new rows may not be exchangeable; '' if they are as far as is known."""
    reasons = [f"the member {name} may have learnt from these rows" for name in config.unproven]
    if config.data.time:
        reasons.append(f"new rows are later than those of blend ({config.data.time})")
    elif config.splits.by:
        reasons.append(f"rows with the same {config.splits.by} are alike")
    return f"{' and '.join(reasons)}, so this share is not guaranteed" if reasons else ""


def _rules(config: Pipeline) -> list[dict[str, Any]]:
    """Return the rules of the YAML, and the warning about an ensemble that is worse than its best member."""
    rules = [rule.model_dump(exclude_none=True) for rule in config.blessing.rules]
    is_compared = any(
        rule.metric == config.metric and "best_member" in (rule.better_than, rule.not_worse_than) and not rule.slices
        for rule in config.blessing.rules
    )
    if len(config.ensemble.members) > 1 and not is_compared:
        rules.append({"metric": config.metric, "not_worse_than": "best_member", "warns": True})
    return rules


def _push_settings(config: Pipeline, root: Path, window: Sequence[int]) -> PushSettings:
    """Return the settings for Pusher."""
    from benison.components.deploy.pusher import PushSettings
    from benison.serving.versions import object_store

    if config.serving.store:
        object_store.check_library(config.serving.store)
    return PushSettings(
        serving=str(root / "serving" / config.name),
        facts={
            "name": config.name,
            "source": os.path.relpath(
                config.source, root
            ),  # so that a copy of the project with its ROOT is the same one
            "label": config.label,
            "problem": config.problem,
            "purpose": config.purpose or config.description,
            "limits": list(config.limits),
            "missing": list(config.data.missing),
            "delimiter": config.data.delimiter,
            "encoding": config.data.encoding,
            "decimal": config.data.decimal,
            "amounts": dict(config.data.amounts),
            **_readings(config),
            "spans": list(window),
            "span_hashes": spans.content_hashes(root, config.name, window),
            "made_from": made_from.record(config),
            **({"unproven": config.unproven} if config.unproven else {}),
        },
        config=hashlib.sha256(config.model_dump_json(exclude=set(_NOT_PUSHED)).encode()).hexdigest(),
        fan_out=config.serving.fan_out,
        share_runs=config.serving.share_runs,
        promote=config.serving.promote,
        servers=list(config.serving.servers),
        settle_s=config.serving.settle_s,
        store=config.serving.store,
        background=config.serving.background,
        seed=config.seed,
        lite=config.serving.tflite.model_dump() if config.serving.tflite else None,
    )


def _columns(config: Pipeline) -> dict[str, ColumnConfig]:
    """Return the columns in the order of Benison's own features: TFX sorts the keys of what a node is given."""
    return dict(sorted(config.columns.items()))


def _readings(config: Pipeline) -> dict[str, Any]:
    """Return how Benison's own features read the columns: the forms of dates, and the columns of vocabularies."""
    from benison.pipelines.generic.columns import GENERIC, VOCABULARIES
    from benison.pipelines.generic.date_forms import date_pattern

    if config.features.rpartition(":")[0] != GENERIC["features"]:
        return {}
    columns, dates = _columns(config), {}
    for name, column in columns.items():
        if column.kind == "date":
            letters, pattern = date_pattern(column.format)
            dates[name] = {"format": column.format or "ISO 8601", "letters": letters, "pattern": pattern}
    vocabularies = {
        vocabulary: [name for kind in kinds for name, column in columns.items() if column.kind == kind]
        for vocabulary, kinds in VOCABULARIES.items()
    }
    return {"dates": dates, "vocabularies": vocabularies}


def _marks(config: Pipeline) -> dict[str, Any]:
    """Return the fields of `Marks`: what means "no value" in the CSV files means it in requests too."""
    return {} if config.data.tfrecord else {"texts": list(config.data.missing), "decimal": config.data.decimal}


def _user_code(config: Pipeline, node: str) -> dict[str, Any]:
    """Return the part of a node's custom_config that says which functions of the user it runs, and what they read."""
    keys = config.called[node]
    return {cache_key.USER_CODE: asdict(config.user_code(*keys))} if keys else {}


def _eval_config(config: Pipeline) -> Any:
    """Return the metrics for TFMA to compute on `test`, overall and by slice."""
    # The newer TFMA does not export all of these at its top level.
    from tensorflow_model_analysis.proto import config_pb2

    output = "prediction" if config.problem == "regression" else "probabilities"
    classes = {
        "regression": ["MeanSquaredError", "MeanAbsoluteError"],
        "binary": ["AUC", "AUCPrecisionRecall"],
        "multiclass": ["SparseCategoricalAccuracy", "SparseCategoricalCrossentropy"],
    }[config.problem]
    # There are two probabilities per row; binary metrics use the second class's.
    binarize = config_pb2.BinarizationOptions(class_ids={"values": [1]}) if config.problem == "binary" else None
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                signature_name="serving_default",
                prediction_key=output,
                label_key=LABEL,
                **({"example_weight_key": config.weight} if config.weight else {}),
                preprocessing_function_names=["label"],
            )
        ],
        metrics_specs=[
            config_pb2.MetricsSpec(metrics=[config_pb2.MetricConfig(class_name="ExampleCount")]),
            config_pb2.MetricsSpec(
                metrics=[config_pb2.MetricConfig(class_name=name) for name in classes], binarize=binarize
            ),
        ],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=[name]) for name in config.slices),
        ],
    )


def _pipeline(config: Pipeline, root: Path, nodes: list[BaseNode]) -> TfxPipeline:
    from tfx.orchestration.pipeline import Pipeline as TfxPipeline

    return TfxPipeline(
        pipeline_name=config.name,
        pipeline_root=str(root / "artifacts" / config.name),
        components=nodes,
        enable_cache=True,
        beam_pipeline_args=list(config.beam),
    )
