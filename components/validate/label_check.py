"""LabelCheck: checks that the label fits the problem, names the positive class, and looks for columns that leak it.

A label with one class cannot be learned, and one with four is not binary. Rows without a label are skipped, and a
warning counts them; too many of them stop the run. A column that is a copy or a consequence of the label makes every
metric look excellent and the served model useless, and no schema can detect it. So this node measures how well each raw
column alone predicts the label, on rows of `train`: the class frequencies of each value (or quantile) are fitted on one
half of the rows and evaluated on the other half. A column that predicts it almost completely stops the run, unless the
YAML accepts it.

Sample weights are checked here too, in all splits. Rows of weight 0 do not count. How well a column predicts the label
is measured on the other rows as they are: a leak is one in any population.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from benison.components import label_values, raw_examples, weight_values
from benison.components.evaluate.label_report import FILE, LabelReport, suspicions
from benison.components.ingest.csv_table import WARNINGS
from benison.components.label_classes import LabelSchema
from benison.components.validate.leaks import LEAK_THRESHOLD, predictive_power
from benison.serving.errors import DataError

ROUNDED = 0.01  # the largest step between two labels that 32 bits tell apart, in standard deviations of the label
SAMPLE_ROWS = 20_000
ALWAYS_ALLOWED_CLASSES = 20  # a label with more classes must have at least two rows per class on average


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
        weight = exec_properties["weight"] or None
        counted = np.ones(len(target), bool)
        if weight:
            for split, (rows, effective) in weight_values.check(input_dict["examples"], schema, weight).items():
                print(f"weight {weight}: {rows} rows of {split} count, as much as {effective:.1f} of equal weight")
            counted = columns.pop(weight) > 0
        columns = {name: values for name, values in columns.items() if name not in severity["ignored"]}
        regression = problem == "regression"
        unlabelled = label_values.rows_without_label(input_dict["examples"], schema, label, weight)
        if regression:
            check_numbers(label, target)
            check_precision(label, target[has_label(target)])
        label_values.check_missing(label, unlabelled, exec_properties["max_missing"])
        labelled = has_label(target) & counted
        check_classes(label, target[labelled], regression)
        classes, warnings = None, label_values.missing_warnings(label, unlabelled)
        if not regression:
            by_split = label_values.read(input_dict["examples"], schema, label, weight)
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
        "weight": ExecutionParameter(type=str),
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
        weight: name of the column of sample weights; None if there is none.
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
        weight: str | None = None,
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
                weight=weight or "",
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


def _read_columns(examples: list[types.Artifact], schema: Any) -> dict[str, NDArray]:
    """Read up to SAMPLE_ROWS rows of `train`; return the columns by name, as text or float64.

    A column of which some rows have several values is text.
    """
    import tensorflow as tf

    from benison.components.raw_columns import dense
    from benison.components.transform import as_text

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
