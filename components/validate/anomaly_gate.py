"""AnomalyGate: stops a run whose data ExampleValidator or DriftValidator found wanting.

TFX lets a run go on with anomalies: ExampleValidator writes them down and is green. Here each anomaly has a severity;
one that stops is an error that names column, share of rows, what was expected and seen, and rows to look at.
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

from benison.components.ingest.csv_table import WARNINGS, CsvTable
from benison.components.validate import drift as drifts
from benison.components.validate.drift_rows import DriftedRows, find_drifted_rows
from benison.components.validate.schema_violations import SchemaViolations, find_violations
from benison.serving.errors import DataError

FILE = "verdict.json"

# What TFDV calls an anomaly, by the beginning of its name; see tensorflow_metadata's anomalies.proto.
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
    """One thing that is wrong with the data.

    Attributes:
        column: '' for the data as a whole.
        kind: new_column, missing_column, type, presence, domain, range, drift or other.
        severity: stop, warn or ignore.
        text: what was expected and what was seen.
        rows: those that misfit, or that moved; None where it is not a matter of single rows.
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
    """The gate's word on the data: `verdict.json`, all anomalies with their severities."""

    TYPE_NAME = "DataVerdict"


class Executor(base_executor.BaseExecutor):
    """Raises where an anomaly stops, naming all of them; prints those that warn."""

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
        seen = [a for split in splits for a in _schema_anomalies(Path(anomalies.uri), split)]
        drift = None
        if "drift" in input_dict:
            drift = json.loads(Path(artifact_utils.get_single_uri(input_dict["drift"]), drifts.FILE).read_text())
            seen += _drift_anomalies(drift)
        judged = [replace(a, severity=severity_of(a, severity)) for a in _deduplicate(seen)]
        judged = _with_examples(judged, schema, drift, json.loads(exec_properties["table"]))
        verdict = artifact_utils.get_single_instance(output_dict["verdict"])
        Path(verdict.uri, FILE).write_text(json.dumps([asdict(a) for a in judged], indent=2))
        verdict.set_string_custom_property(WARNINGS, json.dumps([str(a) for a in judged if a.severity == "warn"]))
        for anomaly in judged:
            print(anomaly.severity.upper(), anomaly)
        stopping = [str(a) for a in judged if a.severity == "stop"]
        if stopping:
            raise DataError(
                "; ".join(stopping) + ". Mend the data; where the data are right, mend the schema, or the severity "
                "under `validation`"
            )
        print(f"{len(judged)} anomalies, none that stops" if judged else "no anomalies")


class _Spec(ComponentSpec):
    PARAMETERS = {"severity": ExecutionParameter(type=str), "table": ExecutionParameter(type=str)}
    INPUTS = {
        "anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
        "drift": ChannelParameter(type=drifts.DriftReport, optional=True),
    }
    OUTPUTS = {"verdict": ChannelParameter(type=Verdict)}


class AnomalyGate(base_component.BaseComponent):
    """Lets what depends on it run only where no anomaly stops.

    Args:
        anomalies: ExampleValidator's output.
        schema: the schema that they are against.
        severity: `kinds` and `columns`, each from a name to stop, warn or ignore; a column's counts before a kind's.
        table: how to read the CSV again for rows to show: `pattern` and the options of `CsvTable`; empty for data
            that are no CSV.
        drift: DriftValidator's output.
    """

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        anomalies: types.BaseChannel,
        schema: types.BaseChannel,
        severity: Mapping[str, Mapping[Any, str]],
        table: Mapping[str, Any],
        drift: types.BaseChannel | None = None,
    ) -> None:
        super().__init__(
            _Spec(
                anomalies=anomalies,
                schema=schema,
                drift=drift,
                severity=json.dumps(severity, sort_keys=True),
                table=json.dumps(table, sort_keys=True),
                verdict=types.Channel(type=Verdict),
            )
        )


