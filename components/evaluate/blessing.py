"""Blessing: decides whether the ensemble may be pushed, with one verdict per rule.

TFX's Evaluator writes no blessing if no threshold is set, and compares only with a model that an Evaluator blessed
before, whether it was pushed or not. This node always decides, gives reasons, and compares with the served version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from benison.components.evaluate import baseline as baselines
from benison.components.evaluate import conformal, own_metrics, rules, score_tables
from benison.components.evaluate import label_report as label_reports
from benison.components.evaluate.judged_rows import MemberChoice
from benison.components.evaluate.metrics import Costs, Decision, metrics_for
from benison.components.evaluate.own_metrics import OwnMetric
from benison.components.evaluate.score_tables import Resampling
from benison.components.evaluate.scorer import BLEND, SERVED, TEST, ModelScores, Scores
from benison.components.evaluate.verdicts import BlessingReport, Verdict, is_refusal, verdict_line
from benison.components.sample_weights import effective_rows
from benison.serving.ensemble import Ensemble
from benison.serving.versions.answer_interval import AnswerInterval

FILE = "blessing.json"
ENSEMBLE = "ensemble"


class Executor(base_executor.BaseExecutor):
    """Executor that judges the scores of the ensemble on `test`, and writes tables of all models' scores."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        of_members = Path(artifact_utils.get_single_uri(input_dict["member_scores"]))
        member_scores, apart = Scores.load(of_members, TEST), Scores.load(of_members, BLEND)
        ensemble_scores = Scores.load(Path(artifact_utils.get_single_uri(input_dict["ensemble_scores"])), TEST)
        problem = exec_properties["problem"]
        options = _parse_judgement(exec_properties["judgement"])
        outputs = {**member_scores.outputs, **ensemble_scores.outputs}
        labels, weights = score_tables.labels_of(ensemble_scores), ensemble_scores.weights
        model_folder = Path(artifact_utils.get_single_uri(input_dict["model"]))
        spec = Ensemble.load(model_folder, allow_code=True)
        # The threshold of the candidate itself: metrics of the decision are about the class that it answers with.
        decision = Decision(spec.threshold, options.pop("costs"))
        unproven = [name for name in options.pop("unproven") if name in spec.members]
        own = own_metrics.load(
            own_metrics.parse(exec_properties["custom_config"]), problem, decision, ensemble_scores.classes
        )
        metrics = metrics_for(problem, decision, own)
        report = rules.judge(
            problem=problem,
            metric=exec_properties["metric"],
            labels=labels,
            ensemble=ensemble_scores.outputs[ENSEMBLE],
            reference=ensemble_scores.guess(exec_properties["metric"]),
            members=member_scores.outputs,
            choice=MemberChoice(score_tables.labels_of(apart), apart.outputs, apart.weights),
            served=ensemble_scores.outputs.get(SERVED),
            no_baseline=ensemble_scores.absent.get(SERVED, rules.NOTHING_SERVED),
            slices=score_tables.slices_of(ensemble_scores),
            decision=decision,
            own=own,
            weights=weights,
            **options,
        )
        metric = metrics[exec_properties["metric"]]
        resampling = Resampling(options["confidence"], options["resamples"], options["seed"])
        record = {
            **report.to_json(),
            "metric": exec_properties["metric"],
            "larger_is_better": metric.greater_is_better,
            "classes": list(ensemble_scores.classes),
            "positive": ensemble_scores.classes[1] if problem == "binary" else "",
            "threshold": spec.threshold,
            "weight": _weight(ensemble_scores),
            "metrics": score_tables.metric_table(metrics, labels, outputs, weights),
            "gains": score_tables.gain_table(metric, labels, outputs, ENSEMBLE, resampling, weights),
            "without": score_tables.leave_one_out_table(
                spec, metrics, metric, labels, member_scores.outputs, outputs[ENSEMBLE], resampling, weights
            ),
            "slices": score_tables.slice_tables(metrics, metric, ensemble_scores, outputs, ENSEMBLE, resampling),
            "interval": _interval(model_folder, ensemble_scores),
            "baseline": baselines.load(artifact_utils.get_single_instance(input_dict["baseline"])),
        }
        if "label_report" in input_dict:
            suspicious = label_reports.load(Path(artifact_utils.get_single_uri(input_dict["label_report"])))
            record["verdicts"] = [*record["verdicts"], *label_reports.accepted(suspicious)]
        record["verdicts"] = [*record["verdicts"], *_unproven_verdicts(unproven)]
        self._publish(artifact_utils.get_single_instance(output_dict["blessing"]), input_dict["model"], record)

    def _publish(self, artifact: types.Artifact, model: list[types.Artifact], record: Mapping[str, Any]) -> None:
        """Write the record, and mark the artifact as TFX's Evaluator does, for TFX's Pusher and resolvers."""
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
        refused = [f"{v['rule']}: {v['reason']}" for v in record["verdicts"] if is_refusal(v)]
        artifact.set_string_custom_property("reason", "; ".join(refused))
        for verdict in record["verdicts"]:
            print(verdict_line(verdict))
        if record["interval"]:
            print(AnswerInterval.model_validate(record["interval"]).text)
        print("blessed" if blessed else "NOT BLESSED")


