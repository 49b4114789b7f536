"""LabelCheck: has the label something to tell apart, and does one column alone tell it?

A label of one class cannot be learnt; rows without one are left out, and that is said. A column that is a consequence
of the label, or a copy of it, makes every metric look splendid and the served model useless; no schema sees that. Here
each raw column is asked on its own, on rows of `train`: values (numbers by quantile) learn their class frequencies on
one half, and are judged on the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from benison.components.evaluate.metrics import METRICS
from benison.components.ingest.csv_table import WARNINGS
from benison.serving.errors import DataError

FILE = "label.json"
LEAK_THRESHOLD = 0.995  # AUC, or R² for regression
SAMPLE_ROWS, QUANTILE_BINS = 20_000, 64
ALWAYS_ALLOWED_CLASSES, MAX_CLASSES = 20, 100  # classes that any label may have; that are told apart, the others being one


class LabelReport(types.Artifact):
    """`label.json`: rows without a label, how well each column alone tells it, and which ones are suspicious."""

    TYPE_NAME = "LabelReport"


class Executor(base_executor.BaseExecutor):
    """Asks each column; a suspicious one warns, or stops where the config says so."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        label = exec_properties["label"]
        columns = _read_columns(input_dict["examples"], Path(artifact_utils.get_single_uri(input_dict["schema"])))
        target = columns.pop(label)
        regression = exec_properties["problem"] == "regression"
        known = has_label(target)
        check_classes(label, target[known], regression)
        columns, target = {name: values[known] for name, values in columns.items()}, target[known]
        told = {name: predictive_power(values, target, regression) for name, values in columns.items()}
        suspicious = {name: value for name, value in told.items() if value >= LEAK_THRESHOLD}
        report = {
            "label": label,
            "rows": len(known),
            "unlabelled": int((~known).sum()),
            "columns": told,
            "suspicious": sorted(suspicious),
            "severity": exec_properties["severity"],
        }
        checked = artifact_utils.get_single_instance(output_dict["report"])
        Path(checked.uri, FILE).write_text(json.dumps(report, indent=2))
        leaks = leak_warnings(report)
        if leaks and exec_properties["severity"] == "stop":
            raise DataError("; ".join(leaks))
        said = [*unlabelled_warnings(report), *leaks]
        checked.set_string_custom_property(WARNINGS, json.dumps(said))
        for line in said:
            print("WARN", line)
        if told:
            best = max(told, key=lambda name: told[name])
            print(f"the column that tells most on its own: {best} ({told[best]:.3f})")


class _Spec(ComponentSpec):
    PARAMETERS = {
        "label": ExecutionParameter(type=str),
        "problem": ExecutionParameter(type=str),
        "severity": ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
    }
    OUTPUTS = {"report": ChannelParameter(type=LabelReport)}


class LabelCheck(base_component.BaseComponent):
    """Looks at the label, and asks each raw column how well it alone tells it.

    Args:
        examples: raw examples with the split `train`.
        schema: names and types of the columns.
        label: name of the label.
        problem: binary, multiclass or regression.
        severity: of a column that tells the label: stop, warn or ignore.
    """

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self, examples: types.BaseChannel, schema: types.BaseChannel, label: str, problem: str, severity: str
    ) -> None:
        super().__init__(
            _Spec(
                examples=examples,
                schema=schema,
                label=label,
                problem=problem,
                severity=severity,
                report=types.Channel(type=LabelReport),
            )
        )


def has_label(label: NDArray) -> NDArray[np.bool_]:
    """Which rows have a label: text that is not '', or a number."""
    return np.isfinite(label) if label.dtype.kind == "f" else label != ""


def check_classes(name: str, label: NDArray, regression: bool) -> None:
    """Raises DataError where there is nothing to learn: no label, all of one class or number, or hardly two alike."""
    values = np.unique(label)
    if not len(values):
        raise DataError(f"label {name!r}: no row of train has one")
    if len(values) == 1:
        what = "number" if regression else "class"
        raise DataError(
            f"label {name!r}: all {len(label)} rows of train have the same {what}, {values[0]!s}; expected two or more"
        )
    if not regression and len(values) > max(ALWAYS_ALLOWED_CLASSES, len(label) / 2):
        raise DataError(
            f"label {name!r}: {len(values)} classes in {len(label)} rows of train, such as {values[0]!s}; expected "
            "classes that come back. Is it an id, or a number (problem: regression)?"
        )


def unlabelled_warnings(report: Mapping[str, Any]) -> list[str]:
    """What to say of rows without a label."""
    count, rows = report["unlabelled"], report["rows"]
    if not count:
        return []
    share = f"{count} of {rows} rows of train ({count / rows:.1%})"
    return [f"label {report['label']!r}: missing in {share}, which are left out"]


