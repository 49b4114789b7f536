"""Which of the pushed versions are no longer needed, and taking them off the disk."""

from __future__ import annotations

from pathlib import Path

from benison.serving import models_config
from benison.serving.models_config import Config
from benison.serving.promotion import labels
from benison.serving.versions import local, sets
from benison.serving.versions.local import Version


def kept(base: Path, keep: int) -> list[Version]:
    """The versions of an ensemble that stay: the newest ones, and whatever models.config has served.

    Args:
        base: ROOT/serving/NAME.
        keep: how many of the newest.

    Raises:
        UsageError: models.config is none.
    """
    there = local.versions(base)
    newest = {version.number for version in there[-keep:]}
    served = _served(base, models_config.read(base.parent))
    return [version for version in there if version.number in newest | served]


def unneeded(base: Path, keep: int) -> list[Version]:
    """The versions that can go, with their members' that no version that stays was pushed with.

    Args:
        base: ROOT/serving/NAME.
        keep: how many of the newest stay.

    Raises:
        UsageError: models.config is none.
    """
    stay = kept(base, keep)
    pinned = {pin for version in stay for pin in sets.pins(version).items()}
    going = [version for version in local.versions(base) if version not in stay]
    members = {pin for version in going for pin in sets.pins(version).items()} - pinned
    found = (local.find(base.with_name(name), number) for name, number in sorted(members))
    return [*going, *(member for member in found if member)]


def _served(base: Path, config: Config) -> set[int]:
    """All that may be served, under NAME or as its canary."""
    shown = labels.served_versions(config, base)
    named = config.models.get(base.name)
    wanted = {*named.labels.values(), *models_config.wanted(named)} if named else set()
    return wanted | {number for number in (shown.stable, shown.canary) if number is not None}
