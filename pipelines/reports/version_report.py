"""Tables of pushed versions: the list, a comparison of two, and the record of changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benison.pipelines.drawings.numbers import figure
from benison.pipelines.records.sizes import folder_size, format_size
from benison.pipelines.reports.tables import DataTable
from benison.serving import models_config
from benison.serving.promotion import history
from benison.serving.promotion import labels as promotion_labels
from benison.serving.promotion.labels import CANARY
from benison.serving.versions import content, local
from benison.serving.versions.local import STABLE, Version
from benison.serving.versions.manifest import Manifest

Metrics = Mapping[str, float | None]
_ENSEMBLE = "ensemble"


def labels(base: Path) -> dict[int, list[str]]:
    """Return the labels of a model's versions; `served` stands for a version that is served without a label.

    Args:
        base: ROOT/serving/NAME.
    """
    config = models_config.read(base.parent)
    model = config.models.get(base.name)
    labels_of: dict[int, list[str]] = {}
    for label, number in sorted(model.labels.items()) if model else ():
        labels_of.setdefault(number, []).append(label)
    current = promotion_labels.served_versions(config, base)
    if current.canary is not None:
        labels_of.setdefault(current.canary, []).append(CANARY)
    if current.stable is not None and STABLE not in labels_of.get(current.stable, []):
        labels_of.setdefault(current.stable, []).append("served")
    return labels_of


def table(base: Path, stored: Mapping[int, str] | None = None) -> DataTable:
    """Return a table with one row per version, oldest first.

    Args:
        base: ROOT/serving/NAME.
        stored: `yes` or `damaged` for the versions in the object store; None for no such column.
    """
    labels_of = labels(base)
    rows = DataTable("version", "label", "created", "spans", "metric", "members", "size")
    if stored is not None:
        rows.add_column("store")
    for version in local.all_versions(base):
        manifest = version.manifest
        kind = version.condition.kind
        rows.add_row(
            str(version.number),
            ", ".join([*labels_of.get(version.number, []), *([] if kind == "whole" else [kind])]),
            manifest.created,
            _spans(manifest),
            _metric(manifest),
            ", ".join(manifest.members),
            format_size(size(version)),
            *([] if stored is None else [stored.get(version.number, "no")]),
        )
    return rows


def changes(base: Path) -> DataTable:
    """Return a table with one row per change of a label, oldest first."""
    rows = DataTable("when", "who", "label", "from", "to", "why")
    for change in history.read(base):
        numbers = ("-" if number is None else str(number) for number in (change.before, change.to))
        rows.add_row(change.when, change.who, change.label, *numbers, change.why)
    return rows


def difference(left: Version, right: Version) -> DataTable:
    """Return a table of two versions side by side; a star marks differences."""
    rows = DataTable("", "", str(left.number), str(right.number))
    left_values, right_values = (
        {**_compared_values(version), **{name: value[:12] for name, value in hashes.items() if value}}
        for version, hashes in zip((left, right), _comparable_hashes(left, right), strict=True)
    )
    for key in dict.fromkeys([*left_values, *right_values]):
        values = [left_values.get(key, "-"), right_values.get(key, "-")]
        rows.add_row("" if values[0] == values[1] else "*", key, *values)
    return rows


def size(version: Version) -> int:
    """Return the size of a version's files (bytes)."""
    recorded = version.manifest.bytes
    return folder_size(version.path) if recorded is None else recorded


def _compared_values(version: Version) -> dict[str, str]:
    """Return what two versions are compared by, in the order of the table."""
    manifest = version.manifest
    return {
        "created": manifest.created or "-",
        "spans": _spans(manifest),
        "size": format_size(size(version)),
        "combiner": manifest.combiner or "-",
        **({"positive": manifest.positive} if manifest.positive else {}),
        **({} if manifest.threshold is None else {"threshold": f"{manifest.threshold:.4g}"}),
        **{f"member {name}": _weight(manifest.weights.get(name)) for name in manifest.members},
        **{
            f"{name} {metric}": figure(value)
            for name, metrics in _ensemble_first(manifest.metrics).items()
            for metric, value in metrics.items()
            if value is not None
        },
    }


def _comparable_hashes(left: Version, right: Version) -> list[dict[str, str | None]]:
    """Return the hashes of what two versions were made from, and of their content last.

    Former releases recorded checksums of the bytes of SavedModels, which differ even between equal ones. So hashes of
    SavedModels that differ are computed again, from the pushed models.
    """
    versions = (left, right)
    hashes: list[dict[str, str | None]] = [
        {**version.manifest.hashes, "content": version.manifest.candidate or local.checksum(version.path)}
        for version in versions
    ]
    if any(len({each.get(key) for each in hashes}) > 1 for key in ("transform", "content")):
        signatures = [content.signatures(version.path) for version in versions]
        for version, each, by_name in zip(versions, hashes, signatures, strict=True):
            each["content"] = content.checksum(version.path, by_name)
            if all(other and content.TRANSFORM in other for other in signatures):
                each["transform"] = (by_name or {})[content.TRANSFORM]
    return hashes


def _ensemble_first(metrics: Mapping[str, Metrics]) -> dict[str, Metrics]:
    return dict(sorted(metrics.items(), key=lambda item: item[0] != _ENSEMBLE))


def _weight(weight: float | None) -> str:
    return "yes" if weight is None else f"weight {weight:.4f}"


def _spans(manifest: Manifest) -> str:
    spans = manifest.spans
    if not spans:
        return "-"
    return str(spans[0]) if len(spans) == 1 else f"{spans[0]}-{spans[-1]}"


def _metric(manifest: Manifest) -> str:
    value = manifest.metrics.get(_ENSEMBLE, {}).get(manifest.metric)
    return "-" if value is None else f"{manifest.metric} {figure(value)}"