def tfdv_anomalies(anomalies: Path, split: str) -> list[tuple[str, str, str]]:
    """What ExampleValidator found in a split: feature ('' for the whole data set), kind and description, sorted.

    Args:
        anomalies: folder of its output.
        split: name.
    """
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    message = anomalies_pb2.Anomalies()
    message.ParseFromString((anomalies / f"Split-{split}" / "SchemaDiff.pb").read_bytes())
    whole = [("", "other", reason.description) for reason in message.dataset_anomaly_info.reason]
    shape = anomalies_pb2.AnomalyInfo.INVALID_FEATURE_SHAPE
    single = [
        (name, _kind(anomalies_pb2.AnomalyInfo.Type.Name(reason.type)), reason.description)
        for name, info in sorted(message.anomaly_info.items())
        # The same as a value that is not there, in harder words.
        for reason in sorted(info.reason, key=lambda reason: reason.type == shape)
    ]
    return whole + single


def severity_of(anomaly: Anomaly, severity: Mapping[str, Mapping[str, str]]) -> str:
    """A column's own severity, else its kind's, else stop; a new column, which no feature reads yet, only warns."""
    kinds = {**_DEFAULT_SEVERITY, **severity["kinds"]}
    return severity["columns"].get(anomaly.column) or kinds.get(anomaly.kind, "stop")


def _kind(tfdv_name: str) -> str:
    return next((kind for start, kind in _KIND_BY_PREFIX.items() if tfdv_name.startswith(start)), "other")


def _schema_anomalies(folder: Path, split: str) -> Iterator[Anomaly]:
    for column, kind, description in tfdv_anomalies(folder, split):
        yield Anomaly(column, kind, "", _shorten(description.rstrip(". ").replace("\n", " ")))


def _shorten(text: str) -> str:
    """TFDV lists every new value of a column; a hundred thousand of them are no message."""
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT].rpartition(',')[0]}, …"


def _drift_anomalies(report: Mapping[str, Any]) -> Iterator[Anomaly]:
    for column, feature in report["features"].items():
        if feature["distance"] > feature["threshold"]:
            yield Anomaly(
                column,
                "drift",
                "",
                f"its distribution moved by {feature['distance']:.3f} (Jensen-Shannon divergence) from span "
                f"{report['baseline']['span']}, allowed is {feature['threshold']:g}; was {feature['before']}, "
                f"is {feature['now']}",
            )


def _deduplicate(anomalies: Iterable[Anomaly]) -> list[Anomaly]:
    """The first of each kind in each column: the others say the same of another split, in other figures."""
    first: dict[tuple[str, str, str], Anomaly] = {}
    for anomaly in anomalies:
        first.setdefault((anomaly.column, anomaly.kind, anomaly.text if anomaly.kind == "other" else ""), anomaly)
    return list(first.values())


def _with_examples(
    anomalies: list[Anomaly], schema: Path, drift: Mapping[str, Any] | None, table: Mapping[str, Any]
) -> list[Anomaly]:
    """Adds the rows that misfit the schema; for a drift, those that it is made of."""
    shown = [anomaly for anomaly in anomalies if anomaly.severity != "ignore"]
    misfit = {a.column for a in shown if a.kind in ("type", "presence", "domain", "range")}
    moved = {a.column for a in shown if a.kind == "drift"}
    if not table or not misfit | moved:
        return anomalies
    options = {**table, "missing": frozenset(table["missing"])}
    rows = CsvTable.matching(options.pop("pattern"), **options)
    misfits = find_violations(rows, schema, misfit) if misfit else {}
    shifted: Mapping[str, DriftedRows] = {}
    if drift and moved:
        before = {column: drift["features"][column]["shares"] for column in moved}
        shifted = find_drifted_rows(rows, before, drift["baseline"]["span"])
    return [replace(a, rows=(shifted if a.kind == "drift" else misfits).get(a.column)) for a in anomalies]
