"""Describe what a pipeline has left in ML Metadata and in its artifacts, to compare it with what another run has left."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# What is another value in each run, or is named after it.
_OF_THE_RUN = ("name", "input_fingerprint", "tfx_version", "__", "benison_", "is_external", "current_model_id")
_FOLDER_OF_EXECUTION = re.compile(r"(/\w+)/\d+(?=/|$|\")")


def executions(store: Path, folder: Path, examples: list[bytes]) -> dict[str, Any]:
    """Describe every execution, its inputs, properties and outputs; the third `Trainer` is `Trainer 3`.

    Args:
        store: an SQLite store of ML Metadata.
        folder: the run's folder; relative paths begin there, and paths in it are compared from there on.
        examples: serialized tf.Examples for the models to predict.
    """
    from ml_metadata import metadata_store
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    handle = metadata_store.MetadataStore(
        mlmd.ConnectionConfig(sqlite=mlmd.SqliteMetadataSourceConfig(filename_uri=str(store), connection_mode=1))
    )
    types = {kind.id: kind.name for kind in handle.get_artifact_types()}
    artifacts = {artifact.id: artifact for artifact in handle.get_artifacts()}
    events: dict[int, list[Any]] = {}
    for event in handle.get_events_by_execution_ids([execution.id for execution in handle.get_executions()]):
        events.setdefault(event.execution_id, []).append(event)
    described: dict[str, Any] = {}
    made_by: dict[int, str] = {}
    for execution in sorted(handle.get_executions(), key=lambda execution: execution.id):
        contexts = handle.get_contexts_by_execution(execution.id)
        (name,) = (context.name.partition(".")[2] for context in contexts if context.type == "node")
        number = 1 + sum(label.rpartition(" ")[0] == name for label in described)
        label = f"{name} {number}"
        inputs: dict[str, list[str]] = {}
        outputs: dict[str, Any] = {}
        for event in events.get(execution.id, []):
            artifact = artifacts[event.artifact_id]
            key, place = event.path.steps[0].key, event.path.steps[1].index
            if event.type in (mlmd.Event.INPUT, mlmd.Event.DECLARED_INPUT):
                inputs.setdefault(key, []).append(made_by.get(artifact.id, "?"))
                continue
            if artifact.id in made_by:  # from the cache, or found by a Resolver
                outputs[f"{key}[{place}]"] = f"that of {made_by[artifact.id]}"
                continue
            made_by[artifact.id] = f"{label} {key}[{place}]"
            outputs[f"{key}[{place}]"] = {
                "type": types[artifact.type_id],
                "properties": _properties(artifact, folder),
                "content": content(folder / artifact.uri, types[artifact.type_id], folder, examples),
            }
        described[label] = {
            "state": mlmd.Execution.State.Name(execution.last_known_state),
            "properties": _properties(execution, folder),
            "inputs": {key: sorted(labels) for key, labels in inputs.items()},
            "outputs": outputs,
        }
    return described


def _properties(item: Any, folder: Path) -> dict[str, Any]:
    values = {**item.properties, **item.custom_properties}
    described: dict[str, Any] = {
        name: _without_folder(str(getattr(value, value.WhichOneof("value"))), folder)
        for name, value in values.items()
        if not name.startswith(_OF_THE_RUN)
    }
    if "split_names" in described:  # Transform writes them in the order of a set
        described["split_names"] = sorted(json.loads(described["split_names"] or "[]"))
    return described


def _without_folder(text: str, folder: Path) -> str:
    """Leave out the run's folder and the numbers of executions in paths."""
    return _FOLDER_OF_EXECUTION.sub(r"\1", text.replace(str(folder), "FOLDER"))


def content(path: Path, kind: str, folder: Path, examples: list[bytes]) -> Any:
    """Return what is in an artifact, by its files' names.

    Args:
        path: the artifact.
        kind: its type.
        folder: see `executions`.
        examples: see `executions`.
    """
    if kind == "TransformCache":  # its folders are named after the paths of its inputs
        return sum(file.is_file() for file in path.rglob("*"))
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    models = [file.parent for file in files if file.name == "saved_model.pb"]
    found: dict[str, Any] = {}
    for file in files:
        model = next((model for model in models if file.is_relative_to(model)), None)
        name = "." if file == path else str(file.relative_to(path))
        if file.parent == model and file.name == "saved_model.pb":
            found[name] = _model(model, examples)
        elif model and "assets" not in file.parts:
            found[name] = "of a model"
        elif "events.out.tfevents" in name:
            continue  # named after the time
        else:
            found[name] = _file(file, kind, folder)
    if kind == "PushedModel":  # a folder named after the time
        return list(found.values())
    return found


