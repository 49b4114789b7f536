"""Pushed versions as tables: which there are, how two of them differ, and who changed what is served."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from benison.pipelines.records.sizes import on_disk, readable
from benison.serving import models_config
from benison.serving.promotion import history
from benison.serving.promotion import labels as promotion_labels
from benison.serving.promotion.labels import CANARY
from benison.serving.versions import local
from benison.serving.versions.local import STABLE, Version

_ENSEMBLE = "ensemble"
_FORM: Mapping[str, Any] = {"box": None, "header_style": "bold", "pad_edge": False}


def labels(base: Path) -> dict[int, list[str]]:
    """The labels of a model's versions, and `served` for what is served without one.

    Args:
        base: ROOT/serving/NAME.
    """
    config = models_config.read(base.parent)
    named = config.models.get(base.name)
    found: dict[int, list[str]] = {}
    for label, number in sorted(named.labels.items()) if named else ():
        found.setdefault(number, []).append(label)
    shown = promotion_labels.served_versions(config, base)
    if shown.canary is not None:
        found.setdefault(shown.canary, []).append(CANARY)
    if shown.stable is not None and STABLE not in found.get(shown.stable, []):
        found.setdefault(shown.stable, []).append("served")
    return found


def table(base: Path, stored: Collection[int] | None = None) -> Table:
    """One row per version, oldest first.

    Args:
        base: ROOT/serving/NAME.
        stored: the versions that are in the object store; None for no such column.
    """
    given = labels(base)
    shown = Table("version", "label", "created", "spans", "metric", "members", "size", **_FORM)
    if stored is not None:
        shown.add_column("store")
    for version in local.versions(base):
        manifest = version.manifest
        shown.add_row(
            str(version.number),
            ", ".join(given.get(version.number, [])),
            str(manifest.get("created", "")),
            _spans(manifest),
            _metric(manifest),
            escape(", ".join(manifest.get("members", []))),
            readable(size(version)),
            *([] if stored is None else ["yes" if version.number in stored else "no"]),
        )
    return shown


def changes(base: Path) -> Table:
    """One row per change of a label, oldest first."""
    shown = Table("when", "who", "label", "from", "to", "why", **_FORM)
    for change in history.read(base):
        numbers = ("-" if number is None else str(number) for number in (change.before, change.to))
        shown.add_row(change.when, escape(change.who), change.label, *numbers, escape(change.why))
    return shown


def difference(one: Version, other: Version) -> Table:
    """Two versions side by side; a star marks what differs."""
    shown = Table("", "", str(one.number), str(other.number), **_FORM)
    left, right = _facts(one), _facts(other)
    for key in dict.fromkeys([*left, *right]):
        values = [left.get(key, "-"), right.get(key, "-")]
        shown.add_row("" if values[0] == values[1] else "*", escape(key), *(escape(value) for value in values))
    return shown


def size(version: Version) -> int:
    """Of a version's files (bytes)."""
    known = version.manifest.get("bytes")
    return known if isinstance(known, int) else on_disk(version.path)


def _facts(version: Version) -> dict[str, str]:
    """What two versions are compared by, in the order of the table."""
    manifest = version.manifest
    weights = manifest.get("weights") or {}
    return {
        "created": str(manifest.get("created", "-")),
        "spans": _spans(manifest),
        "size": readable(size(version)),
        "combiner": str(manifest.get("combiner", "-")),
        **{f"member {name}": _weight(weights.get(name)) for name in manifest.get("members", [])},
        **{
            f"{name} {metric}": f"{value:.4f}"
            for name, metrics in _ensemble_first(manifest.get("metrics") or {}).items()
            for metric, value in metrics.items()
            if value is not None
        },
        **{name: str(value)[:12] for name, value in _hashes(version).items() if value},
    }


def _hashes(version: Version) -> dict[str, str | None]:
    """By what it was made from; the content's own last."""
    manifest = version.manifest
    return {**(manifest.get("hashes") or {}), "content": manifest.get("candidate") or local.checksum(version.path)}


def _ensemble_first(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return dict(sorted(metrics.items(), key=lambda item: item[0] != _ENSEMBLE))


def _weight(weight: Any) -> str:
    return f"weight {weight:.4f}" if isinstance(weight, int | float) else "yes"


def _spans(manifest: Mapping[str, Any]) -> str:
    spans: Sequence[int] = manifest.get("spans") or []
    if not spans:
        return "-"
    return str(spans[0]) if len(spans) == 1 else f"{spans[0]}-{spans[-1]}"


def _metric(manifest: Mapping[str, Any]) -> str:
    name = manifest.get("metric")
    value = (manifest.get("metrics") or {}).get(_ENSEMBLE, {}).get(name)
    return f"{name} {value:.4f}" if isinstance(value, int | float) else "-"
