"""The versions of a ROOT, with what is served of them. This module loads fast: each run and promotion lists them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from benison.serving import models_config
from benison.serving.errors import BenisonError
from benison.serving.promotion import labels
from benison.serving.versions import local
from benison.serving.versions.local import Version


@dataclass(frozen=True)
class PushedVersion:
    """A version of a pipeline.

    Attributes:
        name: NAME of ROOT/serving/NAME.
        version: the version.
        served: `stable` or `canary`; '' if it is not served.
    """

    name: str
    version: Version
    served: str = ""

    @property
    def id(self) -> str:
        """NAME/VERSION."""
        return f"{self.name}/{self.version.number}"


def names(root: Path) -> list[str]:
    """Return the names under which versions are pushed."""
    return sorted(base.name for base in (root / "serving").glob("*") if base.is_dir())


def read(root: Path) -> list[PushedVersion]:
    """Return all versions of a ROOT by name, ascending; damaged ones too."""
    try:
        config = models_config.read(root / "serving")
    except BenisonError:
        config = models_config.Config({})
    pushed = []
    for name in names(root):
        base = root / "serving" / name
        try:
            versions, served = local.all_versions(base), labels.served_versions(config, base)
        except BenisonError:  # of a newer release
            continue
        label = {served.canary: "canary", served.stable: "stable"}
        pushed += [PushedVersion(name, _with_manifest(v), label.get(v.number, "")) for v in versions]
    return pushed


def _with_manifest(version: Version) -> Version:
    """Return a version with what its manifest says even if it is damaged; nobody uses it for that."""
    if not version.condition.is_damaged:
        return version
    try:
        return replace(version, manifest=local.read_manifest(version.path))
    except (OSError, ValueError, BenisonError):
        return version
