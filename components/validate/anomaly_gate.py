"""AnomalyGate: stops a run if ExampleValidator or DriftValidator reports an anomaly that is severe enough.

In TFX a run continues with anomalies: ExampleValidator records them and succeeds. Here each anomaly has a severity. An
anomaly with the severity `stop` is an error that names column, share of rows, expected and actual values, and examples.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from benison.components.ingest.arguments import FILES
from benison.components.ingest.csv_table import WARNINGS, CsvTable
from benison.components.validate import drift_report
from benison.components.validate.drift import DriftReport
from benison.components.validate.drift_rows import DriftedRows, find_drifted_rows
from benison.components.validate.schema_violations import SchemaViolations, find_violations
from benison.serving.close_names import did_you_mean
from benison.serving.errors import DataError

FILE = "verdict.json"

# Our kind of an anomaly, by the beginning of TFDV's name for it; see tensorflow_metadata's anomalies.proto.
_KIND_BY_PREFIX = {
    "SCHEMA_NEW_COLUMN": "new_column",
    "SCHEMA_MISSING_COLUMN": "missing_column",
    "UNEXPECTED_DATA_TYPE": "type",
    "FEATURE_TYPE_": "presence",
    "INVALID_FEATURE_SHAPE": "presence",
    "ENUM_TYPE_": "domain",
    "INT_TYPE_": "range",
    "FLOAT_TYPE_": "range",
    "BOOL_TYPE_": "range",
    "STRING_TYPE_": "domain",
}
_MAX_TEXT = 300  # characters
_DEFAULT_SEVERITY = {"new_column": "warn"}


@dataclass(frozen=True)
class Anomaly:
    """One anomaly of the data.

    Attributes:
        column: name; '' for the whole data set.
        kind: new_column, missing_column, type, presence, domain, range, drift or other.
        severity: stop, warn or ignore; '' as long as it is not decided.
        text: expected and actual values.
        rows: the rows that violate the schema or that drifted; None if the fault is not one of single rows.
    """

    column: str
    kind: str
    severity: str
    text: str
    rows: SchemaViolations | DriftedRows | None = None

    def __str__(self) -> str:
        where = f"column {self.column!r}" if self.column else "data"
        return f"{where} ({self.kind}): {self.text}" + (f"; {self.rows}" if self.rows and self.rows.count else "")


class Verdict(types.Artifact):
    """The result of the gate: `verdict.json`, all anomalies with their severities."""

    TYPE_NAME = "DataVerdict"


class Executor(base_executor.BaseExecutor):
    """Executor that prints all anomalies, and raises an error that names those with the severity `stop`."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        severity = json.loads(exec_properties["severity"])
        schema = Path(artifact_utils.get_single_uri(input_dict["schema"]), "schema.pbtxt")
        anomalies = artifact_utils.get_single_instance(input_dict["anomalies"])
        splits = artifact_utils.decode_split_names(anomalies.split_names)
        detected = schema_anomalies(Path(anomalies.uri), splits)
        drift = None
        if "drift" in input_dict:
            drift = json.loads(Path(artifact_utils.get_single_uri(input_dict["drift"]), drift_report.FILE).read_text())
            detected += _drift_anomalies(drift)
        rated = [replace(a, severity=severity_of(a, severity)) for a in detected]
        table = json.loads(exec_properties["table"])
        if table:
            examples = artifact_utils.get_single_instance(input_dict["examples"])
            files = tuple(json.loads(examples.get_string_custom_property(FILES)))
            table = CsvTable(files, **{**table, "missing": frozenset(table["missing"])})
            rated = _with_examples(rated, schema, drift, table)
        verdict = artifact_utils.get_single_instance(output_dict["verdict"])
        Path(verdict.uri, FILE).write_text(json.dumps([asdict(a) for a in rated], indent=2))
        verdict.set_string_custom_property(WARNINGS, json.dumps([str(a) for a in rated if a.severity == "warn"]))
        for anomaly in rated:
            print(anomaly.severity.upper(), anomaly)
        stopping = [str(a) for a in rated if a.severity == "stop"]
        if stopping:
            raise DataError(
                "; ".join(stopping) + ". Fix the data. If the data is correct, update the schema, or change the "
                "severity under `validation`"
            )
        print(f"anomalies: {len(rated)}, none with the severity stop" if rated else "no anomalies")


class _Spec(ComponentSpec):
    PARAMETERS = {"severity": ExecutionParameter(type=str), "table": ExecutionParameter(type=str)}
    INPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
        "drift": ChannelParameter(type=DriftReport, optional=True),
    }
    OUTPUTS = {"verdict": ChannelParameter(type=Verdict)}


