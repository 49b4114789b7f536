"""Blessing: may the ensemble be pushed? Rule by rule, with the figures, and a word in every case.

TFX's Evaluator writes no blessing at all where no threshold is set, and compares only with what an Evaluator blessed
before, pushed or not. This node always says blessed or not and why, and compares with what is served.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components import baseline as baselines
from components import rules
from components.metrics import Costs, metrics_of
from components.scorer import SERVED, ModelScores, Scores

FILE = "blessing.json"
ENSEMBLE = "ensemble"


class Executor(base_executor.BaseExecutor):
    """Judges the ensemble's scores on `test`, and tabulates all models'."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        of_members = _on_test(Scores.load(Path(artifact_utils.get_single_uri(input_dict["member_scores"]))))
        of_ensemble = _on_test(Scores.load(Path(artifact_utils.get_single_uri(input_dict["ensemble_scores"]))))
        problem = exec_properties["problem"]
        options = _judgement(exec_properties["judgement"])
        judged = rules.judge(
            problem=problem,
            metric=exec_properties["metric"],
            labels=_labels(of_ensemble),
            ensemble=of_ensemble.outputs[ENSEMBLE],
            reference=of_ensemble.reference,
            served=of_ensemble.outputs.get(SERVED),
            no_baseline=of_ensemble.absent.get(SERVED, rules.NOTHING_SERVED),
            **options,
        )
        outputs = {**of_members.outputs, **of_ensemble.outputs}
        record = {
            **judged.to_json(),
            "metric": exec_properties["metric"],
            "metrics": _table(problem, options["costs"], _labels(of_ensemble), outputs),
            "slices": _slices(problem, options["costs"], of_ensemble, outputs),
            "baseline": baselines.load(artifact_utils.get_single_instance(input_dict["baseline"])),
        }
        self._publish(artifact_utils.get_single_instance(output_dict["blessing"]), input_dict["model"], record)

    def _publish(self, artifact: types.Artifact, model: list[types.Artifact], record: Mapping[str, Any]) -> None:
        """Marks the artifact as TFX's Evaluator does, so that its Pusher and its resolvers understand it."""
        folder = Path(artifact.uri)
        (folder / FILE).write_text(json.dumps(record, indent=2))
        candidate = artifact_utils.get_single_instance(model)
        artifact.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, candidate.uri)
        artifact.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, candidate.id)
        blessed = record["blessed"]
        artifact.set_int_custom_property(
            constants.ARTIFACT_PROPERTY_BLESSED_KEY, constants.BLESSED_VALUE if blessed else constants.NOT_BLESSED_VALUE
        )
        (folder / (constants.BLESSED_FILE_NAME if blessed else constants.NOT_BLESSED_FILE_NAME)).touch()
        refused = [f"{v['rule']}: {v['reason']}" for v in record["verdicts"] if not v["passed"]]
        artifact.set_string_custom_property("reason", "; ".join(refused))
        for verdict in record["verdicts"]:
            print("passed " if verdict["passed"] else "REFUSED", verdict["rule"], "-", verdict["reason"])
        print("blessed" if blessed else "NOT BLESSED")


class _Spec(ComponentSpec):
    PARAMETERS = {
        "problem": ExecutionParameter(type=str),
        "metric": ExecutionParameter(type=str),
        "judgement": ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "member_scores": ChannelParameter(type=ModelScores),
        "ensemble_scores": ChannelParameter(type=ModelScores),
        "baseline": ChannelParameter(type=baselines.Served),
    }
    OUTPUTS = {"blessing": ChannelParameter(type=standard_artifacts.ModelBlessing)}


class Blessing(base_component.BaseComponent):
    """Blesses the ensemble or refuses it.

    Args:
        model: the candidate.
        member_scores: Scorer's output for the members.
        ensemble_scores: Scorer's output for the ensemble and for what is served.
        baseline: Baseline's output.
        problem: binary, multiclass or regression.
        metric: the one that both comparisons use.
        thresholds: each {metric, min, max}.
        costs: {false_negative, false_positive} of a binary problem; None where nobody said.
        confidence: of the intervals, between 0 and 1.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        member_scores: types.BaseChannel,
        ensemble_scores: types.BaseChannel,
        baseline: types.BaseChannel,
        problem: str,
        metric: str,
        thresholds: Sequence[Mapping[str, Any]],
        costs: Mapping[str, float] | None,
        confidence: float,
        resamples: int,
        seed: int,
    ) -> None:
        judgement = {
            "thresholds": list(thresholds),
            "costs": costs,
            "confidence": confidence,
            "resamples": resamples,
            "seed": seed,
        }
        super().__init__(
            _Spec(
                model=model,
                member_scores=member_scores,
                ensemble_scores=ensemble_scores,
                baseline=baseline,
                problem=problem,
                metric=metric,
                judgement=json.dumps(judgement, sort_keys=True),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            )
        )


def _on_test(scores: Scores) -> Scores:
    here = (scores.rows["split"] == "test").to_numpy()
    return Scores(
        rows=scores.rows[here],
        outputs={name: values[here] for name, values in scores.outputs.items()},
        classes=scores.classes,
        reference=scores.reference,
        absent=scores.absent,
    )


def _labels(scores: Scores) -> np.ndarray:
    labels = scores.rows["label"].to_numpy()
    return labels if scores.classes else labels.reshape(-1, 1)


def _table(
    problem: str, costs: Costs | None, labels: np.ndarray, outputs: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float | None]]:
    """Every metric that the problem has, by model; None where it is undefined on these rows."""
    table: dict[str, dict[str, float | None]] = {}
    for model, values in outputs.items():
        figures = {name: metric.compute(labels, values) for name, metric in metrics_of(problem, costs).items()}
        table[model] = {name: float(v) if np.isfinite(v) else None for name, v in figures.items()}
    return table


def _slices(problem: str, costs: Costs | None, scores: Scores, outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The same table by slice, such as `island=Dream`, with its number of rows."""
    labels = _labels(scores)
    cut: dict[str, Any] = {}
    for column in (c for c in scores.rows.columns if c.startswith("slice:")):
        values = scores.rows[column].to_numpy()
        for value in sorted(set(values), key=_in_order):
            here = values == value
            inside = {model: output[here] for model, output in outputs.items()}
            cut[f"{column[6:]}={value or '(missing)'}"] = {
                "rows": int(here.sum()),
                "metrics": _table(problem, costs, labels[here], inside),
            }
    return cut


def _judgement(text: str) -> dict[str, Any]:
    options = json.loads(text)
    return {
        **options,
        "thresholds": [rules.Threshold(**threshold) for threshold in options["thresholds"]],
        "costs": Costs(**options["costs"]) if options["costs"] else None,
    }


def _in_order(value: str) -> tuple[float, str]:
    """Sorts numbers as numbers: hour 5 before hour 10."""
    try:
        return float(value), value
    except ValueError:
        return float("inf"), value
