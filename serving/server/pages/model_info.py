"""Information in a version's folder beside the SavedModel: Benison's manifest, the schema of the data, warm-up rows.

Serving needs none of it, and a model of another tool may not have it. Missing or broken files are skipped.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benison.serving.errors import BenisonError
from benison.serving.server.engines import warmup
from benison.serving.versions import input_columns
from benison.serving.versions.input_columns import InputColumn
from benison.serving.versions.local import EXTRA, MANIFEST

_SPEC = f"{EXTRA}/ensemble.json"
_EQUAL = frozenset(["mean", "soft_vote", "majority_vote"])  # combiners with equal weights by default
_MAX_RECORDS = 50  # records of the warm-up file that are searched for an example
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelInfo:
    """Information about a version.

    Attributes:
        label: name of the predicted column; empty if unknown.
        members: names of the ensemble's members, in the order of the ensemble.
        combiner: name of the combiner; empty if unknown.
        weights: weight of each member, with a sum of 1; empty if the combiner has no weights.
        columns: raw features by input name in the signatures.
        examples: one example row per signature, as values by input name.
        positive: the positive class of a binary problem; empty if unknown.
        threshold: lowest probability that decides for the positive class; None: the most likely class is the decision.
    """

    label: str = ""
    members: tuple[str, ...] = ()
    combiner: str = ""
    weights: Mapping[str, float] = field(default_factory=dict)
    columns: Mapping[str, InputColumn] = field(default_factory=dict)
    examples: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    positive: str = ""
    threshold: float | None = None


def read(path: str) -> ModelInfo:
    """Read a version's folder; blocks."""
    folder = Path(path)
    manifest = _json(folder / MANIFEST)
    spec = {**manifest, **_json(folder / _SPEC)}
    members = tuple(str(name) for name in _as_list(spec.get("members")))
    combiner = spec.get("combiner")
    settings: Mapping[str, Any] = combiner if isinstance(combiner, dict) else {"kind": combiner}
    kind = str(settings.get("kind") or "")
    return ModelInfo(
        label=str(manifest.get("label") or ""),
        positive=str(manifest.get("positive") or ""),
        threshold=threshold if isinstance(threshold := spec.get("threshold"), float) else None,
        members=members,
        combiner=kind,
        weights=_normalized_weights(members, kind, settings.get("weights") or manifest.get("weights")),
        columns=_columns(folder),
        examples=_examples(folder / warmup.FILE),
    )


def _normalized_weights(members: tuple[str, ...], combiner: str, weights: Any) -> dict[str, float]:
    if weights and isinstance(weights, dict):
        numbers = {name: weight for name, weight in weights.items() if isinstance(weight, (int, float))}
        positive = {name: max(float(numbers.get(name, 0.0)), 0.0) for name in members}
        total = sum(positive.values())
        return {name: weight / total for name, weight in positive.items()} if total > 0 else {}
    return {name: 1 / len(members) for name in members} if combiner in _EQUAL else {}


def _columns(path: Path) -> dict[str, InputColumn]:
    try:
        return input_columns.read(path)
    except BenisonError as error:
        _log.warning("%s", error)
        return {}


def _examples(path: Path) -> dict[str, dict[str, Any]]:
    """Return the first row of the first request per signature in a warm-up file."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError
    from tensorflow_serving.apis import prediction_log_pb2

    rows: dict[str, dict[str, Any]] = {}
    if not path.is_file():
        return rows
    try:
        for number, record in enumerate(tf.compat.v1.io.tf_record_iterator(str(path))):
            if number == _MAX_RECORDS:
                break
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if log.HasField("predict_log"):
                request = log.predict_log.request
                row = {name: _first(tf.make_ndarray(proto)) for name, proto in request.inputs.items()}
                rows.setdefault(request.model_spec.signature_name or "serving_default", row)
    except (DecodeError, tf.errors.OpError, TypeError, ValueError) as error:
        _log.warning("%s: cannot read an example row from it: %s", path, error)
    return rows


def _first(values: Any) -> Any:
    """Return the first row of a tensor as JSON values; None for NaN, infinity, and bytes that are not UTF-8."""
    row = values[0] if values.ndim else values[()]
    plain = row.tolist() if hasattr(row, "tolist") else row
    try:
        if isinstance(plain, bytes):
            return plain.decode()
        json.dumps(plain, allow_nan=False)
    except (TypeError, ValueError):
        return None
    return plain


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _log.warning("%s: cannot read it: %s", path, error)
        return {}
    return document if isinstance(document, dict) else {}


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