class AnomalyGate(base_component.BaseComponent):
    """Node that stops the nodes after it if an anomaly has the severity `stop`.

    Args:
        examples: output of ExampleGen.
        anomalies: output of ExampleValidator.
        schema: the schema that the data was validated against.
        severity: `kinds` and `columns`, each a mapping from a name to stop, warn or ignore; the severity of a column
            overrides that of a kind.
        table: how to read the files of `examples` again for example rows: the options of `CsvTable`; empty if the
            data is not CSV.
        drift: output of DriftValidator.
    """

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        anomalies: types.BaseChannel,
        schema: types.BaseChannel,
        severity: Mapping[str, Mapping[Any, str]],
        table: Mapping[str, Any],
        drift: types.BaseChannel | None = None,
    ) -> None:
        super().__init__(
            _Spec(
                examples=examples,
                anomalies=anomalies,
                schema=schema,
                drift=drift,
                severity=json.dumps(severity, sort_keys=True),
                table=json.dumps(table, sort_keys=True),
                verdict=types.Channel(type=Verdict),
            )
        )


def tfdv_anomalies(anomalies: Path, split: str) -> list[tuple[str, str, str]]:
    """Return ExampleValidator's anomalies of a split: feature ('' for the data set), kind and description, sorted.

    Args:
        anomalies: folder of ExampleValidator's output.
        split: name of the split.
    """
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    message = anomalies_pb2.Anomalies()
    message.ParseFromString((anomalies / f"Split-{split}" / "SchemaDiff.pb").read_bytes())
    whole = [("", "other", reason.description) for reason in message.dataset_anomaly_info.reason]
    shape = anomalies_pb2.AnomalyInfo.INVALID_FEATURE_SHAPE
    single = [
        # The key of an anomaly is the column in TFDV's own quotes: 'a.b' for a.b, and 'it''s' for it's.
        (".".join(info.path.step) or key, _kind(anomalies_pb2.AnomalyInfo.Type.Name(reason.type)), reason.description)
        for key, info in sorted(message.anomaly_info.items())
        # For a missing value TFDV also reports an invalid shape; sort it last, so that the clearer message is kept.
        for reason in sorted(info.reason, key=lambda reason: reason.type == shape)
    ]
    return whole + single


def severity_of(anomaly: Anomaly, severity: Mapping[str, Mapping[str, str]]) -> str:
    """Return the severity of the column, else of the kind, else `stop`; for a new column the default is `warn`."""
    kinds = {**_DEFAULT_SEVERITY, **severity["kinds"]}
    return severity["columns"].get(anomaly.column) or kinds.get(anomaly.kind, "stop")


def _kind(tfdv_name: str) -> str:
    return next((kind for start, kind in _KIND_BY_PREFIX.items() if tfdv_name.startswith(start)), "other")


def schema_anomalies(folder: Path, splits: Iterable[str]) -> list[Anomaly]:
    """Return ExampleValidator's anomalies of all splits, one per kind and column, without severity.

    Args:
        folder: folder of ExampleValidator's output.
        splits: names of the splits.
    """
    anomalies = _deduplicate(
        Anomaly(column, kind, "", _shorten(description.rstrip(". ").replace("\n", " ")))
        for split in splits
        for column, kind, description in tfdv_anomalies(folder, split)
    )
    new = [anomaly.column for anomaly in anomalies if anomaly.kind == "new_column"]
    return [
        replace(a, text=f"{a.text}{did_you_mean(a.column, new)}") if a.kind == "missing_column" else a
        for a in anomalies
    ]


def _shorten(text: str) -> str:
    # TFDV lists every new value of a column, and there may be a hundred thousand.
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT].rpartition(',')[0]}, …"


def _drift_anomalies(report: Mapping[str, Any]) -> Iterator[Anomaly]:
    for column, feature in report["features"].items():
        if drift_report.drifted(feature):
            yield Anomaly(column, "drift", "", drift_report.description(feature, report["baseline"]["span"]))


def _deduplicate(anomalies: Iterable[Anomaly]) -> list[Anomaly]:
    """Keep the first anomaly of each kind in each column; the others report the same for another split."""
    first: dict[tuple[str, str, str], Anomaly] = {}
    for anomaly in anomalies:
        first.setdefault((anomaly.column, anomaly.kind, anomaly.text if anomaly.kind == "other" else ""), anomaly)
    return list(first.values())


def _with_examples(
    anomalies: list[Anomaly], schema: Path, drift: Mapping[str, Any] | None, rows: CsvTable
) -> list[Anomaly]:
    """Add example rows to the anomalies: rows that violate the schema, or that a drift consists of."""
    shown = [anomaly for anomaly in anomalies if anomaly.severity != "ignore"]
    violating = {a.column for a in shown if a.kind in ("type", "presence", "domain", "range")}
    drifted = {a.column for a in shown if a.kind == "drift"}
    violations = find_violations(rows, schema, violating) if violating else {}
    drifted_rows: Mapping[str, DriftedRows] = {}
    if drift and drifted:
        before = {column: drift["features"][column]["shares"] for column in drifted}
        drifted_rows = find_drifted_rows(rows, before, drift["baseline"]["span"])
    return [replace(a, rows=(drifted_rows if a.kind == "drift" else violations).get(a.column)) for a in anomalies]