class _Spec(ComponentSpec):
    PARAMETERS = {
        "problem": ExecutionParameter(type=str),
        "metric": ExecutionParameter(type=str),
        "judgement": ExecutionParameter(type=str),
        "custom_config": ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": ChannelParameter(type=standard_artifacts.Model),
        "member_scores": ChannelParameter(type=ModelScores),
        "ensemble_scores": ChannelParameter(type=ModelScores),
        "baseline": ChannelParameter(type=baselines.BaselineRecord),
        "label_report": ChannelParameter(type=label_reports.LabelReport, optional=True),
    }
    OUTPUTS = {"blessing": ChannelParameter(type=standard_artifacts.ModelBlessing)}


class Blessing(base_component.BaseComponent):
    """Node that blesses or refuses the ensemble.

    Args:
        model: the candidate.
        member_scores: output of Scorer for the members.
        ensemble_scores: output of Scorer for the ensemble and the served version.
        baseline: output of Baseline.
        problem: binary, multiclass or regression.
        metric: metric of the two default rules.
        additional_rules: each with the fields of `benison.components.evaluate.rules.Rule`.
        costs: {false_negative, false_positive} of a binary problem; None if they are unknown.
        confidence: confidence level of the intervals, between 0 and 1.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
        label_report: output of LabelCheck; suspicious columns that the YAML accepts are named in the verdicts.
        own: the user's own metrics.
        user_code: added to `custom_config`, for the cache key (benison.pipelines.code.cache_key).
        unproven: members that may have learnt from the rows of `test`; the verdicts warn about them.
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
        additional_rules: Sequence[Mapping[str, Any]],
        costs: Mapping[str, float] | None,
        confidence: float,
        resamples: int,
        seed: int,
        label_report: types.BaseChannel | None = None,
        own: Sequence[OwnMetric] = (),
        user_code: Mapping[str, Any] = MappingProxyType({}),
        unproven: Sequence[str] = (),
    ) -> None:
        judgement = {
            "rules": list(additional_rules),
            "costs": costs,
            "confidence": confidence,
            "resamples": resamples,
            "seed": seed,
            **({"unproven": list(unproven)} if unproven else {}),
        }
        super().__init__(
            _Spec(
                model=model,
                member_scores=member_scores,
                ensemble_scores=ensemble_scores,
                baseline=baseline,
                label_report=label_report,
                problem=problem,
                metric=metric,
                judgement=json.dumps(judgement, sort_keys=True),
                custom_config=own_metrics.to_json(own, user_code),
                blessing=types.Channel(type=standard_artifacts.ModelBlessing),
            )
        )


def _unproven_verdicts(members: Sequence[str]) -> list[dict[str, Any]]:
    """Return a warning, as JSON data, for each member that may have learnt from the rows of `test`."""
    verdicts = (
        Verdict(
            f"member {name} has not seen test",
            False,
            None,
            None,
            None,
            f"{name} was trained elsewhere and may have learnt from rows of test, so its metrics and the ensemble's "
            "may be too good; set its learnt_from: other_data if it has seen none of them",
            warning=True,
        )
        for name in members
    )
    return list(BlessingReport(True, tuple(verdicts)).to_json()["verdicts"])


def _weight(scores: Scores) -> dict[str, Any] | None:
    """Return the column of the sample weights, the rows of `test` and how many equal ones tell as much; or None."""
    if scores.weights is None:
        return None
    return {"column": scores.weight, "rows": len(scores.rows), "effective_rows": effective_rows(scores.weights)}


def _interval(model: Path, scores: Scores) -> dict[str, Any] | None:
    """Return the interval of a regression's answers with its coverage on `test`; None if there is none."""
    interval = conformal.load(model)
    if interval is None or not len(scores.rows):
        return None
    answers = scores.outputs[ENSEMBLE][:, 0]
    covered = conformal.coverage(interval, score_tables.labels_of(scores)[:, 0], answers, scores.weights)
    return {**interval.to_dict(), **covered}


def _parse_judgement(text: str) -> dict[str, Any]:
    options = json.loads(text)
    return {
        **options,
        "unproven": options.get("unproven", []),
        "rules": [rules.Rule(**{**rule, "slices": tuple(rule.get("slices", ()))}) for rule in options["rules"]],
        "costs": Costs(**options["costs"]) if options["costs"] else None,
    }
