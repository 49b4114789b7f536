"""LabelCheck: checks that the label fits the problem, names the positive class, and looks for columns that leak it.

A label with one class cannot be learned, and one with four is not binary. Rows without a label are skipped, and a
warning counts them; too many of them stop the run. A column that is a copy or a consequence of the label makes every
metric look excellent and the served model useless, and no schema can detect it. So this node measures how well each raw
column alone predicts the label, on rows of `train`: the class frequencies of each value (or quantile) are fitted on one
half of the rows and evaluated on the other half. A column that predicts it almost completely stops the run, unless the
YAML accepts it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from benison.components import label_values, raw_examples
from benison.components.evaluate.label_report import FILE, LabelReport, suspicions
from benison.components.evaluate.metrics import METRICS
from benison.components.ingest.csv_table import WARNINGS
from benison.components.label_classes import LabelSchema
from benison.serving.errors import DataError

LEAK_THRESHOLD = 0.99  # AUC, or R² for regression
ROUNDED = 0.01  # the largest step between two labels that 32 bits tell apart, in standard deviations of the label
SAMPLE_ROWS, QUANTILE_BINS = 20_000, 64
ALWAYS_ALLOWED_CLASSES = 20  # a label with more classes must have at least two rows per class on average
MAX_CLASSES = 100  # less frequent classes are counted as one class


class Executor(base_executor.BaseExecutor):
    """Executor that checks each column; a suspicious one stops the run, unless its severity is `warn` or `ignore`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        label, problem = exec_properties["label"], exec_properties["problem"]
        severity = json.loads(exec_properties["severity"])
        schema = raw_examples.load_schema(input_dict["schema"])
        columns = _read_columns(input_dict["examples"], schema)
        target = columns.pop(label)
        columns = {name: values for name, values in columns.items() if name not in severity["ignored"]}
        regression = problem == "regression"
        unlabelled = label_values.rows_without_label(input_dict["examples"], schema, label)
        if regression:
            check_numbers(label, target)
            check_precision(label, target[has_label(target)])
        label_values.check_missing(label, unlabelled, exec_properties["max_missing"])
        labelled = has_label(target)
        check_classes(label, target[labelled], regression)
        classes, warnings = None, label_values.missing_warnings(label, unlabelled)
        if not regression:
            by_split = label_values.read(input_dict["examples"], schema, label)
            positive = exec_properties["positive"] or None
            classes = label_values.classes_of(label, problem, by_split, LabelSchema.of(schema, label), positive)
            warnings += label_values.class_warnings(label, classes.names, by_split)
            print(classes)
        columns, target = {name: values[labelled] for name, values in columns.items()}, target[labelled]
        scores = {name: predictive_power(values, target, regression) for name, values in columns.items()}
        suspicious = {name: score for name, score in scores.items() if score >= LEAK_THRESHOLD}
        report = {
            "label": label,
            "classes": list(classes.names) if classes else [],
            "positive": classes.positive if classes else "",
            "why_positive": classes.why if classes else "",
            "unlabelled": unlabelled,
            "columns": scores,
            "suspicious": sorted(suspicious),
            "severity": {name: severity["columns"].get(name, severity["default"]) for name in suspicious},
        }
        artifact = artifact_utils.get_single_instance(output_dict["report"])
        Path(artifact.uri, FILE).write_text(json.dumps(report, indent=2))
        stopping = suspicions(report, "stop").values()
        if stopping:
            raise DataError(
                f"{'; '.join(stopping)} If not, remove it from the data or ignore it. If it is, or no feature uses it, "
                "set `validation: {severity: {leak: warn}}`"
            )
        warnings += suspicions(report, "warn").values()
        artifact.set_string_custom_property(WARNINGS, json.dumps(warnings))
        for warning in warnings:
            print("WARN", warning)
        if scores:
            best = max(scores, key=lambda name: scores[name])
            print(f"best single predictor of the label: {best} ({scores[best]:.3f})")


class _Spec(ComponentSpec):
    PARAMETERS = {
        "label": ExecutionParameter(type=str),
        "problem": ExecutionParameter(type=str),
        "severity": ExecutionParameter(type=str),
        "positive": ExecutionParameter(type=str),
        "max_missing": ExecutionParameter(type=float),
    }
    INPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
    }
    OUTPUTS = {"report": ChannelParameter(type=LabelReport)}


