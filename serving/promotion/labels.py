"""The versions and labels of a model in models.config: NAME with its label `stable`, NAME-canary, and the members.

A canary is a model of its own, because a request to NAME without a version goes to the highest version that is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benison.serving import models_config
from benison.serving.errors import VersionError
from benison.serving.models_config import Config, Model, Specific
from benison.serving.versions import local, sets
from benison.serving.versions.local import STABLE, Version

CANARY = "canary"


@dataclass(frozen=True)
class ServedVersions:
    """The versions of a model that are served.

    Attributes:
        stable: The version that NAME serves.
        canary: The version that NAME-canary serves.
    """

    stable: int | None = None
    canary: int | None = None


def served_versions(config: Config, base: Path) -> ServedVersions:
    """Return the versions that a config serves; without labels, the highest version that its policy selects.

    Args:
        config: ROOT's models.config.
        base: ROOT/serving/NAME.
    """
    model = config.models.get(base.name)
    canary = config.models.get(canary_name(base))
    if model and STABLE in model.labels:
        stable: int | None = model.labels[STABLE]
    else:
        highest = highest_selected(base, config)
        stable = highest.number if highest else None
    return ServedVersions(stable, canary.labels.get(CANARY) if canary else None)


def served(base: str | Path, *, damaged: bool = False) -> Version | None:
    """Return the served version: the one that models.config labels `stable`, or else the highest that it selects.

    Args:
        base: ROOT/serving/NAME.
        damaged: Return the version even if it is damaged.

    Returns:
        The version; None if there is none, or models.config selects none.

    Raises:
        VersionError: The labelled version does not exist, or the version is damaged.
        UsageError: models.config is invalid.
    """
    base = Path(base)
    config = models_config.read(base.parent)
    model = config.models.get(base.name)
    number = model.labels.get(STABLE) if model else None
    version = highest_selected(base, config) if number is None else local.find(base, number, damaged=True)
    if version is not None and version.condition.is_damaged and not damaged:
        raise local.damage(base, version.number, version.condition.problems)
    if version is None and number is not None:
        raise VersionError(
            f"{base.parent / models_config.FILE}: version {number} of {base.name} is {STABLE}, but not in {base}; "
            f"`benison promote {base.name} VERSION` makes another one {STABLE}"
        )
    return version


def highest_selected(base: Path, config: Config) -> Version | None:
    """Return the highest version that a config's policy selects, whatever its labels; None if none exists.

    It may be damaged: a server chooses by the number alone.
    """
    model = config.models.get(base.name, Model(base.name, str(base)))
    candidates = {version.number: version for version in local.all_versions(base)}
    numbers = models_config.choose(candidates, model.policy)
    return candidates[numbers[-1]] if numbers else None


def canary_name(base: Path) -> str:
    """Return the name under which a model's canary is served."""
    return f"{base.name}-{CANARY}"


def with_served_versions(config: Config, base: Path, target: ServedVersions) -> Config:
    """Return a config that serves the given versions of a model, and every other model as before.

    Labels that somebody else gave to versions of NAME are kept, and so are those versions.

    Args:
        config: The current config.
        base: ROOT/serving/NAME.
        target: The versions to serve.

    Raises:
        VersionError: A member has the name of the canary.
    """
    path = str(base.absolute())
    current = config.models.get(base.name)
    labels = {label: number for label, number in (current.labels if current else {}).items() if label != STABLE}
    if target.stable is not None:
        labels[STABLE] = target.stable
    models = {base.name: Model(base.name, path, Specific(frozenset(labels.values())), labels)}
    if target.canary is not None:
        name = canary_name(base)
        models[name] = Model(name, path, Specific(frozenset([target.canary])), {CANARY: target.canary})
    for name, member in _members(base, target).items():
        if name in models:
            raise VersionError(f"{base.name}: a member is named {CANARY}, and {name} is the canary's name; rename it")
        models[name] = member
    others = {name: model for name, model in config.models.items() if name not in models and not belongs_to(base, name)}
    return Config({**others, **models})


def belongs_to(base: Path, name: str) -> bool:
    """Return True if a model is NAME, its canary or one of its members."""
    if name in (base.name, canary_name(base)):
        return True
    return name.startswith(f"{base.name}-") and any(
        version.manifest.member_of == base.name for version in local.versions(base.with_name(name))
    )


def _members(base: Path, target: ServedVersions) -> Mapping[str, Model]:
    stable, canary = (
        {} if number is None else sets.member_versions(local.find(base, number, damaged=True))
        for number in (target.stable, target.canary)
    )
    return {
        name: Model(
            name,
            str(base.with_name(name).absolute()),
            Specific(frozenset(members[name] for members in (stable, canary) if name in members)),
            {STABLE: stable[name]} if name in stable else {},
        )
        for name in sorted({*stable, *canary})
    }
