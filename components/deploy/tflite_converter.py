"""TFLiteConverter: converts a blessed ensemble to TensorFlow Lite, and measures what it loses by that.

The loss is that of the pipeline's metric on `test`, between the answers of the SavedModel and those of the file to the
same rows. The upper end of its paired bootstrap interval must be below `max_drop`, also on the same rows with one cell
missing in each. So `max_drop: 0` refuses every file: no sample can show that nothing at all is lost. Without
quantization, the answers must be equal as well.

A file that is refused is left out of the version. The SavedModel does not depend on it and is pushed: a server with
`--prefer_tflite_model` then serves the SavedModel, which has the same signature.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact, artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from benison.components import raw_examples
from benison.components.deploy import tflite_model
from benison.components.deploy.background_sample import sample
from benison.components.deploy.tflite_model import RAW, LiteModel, NotConvertible, Rows
from benison.components.evaluate import own_metrics
from benison.components.evaluate.alignment import align
from benison.components.evaluate.bootstrap import paired_difference
from benison.components.evaluate.comparison import format_number
from benison.components.evaluate.own_metrics import OwnMetric
from benison.components.evaluate.raw_rows import raw_rows
from benison.components.evaluate.scorer import TEST, ExampleReader
from benison.components.evaluate.verdicts import finite_or_none, verdict_line
from benison.components.train.member import class_names, whole_feature_spec
from benison.serving import missing_values, path_parity
from benison.serving.ensemble import Ensemble
from benison.serving.signature_names import argument_names
from benison.serving.versions.local import LITE

FILE = "tflite.json"
_REPRESENTATIVE = 500  # rows of train, from which int8 learns ranges
_WITH_GAPS = 10_000  # rows of test that are measured with a missing cell, too
_BATCH_ROWS = 4096


class LiteModelArtifact(artifact.Artifact):
    """The file and its verdict."""

    TYPE_NAME = "LiteModel"


@dataclass(frozen=True)
class LiteSettings:
    """Settings of the conversion.

    Attributes:
        quantize: none, dynamic, float16 or int8.
        max_drop: how much of the metric the file may lose, in the metric's unit.
        metric: metric of the pipeline.
        costs: {false_negative, false_positive} of a binary problem; None if they are unknown.
        weight: name of the raw column of sample weights; None if all rows count the same.
        confidence: confidence level of the interval.
        resamples: number of bootstrap resamples.
        seed: seed of the resamples, and of the choice of rows.
    """

    quantize: str
    max_drop: float
    metric: str
    costs: Mapping[str, float] | None
    weight: str | None
    confidence: float
    resamples: int
    seed: int


@dataclass(frozen=True)
class Loss:
    """The loss of a metric on some rows.

    Attributes:
        rows: what rows they are.
        count: how many.
        before: metric of the SavedModel.
        after: metric of the file.
        drop: how much worse the file is; negative if it is better.
        low, high: the interval of the drop.
        difference: the largest difference of an answer, see `path_parity`.
    """

    rows: str
    count: int
    before: float
    after: float
    drop: float
    low: float
    high: float
    difference: float


class Executor(base_executor.BaseExecutor):
    """Executor that converts, measures and judges."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        settings = LiteSettings(**json.loads(exec_properties["settings"]))
        built = Path(artifact_utils.get_single_uri(input_dict["model"]))
        folder = Path(artifact_utils.get_single_uri(output_dict["lite_model"]))
        trial = _Trial(input_dict, exec_properties, settings, built)
        record: dict[str, Any] = {
            "quantize": settings.quantize,
            "max_drop": settings.max_drop,
            "metric": settings.metric,
            "confidence": settings.confidence,
        }
        try:
            lite = tflite_model.convert(trial.model, settings.quantize, trial.representative)
        except NotConvertible as error:
            record |= {"passed": False, "reason": f"not converted: {error}", "losses": []}
        else:
            losses = trial.losses(lite)
            passed, reason = judge(losses, settings)
            record |= {
                "passed": passed,
                "reason": reason,
                "signature": lite.signature,
                "outside": lite.outside,
                "bytes": len(lite.content),
                "losses": [
                    {k: finite_or_none(v) if isinstance(v, float) else v for k, v in asdict(loss).items()}
                    for loss in losses
                ],
            }
            if passed:
                (folder / LITE).write_bytes(lite.content)
            print(f"{LITE}: {len(lite.content)} bytes, signature {lite.signature}")
            if lite.outside:
                print(f"Transform's graph is not in it, so its inputs are features: {lite.outside}")
        (folder / FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        output = artifact_utils.get_single_instance(output_dict["lite_model"])
        output.set_int_custom_property("passed", int(record["passed"]))
        output.set_string_custom_property("reason", record["reason"])
        print(verdict_line({"rule": rule_name(record), "passed": record["passed"], "reason": record["reason"]}))


class TFLiteConverter(base_component.BaseComponent):
    """Node that converts the ensemble to TensorFlow Lite.

    Args:
        model: the ensemble, EnsembleBuilder's output.
        examples: raw examples with the splits `train` and `test`.
        transform_graph: Transform's output.
        label: name of the raw label.
        problem: binary, multiclass or regression.
        settings: settings of the conversion.
        own: the user's own metrics.
        user_code: added to `custom_config`, for the cache key (benison.pipelines.code.cache_key).
    """

    SPEC_CLASS = ComponentSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        label: str,
        problem: str,
        settings: LiteSettings,
        own: Sequence[OwnMetric] = (),
        user_code: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        class Spec(ComponentSpec):
            PARAMETERS = {
                "label": ExecutionParameter(type=str),
                "problem": ExecutionParameter(type=str),
                "settings": ExecutionParameter(type=str),
                "custom_config": ExecutionParameter(type=str),
            }
            INPUTS = {
                "model": ChannelParameter(type=standard_artifacts.Model),
                "examples": ChannelParameter(type=standard_artifacts.Examples),
                "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
            }
            OUTPUTS = {"lite_model": ChannelParameter(type=LiteModelArtifact)}

        super().__init__(
            Spec(
                model=model,
                examples=examples,
                transform_graph=transform_graph,
                label=label,
                problem=problem,
                settings=json.dumps(asdict(settings), sort_keys=True),
                custom_config=own_metrics.to_json(own, user_code),
                lite_model=types.Channel(type=LiteModelArtifact),
            )
        )


def rule_name(record: Mapping[str, Any]) -> str:
    """Return the name of the verdict of a record."""
    return f"{LITE} ({record['quantize']}) loses less than {record['max_drop']:g} of {record['metric']}"


def judge(losses: Sequence[Loss], settings: LiteSettings) -> tuple[bool, str]:
    """Return whether the file may be pushed, and why, in one sentence."""
    worst = max(losses, key=lambda loss: loss.high if np.isfinite(loss.high) else np.inf)
    percent = f"{100 * settings.confidence:g} % interval {format_number(worst.low)} to {format_number(worst.high)}"
    figures = (
        f"{settings.metric} {format_number(worst.after)} against {format_number(worst.before)} on {worst.count} "
        f"{worst.rows}: the drop is {format_number(worst.drop)} ({percent})"
    )
    if not worst.high < settings.max_drop:  # also of NaN
        return False, f"{figures}, not below {settings.max_drop:g}"
    differing = max(losses, key=lambda loss: loss.difference)
    if settings.quantize == "none" and not differing.difference <= path_parity.TOLERANCE:
        return False, (
            f"an answer differs by {differing.difference:.2g} of its scale on {differing.rows}, which without "
            f"quantization must not be (the tolerance is {path_parity.TOLERANCE:g})"
        )
    return True, figures


class _Trial:
    """The SavedModel, the rows and the metric of a conversion."""

    def __init__(
        self,
        input_dict: Mapping[str, list[types.Artifact]],
        exec_properties: Mapping[str, Any],
        settings: LiteSettings,
        built: Path,
    ) -> None:
        import tensorflow as tf
        import tensorflow_transform as tft

        self.model = Path(path_utils.serving_model_path(str(built)))
        self._settings, self._examples = settings, input_dict["examples"]
        transform = tft.TFTransformOutput(artifact_utils.get_single_uri(input_dict["transform_graph"]))
        label, problem = exec_properties["label"], exec_properties["problem"]
        self._classes = tuple(class_names(transform))
        spec = Ensemble.load(built, allow_code=True)
        self._output = spec.output
        own = own_metrics.parse(exec_properties["custom_config"])
        self._metric = own_metrics.metric_of(
            settings.metric, problem, self._classes, spec.threshold, settings.costs, own
        )
        self._reader = ExampleReader(
            self._examples, transform.raw_feature_spec(), label, self._classes, settings.weight or ""
        )
        self._raw_spec = raw_examples.request_spec(transform, label)
        self._features = argument_names(whole_feature_spec(transform))
        self._inputs = missing_values.read_inputs(self.model) or {}
        self._loaded = tf.saved_model.load(str(self.model))

    def representative(self, signature: str) -> Rows:
        """Return rows of `train` as the inputs of a signature."""
        files = raw_examples.split_files(self._examples, "train")
        return self._rows(signature, sample(files, _REPRESENTATIVE, self._settings.seed))

    def losses(self, lite: LiteModel) -> list[Loss]:
        """Return the loss on `test`, and on the same rows with a missing cell in each if cells may be missing."""
        batches = [
            (records, labels, weights) for records, labels, _, weights in self._reader.batches(TEST, []) if len(labels)
        ]
        if not batches:
            nan = float("nan")
            return [Loss("rows of test", 0, nan, nan, nan, nan, nan, float("inf"))]
        records, labels = (np.concatenate([batch[n] for batch in batches]) for n in (0, 1))
        weights = None if batches[0][2] is None else np.concatenate([batch[2] for batch in batches])
        losses = [self._loss(lite, "rows of test", records, labels, weights)]
        optional = [entry["column"] for entry in self._inputs.values() if entry.get("missing") is not None]
        if optional:
            first = slice(_WITH_GAPS)
            gaps = with_gaps(records[first], optional, self._settings.seed)
            some = None if weights is None else weights[first]
            losses.append(self._loss(lite, "of these rows with a missing cell each", gaps, labels[first], some))
        return losses

    def _loss(self, lite: LiteModel, rows: str, records: NDArray, labels: NDArray, weights: NDArray | None) -> Loss:
        before = self._before(records)
        # The classes are constants, in the order of the SavedModel's own.
        after = tflite_model.answers(
            lite.content, lite.signature, self._rows(lite.signature, records), self._output
        ).astype(before.dtype)
        truth = labels if self._classes else labels[:, None]
        gain, interval = paired_difference(
            self._metric,
            truth,
            after,
            before,
            self._settings.confidence,
            self._settings.resamples,
            self._settings.seed,
            weights,
        )
        return Loss(
            rows,
            len(labels),
            before=self._metric.compute(truth, before, weights),
            after=self._metric.compute(truth, after, weights),
            drop=0.0 - gain,
            low=0.0 - interval.high,
            high=0.0 - interval.low,
            difference=path_parity.compare(before, {"": after})[0].difference,
        )

    def _before(self, records: NDArray) -> NDArray:
        outputs = self._batched("serving_default", records)
        return align(outputs, self._classes)

    def _rows(self, signature: str, records: NDArray) -> Rows:
        if signature == RAW:
            return raw_rows(records, self._raw_spec, missing_values.arguments(self._inputs))
        features = self._batched("transform_features", records)
        return {argument: features[name] for name, argument in self._features.items()}

    def _batched(self, signature: str, records: NDArray) -> dict[str, NDArray]:
        import tensorflow as tf

        run: Callable[..., Mapping[str, Any]] = self._loaded.signatures[signature]
        batches = [
            {name: value.numpy() for name, value in run(tf.constant(records[start : start + _BATCH_ROWS])).items()}
            for start in range(0, len(records), _BATCH_ROWS)
        ]
        return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def with_gaps(records: NDArray, optional: Sequence[str], seed: int) -> NDArray:
    """Return serialised tf.Examples [rows] without one of the optional columns, chosen at random for each row."""
    import tensorflow as tf

    names = sorted(optional)
    chosen = np.random.default_rng(seed).integers(0, len(names), len(records))
    result = np.empty(len(records), object)
    for number, (record, choice) in enumerate(zip(records, chosen, strict=True)):
        example = tf.train.Example.FromString(record)
        example.features.feature.pop(names[choice], None)
        result[number] = example.SerializeToString(deterministic=True)
    return result
