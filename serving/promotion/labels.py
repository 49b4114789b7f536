"""How a model's versions stand in models.config: NAME with its label `stable`, NAME-canary, and the members apart.

A canary is a model of its own, because a request to NAME that says no more goes to the highest version that is loaded.
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
    """The versions that are served.

    Attributes:
        stable: by the name alone.
        canary: as NAME-canary.
    """

    stable: int | None = None
    canary: int | None = None


def served_versions(config: Config, base: Path) -> ServedVersions:
    """What a config says of a model; without labels it is the highest version that the config wants.

    Args:
        config: of ROOT.
        base: ROOT/serving/NAME.
    """
    named = config.models.get(base.name)
    canary = config.models.get(canary_name(base))
    if named and STABLE in named.labels:
        stable: int | None = named.labels[STABLE]
    else:
        highest = highest_wanted(base, config)
        stable = highest.number if highest else None
    return ServedVersions(stable, canary.labels.get(CANARY) if canary else None)


def served(base: Path) -> Version | None:
    """What is served: the version with the label `stable` in models.config, or else the highest that it wants.

    Args:
        base: ROOT/serving/NAME.

    Returns:
        The version; None where there is none, or models.config wants none.

    Raises:
        VersionError: the labelled version is not there.
        UsageError: models.config is none.
    """
    config = models_config.read(base.parent)
    model = config.models.get(base.name)
    if model is None or STABLE not in model.labels:
        return highest_wanted(base, config)
    number = model.labels[STABLE]
    version = local.find(base, number)
    if version is None:
        raise VersionError(
            f"{base.parent / models_config.FILE}: version {number} of {base.name} is {STABLE}, but not in {base}; "
            f"`benison promote {base.name} VERSION` makes another one {STABLE}"
        )
    return version


def highest_wanted(base: Path, config: Config) -> Version | None:
    """The highest complete version that a config wants, whatever its labels; None where there is none."""
    model = config.models.get(base.name, Model(base.name, str(base)))
    found = {version.number: version for version in local.versions(base)}
    numbers = models_config.choose(found, model.policy)
    return found[numbers[-1]] if numbers else None


def canary_name(base: Path) -> str:
    """Under which name a model's canary is asked."""
    return f"{base.name}-{CANARY}"


def with_served_versions(config: Config, base: Path, wanted: ServedVersions) -> Config:
    """A config that serves a model's versions as wanted, and every other model as before.

    Labels that somebody else gave to versions of NAME stay, and so do those versions.

    Args:
        config: what is now.
        base: ROOT/serving/NAME.
        wanted: its versions.

    Raises:
        VersionError: a member has the name of the canary.
    """
    path = str(base.absolute())
    before = config.models.get(base.name)
    labels = {label: number for label, number in (before.labels if before else {}).items() if label != STABLE}
    if wanted.stable is not None:
        labels[STABLE] = wanted.stable
    ours = {base.name: Model(base.name, path, Specific(frozenset(labels.values())), labels)}
    if wanted.canary is not None:
        name = canary_name(base)
        ours[name] = Model(name, path, Specific(frozenset([wanted.canary])), {CANARY: wanted.canary})
    for name, member in _members(base, wanted).items():
        if name in ours:
            raise VersionError(f"{base.name}: a member is named {CANARY}, and {name} is the canary's name; rename it")
        ours[name] = member
    others = {name: model for name, model in config.models.items() if name not in ours and not belongs_to(base, name)}
    return Config({**others, **ours})


def belongs_to(base: Path, name: str) -> bool:
    """Whether a model is NAME, its canary or one of its members."""
    if name in (base.name, canary_name(base)):
        return True
    home = base.with_name(name)
    return name.startswith(f"{base.name}-") and any(
        version.manifest.get(sets.MEMBER_OF) == base.name for version in local.versions(home)
    )


def _members(base: Path, wanted: ServedVersions) -> Mapping[str, Model]:
    stable, canary = (
        {} if number is None else sets.pins(local.find(base, number)) for number in (wanted.stable, wanted.canary)
    )
    return {
        name: Model(
            name,
            str(base.with_name(name).absolute()),
            Specific(frozenset(of[name] for of in (stable, canary) if name in of)),
            {STABLE: stable[name]} if name in stable else {},
        )
        for name in sorted({*stable, *canary})
    }