class LabelCheck(base_component.BaseComponent):
    """Node that checks the label and measures how well each raw column alone predicts it.

    Args:
        examples: raw examples with the split `train`.
        schema: names and types of the columns.
        label: name of the label.
        problem: binary, multiclass or regression.
        severity: severity of a column that leaks the label: stop, warn or ignore.
        columns: the same for single columns, by name.
        ignored: columns that are not features.
        positive: the positive class of a binary problem; None if the schema or `label_classes` decides.
        max_missing: the largest allowed share of rows without a label.
    """

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        schema: types.BaseChannel,
        label: str,
        problem: str,
        severity: str,
        columns: Mapping[str, str],
        ignored: Sequence[str],
        positive: str | None = None,
        max_missing: float = 0.2,
    ) -> None:
        super().__init__(
            _Spec(
                examples=examples,
                schema=schema,
                label=label,
                problem=problem,
                severity=json.dumps(
                    {"default": severity, "columns": dict(columns), "ignored": list(ignored)}, sort_keys=True
                ),
                positive=positive or "",
                max_missing=max_missing,
                report=types.Channel(type=LabelReport),
            )
        )


def has_label(label: NDArray) -> NDArray[np.bool_]:
    """Return a mask [rows] of the rows that have a label: text that is not '', or a finite number."""
    return np.isfinite(label) if label.dtype.kind == "f" else label != ""


def check_numbers(name: str, label: NDArray) -> None:
    """Raise DataError if the label of a regression is text."""
    if label.dtype.kind == "f":
        return
    text = next((str(value) for value in label if value and not _is_number(str(value))), None)
    example = f"such as {text!r}" if text is not None else "although all of its values are numbers"
    raise DataError(
        f"label {name!r}: problem is regression, but the label is text in the schema, {example}; expected numbers "
        "(type: FLOAT). List cells that mean 'no value' under data.missing, or set problem: multiclass"
    )


