"""EnsembleBuilder: combines the trained members into one fused SavedModel that contains Transform's graph once.

The combiner is fitted on the `blend` split, which no member was trained on, or on the members' out-of-fold predictions;
members that do not help are dropped.
Beside the model it writes the spec (`ensemble.json`) and `ensemble_report.json` with weights, gains and correlations.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from benison.components.ensemble import combiner_fit
from benison.components.ensemble.combiner_fit import Contribution, Fit
from benison.components.evaluate import conformal
from benison.components.evaluate.score_tables import labels_of
from benison.components.evaluate.scorer import BLEND, OUT_OF_FOLD, ModelScores, Scores
from benison.components.train import signatures
from benison.components.transform import as_arguments
from benison.serving.ensemble import Ensemble, read_custom
from benison.serving.versions.answer_interval import AnswerInterval

REPORT_FILE = "ensemble_report.json"
_CROSS = "the members of these answers were trained without a fold each, so the coverage is approximate"
ROWS_OF = {BLEND: "of blend", OUT_OF_FOLD: "out of fold"}


@dataclass(frozen=True)
class BuilderSettings:
    """Settings of the combination.

    Attributes:
        combiner: a kind of `benison.serving.ensemble.combiners`, or a custom one as `/path/to/file.py:function`.
        weights: fixed weights by member, instead of fitted or equal ones.
        calibration: `none`, `temperature` or `bias_corrected_temperature`.
        drop: drop members that do not help, if the combiner is fitted.
        quorum: number of members that must answer, in a fan-out.
        threshold: lowest probability that decides for the positive class; None: the most likely class is the decision.
        seed: seed of the cross-validation folds.
        interval: the share of the labels of a regression that the intervals of its answers hold.
        scaled_interval: let the intervals grow with the answers if the label is skewed.
        caveat: why that share is not guaranteed; '' if it is.
    """

    combiner: str = "mean"
    weights: Mapping[str, float] = field(default_factory=dict)
    calibration: str = "none"
    drop: bool = True
    quorum: int = 1
    threshold: float | None = None
    seed: int = 0
    interval: float = 0.9
    scaled_interval: bool = False
    caveat: str = ""


class Executor(base_executor.BaseExecutor):
    """Executor that fits the combiner, loads the `transformed` signature of each member and exports the combination."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        import tensorflow as tf
        import tensorflow_transform as tft

        settings = BuilderSettings(**json.loads(exec_properties["custom_config"])["settings"])
        scores = Scores.load(Path(artifact_utils.get_single_uri(input_dict["scores"])), BLEND)
        fit, ensemble = fit_ensemble(
            settings, exec_properties["problem"], scores, exec_properties["members"].split(",")
        )
        loaded = {
            name: tf.saved_model.load(
                path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict[f"model_{name}"]))
            )
            for name in ensemble.members
        }

        def members(transformed: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            inputs = as_arguments(transformed)
            return {name: model.signatures["transformed"](**inputs)[ensemble.output] for name, model in loaded.items()}

        target = artifact_utils.get_single_uri(output_dict["model"])
        signatures.export(
            path_utils.serving_model_dir(target),
            tft.TFTransformOutput(artifact_utils.get_single_uri(input_dict["transform_graph"])),
            exec_properties["label"],
            predict=lambda transformed: ensemble.combine(members(transformed)),
            tracked=[table for model in loaded.values() for table in _tables(model)],
            members=members,
            decide=ensemble.decide,
        )
        ensemble.save(Path(target))
        report = {**fit.to_json(), "split": scores.combiner_split}
        Path(target, REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        if exec_properties["problem"] == "regression" and (interval := fit_interval(settings, scores, fit, ensemble)):
            conformal.save(interval, Path(target))
        for line in summarize(fit, scores.combiner_split):
            print(line)


def _tables(model: Any) -> list[Any]:
    """Return the tables and the like that a member reads in its signature `transformed`; variables are found anyway.

    The member has its own copy of Transform's graph, whose tables the ensemble does not need.
    """
    import tensorflow as tf

    read = {id(tensor) for tensor in model.signatures["transformed"].captured_inputs}
    return [
        part
        for part in tf.train.TrackableView(model).descendants()
        if isinstance(part, tf.saved_model.experimental.TrackableResource) and id(part.resource_handle) in read
    ]


def fit_ensemble(settings: BuilderSettings, problem: str, scores: Scores, members: list[str]) -> tuple[Fit, Ensemble]:
    """Fit the spec of an ensemble to the scores of its members on rows that they did not learn from.

    Raises:
        DataError: there are too few rows.
        UsageError: the file of a custom combiner cannot be read.
    """
    outputs = {name: scores.outputs[name] for name in members}
    is_custom = ":" in settings.combiner
    fit = combiner_fit.fit(
        read_custom(settings.combiner, "ensemble.combiner") if is_custom else settings.combiner,
        problem,
        labels_of(scores),
        outputs,
        weights=settings.weights or None,
        drop=settings.drop,
        calibrate=settings.calibration,
        seed=settings.seed,
        row_weights=scores.weights,
    )
    ensemble = Ensemble(
        members=fit.kept,
        combiner=fit.combiner,
        output="prediction" if problem == "regression" else "probabilities",
        calibration=fit.calibration,
        # A dropped member does not count towards the quorum.
        quorum=min(settings.quorum, len(fit.kept)),
        threshold=settings.threshold,
    )
    return fit, ensemble


def fit_interval(settings: BuilderSettings, scores: Scores, fit: Fit, ensemble: Ensemble) -> AnswerInterval | None:
    """Return the interval of a regression's answers, from the rows of the combiner; None if they are too few."""
    labels = labels_of(scores)
    if labels.shape[1] != 1:
        return None
    outputs = {name: scores.outputs[name] for name in fit.kept}
    if fit.is_fitted:
        # The combiner has learnt from these rows, so its own errors on them would be a little too small.
        answers = combiner_fit.out_of_fold_answers(
            fit.combiner.kind, "regression", labels, outputs, seed=settings.seed, row_weights=scores.weights
        )
    else:
        answers = ensemble.combine(outputs).numpy()
    interval = conformal.fit(
        labels[:, 0], answers[:, 0], settings.interval, scores.weights, scaled=settings.scaled_interval
    )
    if interval is None:
        print(f"no interval of the answers: {len(labels)} rows {ROWS_OF[scores.combiner_split]} are too few")
        return None
    caveats = [*([settings.caveat] if settings.caveat else []), *([_CROSS] if scores.combiner_split != BLEND else [])]
    source, caveat = ROWS_OF[scores.combiner_split], "; ".join(caveats)
    return interval.model_copy(update={"source": source, "caveat": caveat})


def summarize(fit: Fit, split: str) -> list[str]:
    """Describe the combiner and the contribution of each member, as lines of text.

    Args:
        fit: the fit.
        split: `blend` or `out_of_fold`.
    """
    lines = [f"{fit.combiner.kind} of {', '.join(fit.kept)}, from {fit.rows} rows {ROWS_OF[split]}"]
    lines += [_contribution_line(c) for c in fit.contributions if c.weight is not None]
    if fit.calibration:
        lines.append(f"temperature {fit.calibration.temperature:.3g}")
    return lines


def _contribution_line(c: Contribution) -> str:
    if not c.kept:
        return f"  {c.member} is not in the ensemble: {c.why}"
    gain = "" if c.gain is None else f", gain {c.gain:.2g} ({c.low:.2g} to {c.high:.2g})"
    return f"  {c.member}: weight {c.weight:.3g}{gain}"


class EnsembleBuilder(base_component.BaseComponent):
    """Node that combines any number of members into one model.

    Args:
        members: channel of each trained member's model, by name.
        scores: output of Scorer for the members.
        transform_graph: output of Transform that all members were trained with.
        label: name of the raw label.
        problem: binary, multiclass or regression.
        settings: settings of the combination.
        user_code: added to `custom_config`, for the cache key (benison.pipelines.code.cache_key).
    """

    SPEC_CLASS = ComponentSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        members: Mapping[str, types.BaseChannel],
        scores: types.BaseChannel,
        transform_graph: types.BaseChannel,
        label: str,
        problem: str,
        settings: BuilderSettings,
        user_code: Mapping[str, Any],
    ) -> None:
        # One input per member, so that lineage names them; so the spec depends on the members and is defined here.
        class Spec(ComponentSpec):
            PARAMETERS = {
                "members": ExecutionParameter(type=str),
                "label": ExecutionParameter(type=str),
                "problem": ExecutionParameter(type=str),
                "custom_config": ExecutionParameter(type=str),
            }
            INPUTS = {
                **{f"model_{name}": ChannelParameter(type=standard_artifacts.Model) for name in members},
                "scores": ChannelParameter(type=ModelScores),
                "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
            }
            OUTPUTS = {"model": ChannelParameter(type=standard_artifacts.Model)}

        super().__init__(
            Spec(
                **{f"model_{name}": channel for name, channel in members.items()},
                scores=scores,
                transform_graph=transform_graph,
                members=",".join(members),
                label=label,
                problem=problem,
                custom_config=json.dumps({"settings": asdict(settings), **user_code}, sort_keys=True),
                model=types.Channel(type=standard_artifacts.Model),
            )
        )
