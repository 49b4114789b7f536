"""The manifest of a pushed ensemble: what it is made of, its quality, and the verdicts that let it pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benison.serving.ensemble import Ensemble
from benison.serving.files import checksum
from benison.serving.versions import content, local
from benison.serving.versions.manifest import Manifest


def describe(
    facts: Mapping[str, Any],
    ensemble: Ensemble,
    report: Mapping[str, Any],
    blessing: Mapping[str, Any],
    certificate: Mapping[str, Any],
    hashes: Mapping[str, str | None],
) -> Manifest:
    """Return the manifest; `versions.local.publish` adds number, time, files, sizes and checksums.

    Args:
        facts: The pipeline's name, label, problem, data format and spans.
        ensemble: The spec.
        report: EnsembleBuilder's `ensemble_report.json`.
        blessing: `blessing.json`: verdicts, metrics, gains, quality without each member, slices, the interval of a
            regression's answers, and baseline.
        certificate: ServingValidator's `serving.json`: verdicts, parity by path, budget and measurements.
        hashes: See `hashes`.
    """
    return Manifest.model_validate(
        {
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
    )


def hashes(model: Path, transform_graph: Path, code: str | None, config: str) -> dict[str, str | None]:
    """Return the SHA-256 (hex) of what a model came from; that of Transform is of its content, not of its bytes.

    Args:
        model: The SavedModel, with the schema of its raw features.
        transform_graph: Transform's output.
        code: Hash of the user's functions and of Benison, see `benison.pipelines.code.cache_key`; None if unknown.
        config: Hash of the pipeline's settings.
    """
    return {
        "schema": checksum.of_file(model / local.SCHEMA),
        "transform": content.checksum(transform_graph / "transform_fn"),
        "code": code,
        "config": config,
    }
