"""Selection of pushed versions that are no longer needed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from benison.serving import models_config
from benison.serving.models_config import Config
from benison.serving.promotion import labels
from benison.serving.versions import local, sets
from benison.serving.versions.local import Version


def kept(base: Path, keep: int) -> list[Version]:
    """Return the versions of an ensemble that are kept: the newest ones, all that models.config serves, and origins.

    An origin is the older version that a kept one publishes once more: a rollback returns to it by this number.

    Args:
        base: ROOT/serving/NAME.
        keep: How many of the newest versions to keep.

    Raises:
        UsageError: models.config is invalid.
    """
    versions = local.versions(base)
    newest = {version.number for version in versions[-keep:]}
    served = _served(base, models_config.read(base.parent))
    numbers = with_origins(versions, newest | served)
    return [version for version in versions if version.number in numbers]


def with_origins(versions: Iterable[Version], numbers: Collection[int]) -> set[int]:
    """Return numbers of versions with those of the older versions that they publish once more; these may be gone."""
    republished = {v.number: v.manifest.republished.version for v in versions if v.manifest.republished}
    found, waiting = set[int](), [*numbers]
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            waiting += [republished[number]] if number in republished else []
    return found


def unneeded(base: Path, keep: int) -> list[Version]:
    """Return the versions that can be removed, and those of their members that no kept version was pushed with.

    Args:
        base: ROOT/serving/NAME.
        keep: How many of the newest versions to keep.

    Raises:
        UsageError: models.config is invalid.
    """
    retained = kept(base, keep)
    pinned = {pin for version in retained for pin in sets.member_versions(version).items()}
    unused = [version for version in local.versions(base) if version not in retained]
    members = {pin for version in unused for pin in sets.member_versions(version).items()} - pinned
    unused_members = (local.find(base.with_name(name), number) for name, number in sorted(members))
    return [*unused, *(member for member in unused_members if member)]


def _served(base: Path, config: Config) -> set[int]:
    """Return all versions that may be served, under NAME or as its canary."""
    current = labels.served_versions(config, base)
    model = config.models.get(base.name)
    selected = {*model.labels.values(), *models_config.selected_versions(model)} if model else set()
    return selected | {number for number in (current.stable, current.canary) if number is not None}
