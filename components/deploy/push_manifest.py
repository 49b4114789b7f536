"""What a pushed ensemble's manifest says: what it is made of, what it is worth, and who let it pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benison.serving.ensemble import Ensemble
from benison.serving.versions import local


def describe(
    facts: Mapping[str, Any],
    ensemble: Ensemble,
    report: Mapping[str, Any],
    blessing: Mapping[str, Any],
    certificate: Mapping[str, Any],
    hashes: Mapping[str, str | None],
) -> dict[str, Any]:
    """The manifest, to which `versions.publish` adds the version's number, time, files, sizes and checksums.

    Args:
        facts: of the pipeline: its name, label, problem, form of its data and spans.
        ensemble: the spec.
        report: EnsembleBuilder's, `ensemble_report.json`.
        blessing: `blessing.json`: verdicts, metrics, gains, quality without each member, slices and baseline.
        certificate: ServingValidator's `serving.json`: verdicts, parity by path, budget and what was measured.
        hashes: see `hashes`.
    """
    return {
        **facts,
        "members": list(ensemble.members),
        "combiner": ensemble.combiner.kind,
        "weights": dict(getattr(ensemble.combiner, "weights", {})),
        "calibration": ensemble.calibration.model_dump() if ensemble.calibration else None,
        "contributions": report["contributions"],
        **blessing,
        "serving": certificate,
        "hashes": hashes,
    }


def hashes(model: Path, transform_graph: Path, code: str | None, config: str) -> dict[str, str | None]:
    """SHA-256 (hex) of what a model came from.

    Args:
        model: the SavedModel, with the schema of its raw features.
        transform_graph: Transform's output.
        code: of the user's functions and of Benison, see `benison.pipelines.code.cache_key`; None where nobody took it.
        config: of the pipeline's settings.
    """
    return {
        "schema": local.file_checksum(model / local.SCHEMA),
        "transform": local.checksum(transform_graph / "transform_fn"),
        "code": code,
        "config": config,
    }