def predictive_power(values: NDArray, label: NDArray, regression: bool) -> float:
    """How well a column alone tells the label.

    Args:
        values: text or float [rows]; '' or NaN where missing, which counts as a value of its own.
        label: text [rows]; for regression float.
        regression: R² instead of AUC.

    Returns:
        AUC (the mean over classes, each against the rest) or R², from 0 to 1; 0.5 or 0 where it tells nothing.
    """
    groups = _value_groups(values)
    learnt = np.arange(len(label)) % 2 == 0
    if regression:
        known = np.isfinite(label)
        truth, prediction = _predict_group_means(groups, label[:, None], learnt & known, ~learnt & known)
        value = METRICS["r2"].compute(truth, prediction) if len(truth) > 1 else float("nan")
        return float(np.clip(np.nan_to_num(value), 0, 1))
    ids = _class_ids(label)
    if not ids.any():
        return 0.5
    truth, prediction = _predict_group_means(groups, np.eye(ids.max() + 1)[ids], learnt, ~learnt)
    value = METRICS["auc"].compute(truth.argmax(axis=1), prediction)
    return float(np.nan_to_num(value, nan=0.5))


def leak_warnings(report: Mapping[str, Any]) -> list[str]:
    """A report's warnings, one a column."""
    if report["severity"] == "ignore":
        return []
    return [
        f"column {name!r} alone tells the label ({report['columns'][name]:.4f} of 1): is it known before the label is?"
        for name in report["suspicious"]
    ]


def _class_ids(label: NDArray) -> NDArray[np.int64]:
    """Ids by frequency; all beyond `MAX_CLASSES` are one class."""
    _, ids, counts = np.unique(label, return_inverse=True, return_counts=True)
    places = np.empty_like(counts)
    places[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return np.minimum(places[ids], MAX_CLASSES)


def _value_groups(values: NDArray) -> NDArray[np.int64]:
    """A number for each value; of many different numbers, for each quantile."""
    if values.dtype.kind == "f":
        finite = values[np.isfinite(values)]
        if len(np.unique(finite)) > QUANTILE_BINS:
            edges = np.unique(np.quantile(finite, np.linspace(0, 1, QUANTILE_BINS + 1)[1:-1]))
            return np.where(np.isfinite(values), np.searchsorted(edges, values, side="right"), QUANTILE_BINS)
        values = np.where(np.isfinite(values), values, np.finfo(np.float64).max)
    return np.unique(values, return_inverse=True)[1]


def _predict_group_means(groups: NDArray[np.int64], target: NDArray, learnt: NDArray, judged: NDArray) -> tuple[NDArray, NDArray]:
    """The target of the judged rows, and the learnt rows' mean of their group; a new group gets the mean of all."""
    prediction = np.tile(target[learnt].mean(axis=0) if learnt.any() else 0.0, (int(judged.sum()), 1))
    size = int(groups.max(initial=0)) + 1
    counts = np.bincount(groups[learnt], minlength=size)
    sums = np.stack([np.bincount(groups[learnt], column, size) for column in target[learnt].T], axis=1)
    seen = counts[groups[judged]] > 0
    known = groups[judged][seen]
    prediction[seen] = sums[known] / counts[known, None]
    return target[judged], prediction


def _read_columns(examples: list[types.Artifact], schema: Path) -> dict[str, NDArray]:
    """Up to ROWS rows of `train`, column by column: text, or float64."""
    import tensorflow as tf
    import tensorflow_data_validation as tfdv
    from tensorflow_metadata.proto.v0 import schema_pb2

    from benison.components.transform import dense

    kinds = {schema_pb2.INT: tf.int64, schema_pb2.FLOAT: tf.float32, schema_pb2.BYTES: tf.string}
    features = tfdv.load_schema_text(str(schema / "schema.pbtxt")).feature
    spec = {f.name: tf.io.VarLenFeature(kinds[f.type]) for f in features if f.type in kinds}
    files = [file for uri in artifact_utils.get_split_uris(examples, "train") for file in tf.io.gfile.glob(f"{uri}/*")]
    records = tf.data.TFRecordDataset(sorted(files), compression_type="GZIP").take(SAMPLE_ROWS).batch(SAMPLE_ROWS)
    parsed = tf.io.parse_example(next(iter(records)), spec)
    columns = {}
    for name, value in parsed.items():
        if value.dtype == tf.string:
            columns[name] = np.array([t.decode("utf-8", "replace") for t in dense(value, "")[:, 0].numpy()])
        else:
            numbers = tf.SparseTensor(value.indices, tf.cast(value.values, tf.float64), value.dense_shape)
            columns[name] = dense(numbers, float("nan"))[:, 0].numpy()
    return columns
