"""ColumnImportance: measures what each raw column is worth to the ensemble and its members, on rows of `test`.

No node needs its output. It runs beside the nodes that judge the ensemble, so that a run hardly takes longer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from benison.components import raw_examples
from benison.components.evaluate import column_permutation, own_metrics
from benison.components.evaluate.blessing import ENSEMBLE
from benison.components.evaluate.column_permutation import Importances, Plan
from benison.components.evaluate.own_metrics import OwnMetric
from benison.components.evaluate.raw_rows import random_rows, raw_rows
from benison.components.evaluate.scorer import TEST, ExampleReader
from benison.components.train.member import class_names
from benison.serving import missing_values
from benison.serving.ensemble import Ensemble

FILE = "importance.json"
_MOST_SEEN = 200_000  # rows of `test` that the sample is taken from
_MEMBERS = "importances.json"  # of a member that knows the importance of its columns
_SHOWN = 5


class ColumnImportances(types.Artifact):
    """`importance.json`, see `benison.components.evaluate.column_permutation.Importances`."""

    TYPE_NAME = "ColumnImportance"


class Executor(base_executor.BaseExecutor):
    """Executor that answers shuffled rows with the ensemble's signature `members`, which has Transform's graph once."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        import tensorflow as tf
        import tensorflow_transform as tft

        settings = json.loads(exec_properties["settings"])
        transform = tft.TFTransformOutput(artifact_utils.get_single_uri(input_dict["transform_graph"]))
        built = Path(artifact_utils.get_single_uri(input_dict["model"]))
        model, classes = Path(path_utils.serving_model_path(str(built))), tuple(class_names(transform))
        label, weight, seed = exec_properties["label"], settings["weight"], settings["seed"]
        spec = Ensemble.load(built, allow_code=True)
        own = own_metrics.parse(exec_properties["custom_config"])
        metric = own_metrics.metric_of(
            settings["metric"], exec_properties["problem"], classes, spec.threshold, settings["costs"], own
        )

        reader = ExampleReader(input_dict["examples"], transform.raw_feature_spec(), label, classes, weight)
        arguments = missing_values.arguments(missing_values.read_inputs(model) or {})
        plan = Plan.of(_MOST_SEEN, len(arguments))
        records, labels, weights = _sample(reader, plan.rows, seed)
        plan = Plan.of(len(labels), len(arguments))
        raw_spec = raw_examples.request_spec(transform, label)
        by_argument = raw_rows(records, raw_spec, arguments)
        importances = column_permutation.measure(
            {column: by_argument[argument] for column, argument in arguments.items()},
            labels if classes else labels[:, None],
            weights,
            metric,
            _answers(model, spec, arguments),
            plan,
            column_permutation.ranked(list(arguments), _of_members(input_dict)),
            confidence=settings["confidence"],
            seed=seed,
            refusals=(tf.errors.OpError,),
        )
        text = json.dumps(importances.to_json(), indent=2)
        Path(artifact_utils.get_single_uri(output_dict["importances"]), FILE).write_text(text, encoding="utf-8")
        print(_summary(importances))


class ColumnImportance(base_component.BaseComponent):
    """Node that measures what each raw column is worth.

    Args:
        model: the ensemble, EnsembleBuilder's output.
        members: channel of each trained member's model, by name; where columns are too many, their own importances
            tell which ones are measured.
        examples: raw examples with the split `test`.
        transform_graph: Transform's output.
        label: name of the raw label.
        problem: binary, multiclass or regression.
        metric: metric of the pipeline.
        costs: {false_negative, false_positive} of a binary problem; None if they are unknown.
        weight: name of the raw column of sample weights; None if all rows count the same.
        confidence: confidence level of the intervals, between 0 and 1.
        seed: seed of the sample and the shuffles.
        own: the user's own metrics.
        user_code: added to `custom_config`, for the cache key (benison.pipelines.code.cache_key).
    """

    SPEC_CLASS = ComponentSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        members: Mapping[str, types.BaseChannel],
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        label: str,
        problem: str,
        metric: str,
        costs: Mapping[str, float] | None,
        weight: str | None,
        confidence: float,
        seed: int,
        own: Sequence[OwnMetric] = (),
        user_code: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        # One input per member, so that lineage names them; so the spec depends on the members and is defined here.
        class Spec(ComponentSpec):
            PARAMETERS = {
                "label": ExecutionParameter(type=str),
                "problem": ExecutionParameter(type=str),
                "settings": ExecutionParameter(type=str),
                "custom_config": ExecutionParameter(type=str),
            }
            INPUTS = {
                "model": ChannelParameter(type=standard_artifacts.Model),
                **{f"model_{name}": ChannelParameter(type=standard_artifacts.Model) for name in members},
                "examples": ChannelParameter(type=standard_artifacts.Examples),
                "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
            }
            OUTPUTS = {"importances": ChannelParameter(type=ColumnImportances)}

        settings = {"metric": metric, "costs": costs, "weight": weight or "", "confidence": confidence, "seed": seed}
        super().__init__(
            Spec(
                model=model,
                **{f"model_{name}": channel for name, channel in members.items()},
                examples=examples,
                transform_graph=transform_graph,
                label=label,
                problem=problem,
                settings=json.dumps(settings, sort_keys=True),
                custom_config=own_metrics.to_json(own, user_code),
                importances=types.Channel(type=ColumnImportances),
            )
        )


def _sample(reader: ExampleReader, rows: int, seed: int) -> tuple[NDArray, NDArray, NDArray | None]:
    """Choose labelled rows of `test` at random: serialised examples, labels, and sample weights or None."""
    batches = (
        [records, labels, *([] if weights is None else [weights])]
        for records, labels, _, weights in reader.batches(TEST, [])
    )
    columns = random_rows(batches, rows, seed, _MOST_SEEN)
    if not columns:
        return np.zeros(0, object), np.zeros(0, np.int64 if reader.classes else np.float32), None
    records, labels, *weighted = columns
    return records, labels, weighted[0].astype(np.float64) if weighted else None


def _answers(model: Path, spec: Ensemble, arguments: Mapping[str, str]) -> Any:
    """Return a function from the values of columns to the answers of the ensemble and its members."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(model))
    signature = loaded.signatures["members"]
    types_of = {name: tensor.dtype for name, tensor in signature.structured_input_signature[1].items()}

    def answer(inputs: Mapping[str, NDArray]) -> dict[str, NDArray]:
        assert loaded  # without it, the variables of the signature would be gone
        tensors = {arguments[name]: tf.constant(values, types_of[arguments[name]]) for name, values in inputs.items()}
        outputs = {name: value.numpy() for name, value in signature(**tensors).items()}
        return {ENSEMBLE: spec.combine(outputs).numpy(), **{name: outputs[name] for name in spec.members}}

    return answer


def _of_members(input_dict: Mapping[str, list[types.Artifact]]) -> list[dict[str, float]]:
    """Return the importances of columns to each member that knows them."""
    folders = [artifact_utils.get_single_uri(a) for key, a in input_dict.items() if key.startswith("model_")]
    files = [file for folder in folders if (file := Path(folder, _MEMBERS)).is_file()]
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def _summary(importances: Importances) -> str:
    losses = list(importances.models.get(ENSEMBLE, {}).items())
    first = ", ".join(f"{name} {loss.lost:.3g}" for name, loss in losses[:_SHOWN] if loss.lost is not None)
    rest = f"; {len(importances.not_measured)} columns not measured" if importances.not_measured else ""
    return f"{importances.metric} lost without a column, on {importances.rows} rows: {first or 'nothing'}{rest}"
