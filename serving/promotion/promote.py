"""What is served is changed here: promote, rollback, canary; and put back where a server does not get there.

ROOT/serving/models.config decides, never the highest folder number. A change goes by three configs, each written to the
file and told to the servers that are named: the old and the new version side by side; the label moved; the old version
gone. Each waits until the servers are there, so that no request fails, and every answer is one version's whole.

A server that is not named polls the file. Benison's own goes by the same three steps itself, however far the file has
gone meanwhile. TF Serving takes each config as it is; one that moves a label onto a version that it has not loaded it
refuses, and goes on with what it has. Where such servers poll, `settle_s` leaves each config in the file long enough.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benison.serving import models_config
from benison.serving.errors import UsageError, VersionError
from benison.serving.models_config import Config
from benison.serving.promotion import history, labels, rollout
from benison.serving.promotion.history import Change
from benison.serving.promotion.labels import CANARY, ServedVersions
from benison.serving.promotion.rollout import RolloutOptions
from benison.serving.versions import local, sets
from benison.serving.versions.local import STABLE, Version

TIMEOUT_S = 120.0
LABELS = (STABLE, CANARY)
_AGAIN = "republished"


def promote(
    base: Path,
    number: int,
    *,
    label: str = STABLE,
    servers: Sequence[str] = (),
    who: str,
    why: str,
    timeout_s: float = TIMEOUT_S,
    settle_s: float = 0.0,
) -> Change:
    """Gives a version a label: `stable` is what NAME serves, `canary` what NAME-canary serves beside it.

    The members that were pushed with it go along, in the same configs. A canary that becomes stable is no canary any
    longer. Promotions in one ROOT wait for each other.

    Args:
        base: ROOT/serving/NAME.
        number: the version's.
        label: `stable` or `canary`.
        servers: host:port of gRPC of those that are told and waited for; they see ROOT under the same path.
        who: for the record.
        why: for the record.
        timeout_s: for each of the three configs (seconds).
        settle_s: between them where no server is named (seconds); more than a server needs to poll and to load.

    Returns:
        What was done, as it is recorded; nothing is where the version had the label already.

    Raises:
        UsageError: no such label.
        VersionError: no such version, its files were changed since the push, or a server did not get there; then all is
            as before, and nothing is recorded.
        OSError: models.config or the record cannot be written.
    """
    if label not in LABELS:
        raise UsageError(f"label {label!r}: expected one of {', '.join(LABELS)}")
    with promotion_lock(base):
        before = _shown(base)
        if label == STABLE:
            after = ServedVersions(number, None if before.canary == number else before.canary)
        elif before.stable == number:
            raise VersionError(f"{base.name}: version {number} is {STABLE}, so it cannot be the {CANARY} beside it")
        else:
            after = replace(before, canary=number)
        sets.checked(base, number)
        return _change(base, after, "promote", label, RolloutOptions(tuple(servers), timeout_s, settle_s), who, why)


def rollback(
    base: Path,
    to: int | None = None,
    *,
    servers: Sequence[str] = (),
    who: str,
    why: str,
    timeout_s: float = TIMEOUT_S,
    settle_s: float = 0.0,
) -> Change:
    """Makes an earlier version stable again.

    Args:
        base: ROOT/serving/NAME.
        to: its number; None for the one that `previous` finds.
        servers: see `promote`.
        who: for the record.
        why: for the record.
        timeout_s: see `promote`.
        settle_s: see `promote`.

    Returns:
        What was done, as it is recorded.

    Raises:
        VersionError, OSError: as `promote`; and where there is nothing to go back to.
    """
    with promotion_lock(base):
        before = _shown(base)
        number = to if to is not None else previous(base)
        sets.checked(base, number)
        after = ServedVersions(number, None if before.canary == number else before.canary)
        return _change(base, after, "rollback", STABLE, RolloutOptions(tuple(servers), timeout_s, settle_s), who, why)


def withdraw(
    base: Path, *, servers: Sequence[str] = (), who: str, why: str, timeout_s: float = TIMEOUT_S, settle_s: float = 0.0
) -> Change:
    """Takes the canary away, if there is one; see `promote`.

    Raises:
        VersionError: there is none, or a server did not get there.
        OSError: models.config or the record cannot be written.
    """
    with promotion_lock(base):
        before = _shown(base)
        if before.canary is None:
            raise VersionError(f"{base.name}: there is no {CANARY}; `benison versions {base.name}` shows the labels")
        after = replace(before, canary=None)
        return _change(base, after, "withdraw", CANARY, RolloutOptions(tuple(servers), timeout_s, settle_s), who, why)


def pin(base: Path) -> None:
    """Writes into models.config what is served now, so that what is pushed next is not served for its number alone.

    To be called before a push. Where nothing is served yet, nothing will be until a version is promoted.

    Args:
        base: ROOT/serving/NAME.

    Raises:
        OSError: models.config cannot be written.
    """
    with promotion_lock(base):
        models_config.change(
            base.parent, lambda config: labels.with_served_versions(config, base, labels.served_versions(config, base))
        )


def republish(base: Path, number: int, *, who: str, why: str) -> Version:
    """Publishes an old version, with its members, once more as the next number.

    For servers that poll the base path and serve the highest number that they find.

    Args:
        base: ROOT/serving/NAME.
        number: the old version's.
        who: for the new version's manifest.
        why: for the new version's manifest.

    Raises:
        VersionError: no such version, or its files were changed since the push.
        OSError: the disk's own trouble; nothing became visible.
    """
    with promotion_lock(base):
        version = sets.checked(base, number)
        again = {_AGAIN: {"version": number, "who": who, "why": why}}
        members = {
            member: _candidate(sets.pushed(base.with_name(pin["model"]), pin["version"]), again)
            for member, pin in version.manifest.get(sets.FAN_OUT, {}).items()
        }
        return sets.publish(_candidate(version, again), base, members)


def promotion_blocker(candidate: Mapping[str, Any], served: Mapping[str, Any]) -> str | None:
    """Why a blessed candidate may not be served by itself; None if it may.

    A run on older data than what is served may be worth having, to look into the past, but never worth serving.

    Args:
        candidate: its manifest.
        served: the manifest of the version that is served; empty where none is.
    """
    ours, theirs = candidate.get("spans") or [], served.get("spans") or []
    if ours and theirs and max(ours) < max(theirs):
        return (
            f"its newest span is {max(ours)}, and version {served.get('version')}, which is served, has learnt from "
            f"span {max(theirs)}"
        )
    return None


def previous(base: Path) -> int:
    """The version that was stable before the present one and is still there; without a record the next lower one.

    Args:
        base: ROOT/serving/NAME.

    Raises:
        VersionError: there is none.
    """
    stable = _shown(base).stable
    there = {version.number: version for version in local.versions(base)}
    # What was published once more is the old version, by another number.
    same = {number: version.manifest.get(_AGAIN, {}).get("version", number) for number, version in there.items()}
    line = history.label_history(history.read(base), STABLE, same)
    before = line[:-1] if line else sorted(number for number in there if stable is not None and number < stable)
    present = None if stable is None else same.get(stable, stable)
    for number in reversed(before):
        if number in there and number != present:
            return number
    raise VersionError(
        f"{base.name}: no version to go back to; there are {', '.join(map(str, there)) or 'none'}, and --to names one"
    )


@contextmanager
def promotion_lock(base: Path) -> Iterator[None]:
    """One promotion at a time in a ROOT, for the servers are told the whole of models.config.

    Args:
        base: ROOT/serving/NAME.
    """
    base.parent.mkdir(parents=True, exist_ok=True)
    with (base.parent / ".promotion.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _change(base: Path, after: ServedVersions, act: str, label: str, way: RolloutOptions, who: str, why: str) -> Change:
    """Goes from what is served to `after` and records it, or leaves all as it was; returns what became of the label."""
    config = models_config.read(base.parent)
    given = {one: _given(config, base, one) for one in LABELS}
    wanted: dict[str, int | None] = {STABLE: after.stable, CANARY: after.canary}
    changes = {
        one: Change(
            act, one, _taken_from(config, base, one, wanted[one]), wanted[one], who, why, history.now(), way.servers
        )
        for one in LABELS
    }
    change = changes[label]
    version = change.before if change.to is None else change.to
    rollout.roll_out(base, config, after, way, f"version {version} as {label}")
    for one in LABELS:
        _record_others(base, one, given[one])
        if given[one] != wanted[one]:
            history.append(base, changes[one])
    return change


def _shown(base: Path) -> ServedVersions:
    return labels.served_versions(models_config.read(base.parent), base)


def _given(config: Config, base: Path, label: str) -> int | None:
    """The version that has a label in a config."""
    model = config.models.get(base.name if label == STABLE else labels.canary_name(base))
    return model.labels.get(label) if model else None


def _taken_from(config: Config, base: Path, label: str, becomes: int | None) -> int | None:
    """The version that a label leaves; one that is served for its number alone counts as stable."""
    given = _given(config, base, label)
    if given is not None or label != STABLE:
        return given
    unlabelled = labels.served_versions(config, base).stable
    return unlabelled if unlabelled != becomes else None


def _record_others(base: Path, label: str, given: int | None) -> None:
    """Records that a label was not where the record has it: moved by hand, or by a promotion that was killed."""
    known = next((change for change in reversed(history.read(base)) if change.label == label), None)
    if known and known.to != given:
        history.append(
            base, Change("found", label, known.to, given, "unknown", f"found so in {models_config.FILE}", history.now())
        )


def _candidate(version: Version, more: Mapping[str, Any]) -> sets.Candidate:
    own = ("version", "created", "files", "bytes", sets.FAN_OUT)
    return sets.Candidate(
        version.path, {**{key: value for key, value in version.manifest.items() if key not in own}, **more}
    )
