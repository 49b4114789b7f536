"""Which of the pushed versions are no longer needed, and taking them off the disk."""

from __future__ import annotations

from pathlib import Path

from serving import arrangement, models_config, versions
from serving.models_config import Config
from serving.versions import Version


def kept(base: Path, keep: int) -> list[Version]:
    """The versions of an ensemble that stay: the newest ones, and whatever models.config has served.

    Args:
        base: ROOT/serving/NAME.
        keep: how many of the newest.

    Raises:
        UsageError: models.config is none.
    """
    there = versions.versions(base)
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
    pinned = {pin for version in stay for pin in arrangement.pins(version).items()}
    going = [version for version in versions.versions(base) if version not in stay]
    members = {pin for version in going for pin in arrangement.pins(version).items()} - pinned
    found = (versions.find(base.with_name(name), number) for name, number in sorted(members))
    return [*going, *(member for member in found if member)]


def _served(base: Path, config: Config) -> set[int]:
    """All that may be served, under NAME or as its canary."""
    shown = arrangement.shown(config, base)
    named = config.models.get(base.name)
    wanted = {*named.labels.values(), *models_config.wanted(named)} if named else set()
    return wanted | {number for number in (shown.stable, shown.canary) if number is not None}