def check_precision(name: str, label: NDArray) -> None:
    """Raise DataError if the label of a regression is rounded: members and metrics have it as a 32-bit float."""
    if len(label) < 2:
        return
    largest, deviation = np.abs(label).max(), label.std()
    step = float(np.spacing(np.float32(largest)))
    if step > ROUNDED * deviation > 0:
        raise DataError(
            f"label {name!r}: its numbers are as large as {largest:.10g}, where 32-bit floats are {step:g} apart, and "
            f"their standard deviation is only {deviation:.3g}: the rounded label would hide errors of this size. "
            "Subtract a constant from the label"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_classes(name: str, label: NDArray, regression: bool) -> None:
    """Raise DataError if nothing can be learned: no labels, only one class or number, or almost one class per row."""
    values = np.unique(label)
    if not len(values):
        raise DataError(f"label {name!r}: no row of train has a label; expected at least two classes or numbers")
    if len(values) == 1:
        noun = "number" if regression else "class"
        raise DataError(
            f"label {name!r}: all {len(label)} rows of train have the same {noun}, {values[0]!s}; expected at least two"
        )
    if not regression and len(values) > max(ALWAYS_ALLOWED_CLASSES, len(label) / 2):
        raise DataError(
            f"label {name!r}: {len(values)} classes in {len(label)} rows of train, such as {values[0]!s}; expected "
            "classes that appear more than once. Is the label an id, or a number (problem: regression)?"
        )


def predictive_power(values: NDArray, label: NDArray, regression: bool) -> float:
    """Measure how well a column alone predicts the label.

    Args:
        values: text or float [rows]; '' or NaN is a missing value, which counts as one more value.
        label: text [rows]; for regression float.
        regression: measure R² instead of AUC.

    Returns:
        AUC (the mean over classes, one against the rest) or R² (of the numbers or of their ranks, whichever is higher),
        from 0 to 1; 0.5 or 0 if the column predicts nothing, or if there are too few rows to tell. It is the higher one
        of all rows and, if they are at least a quarter, of the rows with a value: a copy of the label is one too if a
        tenth of its cells is missing.
    """
    known = np.isfinite(values) if values.dtype.kind == "f" else values != ""
    power = _power(values, label, regression)
    if known.all() or 4 * known.sum() < len(known):
        return power
    return max(power, _power(values[known], label[known], regression))


def _power(values: NDArray, label: NDArray, regression: bool) -> float:
    groups = _value_groups(values)
    fitted = _random_half(len(label))
    if regression:
        known = np.isfinite(label)
        truth, prediction = _predict_group_means(groups, label[:, None], fitted & known, ~fitted & known)
        value = METRICS["r2"].compute(truth, prediction) if len(truth) > 1 else float("nan")
        return float(np.clip(np.nan_to_num(max(value, _rank_r2(values, label, fitted & known, ~fitted & known))), 0, 1))
    ids = _class_ids(label)
    if not ids.any():
        return 0.5
    classes = np.eye(ids.max() + 1)[ids]
    scores = [0.5]
    if _tells(ids):
        scores.append(_rank_auc(values, ids))
    if _tells(ids[~fitted]):
        truth, by_group = _predict_group_means(groups, classes, fitted, ~fitted)
        _, by_neighbour = _predict_from_neighbours(values, classes, fitted, ~fitted)
        scores += [METRICS["auc"].compute(truth.argmax(axis=1), prediction) for prediction in (by_group, by_neighbour)]
    return float(np.nan_to_num(scores, nan=0.5).max())


def _tells(ids: NDArray[np.int64]) -> bool:
    """Return True if a column of noise hardly ever orders these rows by their class: one in a million orders does.

    With one positive in thirty rows, one column of noise in thirty would be a leak.
    """
    rare = int((ids != np.bincount(ids).argmax()).sum()) if len(ids) else 0
    return math.comb(len(ids), min(rare, len(ids) - rare)) >= 1_000_000


def _random_half(rows: int) -> NDArray[np.bool_]:
    """Return a mask of a half of the rows, always the same one; in files with pairs, every other row is a positive."""
    return np.random.default_rng(0).permutation(rows) % 2 == 0


def _rank_auc(values: NDArray, ids: NDArray[np.int64]) -> float:
    """Return the AUC of a numeric column itself, in the better direction; 0 if it has no such AUC.

    Nothing is fitted, so all rows count, and quantiles blur nothing.
    """
    if values.dtype.kind != "f" or ids.max() > 1 or not np.isfinite(values).all():
        return 0.0
    auc = METRICS["auc"].compute(ids, np.stack([-values, values], axis=1))
    return float(max(auc, 1 - auc))


def _rank_r2(values: NDArray, label: NDArray, fitted: NDArray, evaluated: NDArray) -> float:
    """Return R² of the label's ranks, interpolated between the fitted rows; NaN if the column has no numbers.

    Quantiles are too coarse to recognise a copy of a number, and a few extreme values dominate R² of the numbers.
    """
    if values.dtype.kind != "f":
        return float("nan")
    finite = np.isfinite(values)
    fitted, evaluated = fitted & finite, evaluated & finite
    if fitted.sum() < 2 or evaluated.sum() < 2 or evaluated.sum() < finite.size / 4:  # too few numbers to judge
        return float("nan")
    known, groups = np.unique(values[fitted], return_inverse=True)
    _, ids, counts = np.unique(label, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - counts / 2)[ids] / max(len(label), 1)
    means = np.bincount(groups, ranks[fitted]) / np.bincount(groups)
    prediction = np.interp(values[evaluated], known, means)
    return float(METRICS["r2"].compute(ranks[evaluated][:, None], prediction[:, None]))


def _class_ids(label: NDArray) -> NDArray[np.int64]:
    """Return class ids in order of frequency; all classes beyond `MAX_CLASSES` share one id."""
    _, ids, counts = np.unique(label, return_inverse=True, return_counts=True)
    ranks = np.empty_like(counts)
    ranks[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return np.minimum(ranks[ids], MAX_CLASSES)


def _value_groups(values: NDArray) -> NDArray[np.int64]:
    """Return a group id for each row: one id per value or, if there are many different numbers, per quantile."""
    if values.dtype.kind == "f":
        finite = values[np.isfinite(values)]
        if len(np.unique(finite)) > QUANTILE_BINS:
            edges = np.unique(np.quantile(finite, np.linspace(0, 1, QUANTILE_BINS + 1)[1:-1]))
            return np.where(np.isfinite(values), np.searchsorted(edges, values, side="right"), QUANTILE_BINS)
        values = np.where(np.isfinite(values), values, np.finfo(np.float64).max)
    return np.unique(values, return_inverse=True)[1]


def _predict_group_means(
    groups: NDArray[np.int64], target: NDArray, fitted: NDArray, evaluated: NDArray
) -> tuple[NDArray, NDArray]:
    """Predict the target of the evaluated rows by the mean of their group, over the fitted rows.

    Args:
        groups: group id of each row [rows].
        target: [rows, n].
        fitted: mask [rows].
        evaluated: mask [rows].

    Returns:
        Target and prediction of the evaluated rows; a group without fitted rows gets the mean of all fitted rows.
    """
    prediction = np.tile(target[fitted].mean(axis=0) if fitted.any() else 0.0, (int(evaluated.sum()), 1))
    size = int(groups.max(initial=0)) + 1
    counts = np.bincount(groups[fitted], minlength=size)
    sums = np.stack([np.bincount(groups[fitted], column, size) for column in target[fitted].T], axis=1)
    has_mean = counts[groups[evaluated]] > 0
    known_groups = groups[evaluated][has_mean]
    prediction[has_mean] = sums[known_groups] / counts[known_groups, None]
    return target[evaluated], prediction


def _predict_from_neighbours(
    values: NDArray, target: NDArray, fitted: NDArray, evaluated: NDArray
) -> tuple[NDArray, NDArray]:
    """Predict the target of the evaluated rows from the fitted rows with the next smaller and larger number.

    In small tables most quantiles have no fitted row, so that an id that sorts by the label would look harmless.

    Args:
        values: see `predictive_power`; text predicts nothing, and a missing number the mean of the missing ones.
        target: [rows, n].
        fitted: mask [rows].
        evaluated: mask [rows].

    Returns:
        Target and prediction of the evaluated rows.
    """
    finite = np.isfinite(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
    truth, prediction = _predict_group_means(finite.astype(np.int64), target, fitted, evaluated)
    if (fitted & finite).any():
        known, groups = np.unique(values[fitted & finite], return_inverse=True)
        counts = np.bincount(groups)
        means = [np.bincount(groups, column) / counts for column in target[fitted & finite].T]
        numbers = values[evaluated & finite]
        prediction[finite[evaluated]] = np.stack([np.interp(numbers, known, mean) for mean in means], axis=1)
    return truth, prediction


def _read_columns(examples: list[types.Artifact], schema: Any) -> dict[str, NDArray]:
    """Read up to SAMPLE_ROWS rows of `train`; return the columns by name, as text or float64.

    A column of which some rows have several values is text.
    """
    import tensorflow as tf

    from benison.components.transform import as_text, dense

    spec = {name: tf.io.VarLenFeature(kind) for name, kind in raw_examples.column_types(schema).items()}
    several = raw_examples.list_columns(schema) | {f.name for f in schema.feature if f.HasField("shape")}
    files = raw_examples.split_files(examples, "train")
    records = tf.data.TFRecordDataset(files, compression_type="GZIP").take(SAMPLE_ROWS).batch(SAMPLE_ROWS)
    parsed = tf.io.parse_example(next(iter(records)), spec)
    columns = {}
    for name, value in parsed.items():
        if value.dense_shape[1] > 1:  # several values per row count as one text
            if name not in several:
                raise DataError(
                    f"column {name!r}: some rows have several values, but the schema does not say so; give it "
                    "`value_count { min: 1 }` (any number) or a `shape` (always the same number) in the schema"
                )
            words = tf.strings.reduce_join(tf.RaggedTensor.from_sparse(as_text(value)), axis=1, separator=" ")
            columns[name] = np.array([t.decode("utf-8", "replace") for t in words.numpy()])
        elif value.dtype == tf.string:
            columns[name] = np.array([t.decode("utf-8", "replace") for t in dense(value, "")[:, 0].numpy()])
        else:
            numbers = tf.SparseTensor(value.indices, tf.cast(value.values, tf.float64), value.dense_shape)
            columns[name] = dense(numbers, float("nan"))[:, 0].numpy()
    return columns