def _file(file: Path, kind: str, folder: Path) -> Any:
    if file.suffix == ".gz" or "tfrecord" in file.name or (kind == "ModelEvaluation" and "-of-" in file.name):
        return sorted((_record(record, kind, file) for record in _records(file)), key=_sorted_json)
    if file.name == "FeatureStats.pb":
        from tensorflow_metadata.proto.v0 import statistics_pb2

        return _data(statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read_bytes()))
    if file.name == "SchemaDiff.pb":
        from tensorflow_metadata.proto.v0 import anomalies_pb2

        return _data(anomalies_pb2.Anomalies.FromString(file.read_bytes()))
    try:
        text = _without_folder(file.read_text(), folder)
    except UnicodeDecodeError:
        return file.read_bytes().hex()
    try:
        return json.loads(text)
    except ValueError:
        return text


def _sorted_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _records(file: Path) -> Iterator[bytes]:
    import tensorflow as tf

    compression = "GZIP" if file.read_bytes()[:2] == b"\x1f\x8b" else ""
    yield from tf.data.TFRecordDataset(str(file), compression_type=compression).as_numpy_iterator()


def _record(record: bytes, kind: str, file: Path) -> Any:
    import tensorflow as tf

    if kind == "InferenceResult":
        from tensorflow_serving.apis import prediction_log_pb2

        log = _data(prediction_log_pb2.PredictionLog.FromString(record))
        tensors = log["predictLog"]["request"]["inputs"].values()
        for tensor in tensors:  # a serialized map has no order
            tensor["stringVal"] = [_row(tf.io.decode_base64(_url_safe(text)).numpy()) for text in tensor["stringVal"]]
        return log
    if kind == "ModelEvaluation":
        from tensorflow_model_analysis.proto import metrics_for_slice_pb2, validation_result_pb2

        message = {
            "metrics": metrics_for_slice_pb2.MetricsForSlice,
            "plots": metrics_for_slice_pb2.PlotsForSlice,
            "attributions": metrics_for_slice_pb2.AttributionsForSlice,
            "validations": validation_result_pb2.ValidationResult,
        }[file.name.partition("-")[0].removesuffix(".tfrecord")]
        return _without_order(_data(message.FromString(record)))
    return _row(record)


def _without_order(value: Any) -> Any:
    """Sort all lists: Beam gives slices and metrics in any order."""
    if isinstance(value, dict):
        return {key: _without_order(inner) for key, inner in value.items()}
    return sorted(map(_without_order, value), key=_sorted_json) if isinstance(value, list) else value


def _url_safe(text: str) -> str:
    return text.replace("+", "-").replace("/", "_").rstrip("=")


def _row(record: bytes) -> Any:
    import tensorflow as tf

    return _data(tf.train.Example.FromString(record))


def _data(message: Any) -> Any:
    from google.protobuf import json_format

    return json_format.MessageToDict(message)


def _model(folder: Path, examples: list[bytes]) -> Any:
    """Return the signatures of a model, its weights and assets, and what it predicts."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    described: dict[str, Any] = {"signatures": sorted(loaded.signatures)}
    for name, signature in loaded.signatures.items():
        inputs = signature.structured_input_signature[1]
        described[name] = {key: str((spec.dtype, spec.shape)) for key, spec in inputs.items()}
        if list(inputs) == ["examples"]:
            answers = signature(examples=tf.constant(examples))
            described[f"{name} of the examples"] = {key: value.numpy().tolist() for key, value in answers.items()}
    variables = tf.train.load_checkpoint(str(folder / "variables/variables"))
    names = variables.get_variable_to_shape_map().keys() - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    # Keras numbers them in the order of a set.
    described["weights"] = sorted((variables.get_tensor(name).tolist() for name in names), key=str)
    return described


def differences(one: Any, other: Any, tolerance: float = 1e-5, place: str = "") -> list[str]:
    """Return the places where two descriptions differ, with both values.

    Args:
        one: plain data.
        other: plain data.
        tolerance: relative difference of numbers that is none: sums of floats depend on the order of rows.
        place: where in a larger description the two are.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        only = [f"{place}: only one has {key!r}" for key in sorted(one.keys() ^ other.keys())]
        return only + [
            line
            for key in one
            if key in other
            for line in differences(one[key], other[key], tolerance, f"{place}/{key}")
        ]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [line for n, (a, b) in pairs for line in differences(a, b, tolerance, f"{place}[{n}]")]
    if isinstance(one, float) and isinstance(other, float):
        if math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance) or (math.isnan(one) and math.isnan(other)):
            return []
    elif one == other:
        return []
    return [f"{place}: {str(one)[:300]} != {str(other)[:300]}"]
