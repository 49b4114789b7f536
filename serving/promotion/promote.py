"""Changing what is served: promote, rollback, canary. If a server does not follow, everything is restored.

ROOT/serving/models.config decides what is served, never the highest folder number. A change has three steps, each a
config that is written to the file and sent to the named servers: serve the old and the new version side by side, move
the label, stop serving the old version. Each step waits until the servers have followed, so that no request fails and
every answer comes from one version.

Servers that are not named poll the file. Benison's own server takes the same three steps, however far the file has
moved on. TF Serving applies each config as it is: it refuses one that moves a label to a version that it has not
loaded, and keeps what it has. If such servers poll, `settle_s` leaves each config in the file long enough.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benison.serving import models_config
from benison.serving.errors import ServedChanged, UsageError, VersionError
from benison.serving.files import file_lock
from benison.serving.models_config import Config
from benison.serving.promotion import history, labels, rollout, shared_stable
from benison.serving.promotion.history import Change
from benison.serving.promotion.labels import CANARY, ServedVersions
from benison.serving.promotion.rollout import ChangeRequest
from benison.serving.versions import local, sets
from benison.serving.versions.local import STABLE, Version
from benison.serving.versions.manifest import Manifest, Republished, ServedBaseline

LABELS = (STABLE, CANARY)
_PER_VERSION = {"format", "version", "created", "files", "bytes", "fan_out"}  # what publishing adds to a manifest


def promote(base: Path, number: int, request: ChangeRequest, *, label: str = STABLE) -> Change:
    """Give a version a label: NAME serves the version `stable`, NAME-canary the version `canary`.

    The members that were pushed with it change in the same steps. A canary that becomes stable is no longer a canary.
    Promotions in one ROOT wait for each other. A version that was never served becomes stable only in place of the
    version that it was compared with.

    Args:
        base: ROOT/serving/NAME.
        number: The version's number.
        request: Who, why and how.
        label: `stable` or `canary`.

    Returns:
        The change as it is recorded; nothing is recorded if the version had the label already.

    Raises:
        UsageError: There is no such label.
        ServedChanged: It was compared with another version than the one that is served now, or the store serves another
            one. Nothing was changed.
        VersionError: There is no such version, its files were changed since the push, or a server did not follow.
            Everything is then as before, and nothing is recorded.
        OSError: models.config or the record cannot be written.
    """
    if label not in LABELS:
        raise UsageError(f"label {label!r}: expected one of {', '.join(LABELS)}")
    with promotion_lock(base):
        current = _current(base)
        if label == STABLE:
            target = _with_stable(current, number)
        elif current.stable == number:
            raise VersionError(f"{base.name}: version {number} is {STABLE}, so it cannot be the {CANARY} beside it")
        else:
            target = replace(current, canary=number)
        version = sets.get_verified(base, number)
        if label == STABLE:
            _check_comparison(base, version, request)
        return _change(base, target, "promote", label, request)


def rollback(base: Path, request: ChangeRequest, to: int | None = None) -> Change:
    """Make an earlier version stable again.

    Args:
        base: ROOT/serving/NAME.
        request: Who, why and how.
        to: The version's number; None for the one that `previous` returns.

    Returns:
        The change as it is recorded.

    Raises:
        VersionError: As `promote`, or there is no earlier version.
        OSError: As `promote`.
    """
    with promotion_lock(base):
        number = to if to is not None else previous(base).number
        sets.get_verified(base, number)
        return _change(base, _with_stable(_current(base), number), "rollback", STABLE, request)


def withdraw(base: Path, request: ChangeRequest) -> Change:
    """Stop serving the canary; see `promote`.

    Raises:
        VersionError: There is no canary, or a server did not follow.
        OSError: models.config or the record cannot be written.
    """
    with promotion_lock(base):
        current = _current(base)
        if current.canary is None:
            raise VersionError(f"{base.name}: there is no {CANARY}; `benison versions {base.name}` shows the labels")
        return _change(base, replace(current, canary=None), "withdraw", CANARY, request)


def pin(base: Path) -> None:
    """Name the served version in models.config, so that the next push is not served for its higher number alone.

    Call it before a push. If nothing is served yet, nothing will be until a version is promoted.

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
    """Publish an old version, with its members, once more as the next number.

    Servers that poll the base path and serve the highest number need this.

    Args:
        base: ROOT/serving/NAME.
        number: The old version's number.
        who: Who does it, for the new version's manifest.
        why: The reason, for the new version's manifest.

    Raises:
        VersionError: There is no such version, or its files were changed since the push.
        OSError: The disk failed; nothing became visible.
    """
    with promotion_lock(base):
        version = sets.get_verified(base, number)
        origin = Republished(version=number, who=who, why=why)
        members = {
            member: _candidate(local.get(base.with_name(pin.model), pin.version), origin)
            for member, pin in version.manifest.fan_out.items()
        }
        return sets.publish(_candidate(version, origin), base, members)


def promotion_blocker(candidate: Manifest, served: Manifest, root: Path) -> str | None:
    """Return why a blessed candidate must not be promoted automatically; None if it may be.

    A run on older data than the served version's can be of interest, but must not replace it. Nor must another project
    with the same name in this ROOT: its model may predict something else. If the YAML of the served version is gone, it
    was moved.

    Args:
        candidate: Its manifest.
        served: The manifest of the served version; an empty one if nothing is served.
        root: ROOT.
    """
    if candidate.spans and served.spans and max(candidate.spans) < max(served.spans):
        return (
            f"its newest span is {max(candidate.spans)}, and version {served.version}, which is served, was trained on "
            f"span {max(served.spans)}"
        )
    ours, theirs = root / candidate.source, root / served.source
    if theirs.is_file() and not (ours.is_file() and ours.samefile(theirs)):
        return (
            f"version {served.version}, which is served, was pushed by another project with this name, "
            f"{os.path.normpath(theirs)}; rename one of them, or give each a --root of its own"
        )
    return None


def comparison_blocker(baseline: ServedBaseline | None, content: str, served: Version | None) -> str | None:
    """Return why a candidate must not replace the served version: it was compared with another one. None if it may.

    Args:
        baseline: The version that the candidate was compared with; None if that is unknown.
        content: The candidate's checksum.
        served: The version that is served now.
    """
    if baseline is None or served is None:
        return None
    if served.condition.is_damaged:  # its manifest may be gone, and its content is not what was compared
        is_same = served.number == baseline.version
    else:
        # The content decides: an older version may have been published once more under another number.
        served_content = local.identity(served).partition(":")[2]
        is_same = served_content in (content, baseline.identity.partition(":")[2])
    if is_same:
        return None
    compared = "no version" if baseline.version is None else f"version {baseline.version}"
    return f"version {served.number} is served now, and the run compared its candidate with {compared}: run again"


@dataclass(frozen=True)
class Previous:
    """The version that a rollback goes to.

    Attributes:
        number: Its number.
        damaged: One line for each newer version that was stable before, but is damaged.
    """

    number: int
    damaged: tuple[str, ...] = ()


def previous(base: Path) -> Previous:
    """Return the version that was stable before the current one and is whole; without a record, the next lower one.

    Args:
        base: ROOT/serving/NAME.

    Raises:
        VersionError: There is none.
    """
    stable = _current(base).stable
    originals = {version.number: _original(version) for version in local.all_versions(base)}
    numbers = history.label_history(history.read(base), STABLE, originals)
    earlier = numbers[:-1] if numbers else sorted(n for n in originals if stable is not None and n < stable)
    current = None if stable is None else originals.get(stable, stable)
    damaged: dict[int, str] = {}
    for number in reversed(earlier):
        if number not in originals or number == current or number in damaged:
            continue
        try:
            sets.get_verified(base, number)
        except VersionError as error:
            damaged[number] = f"skipped: {' '.join(str(error).splitlines()[:2])}"
        else:
            return Previous(number, tuple(damaged.values()))
    others = ", ".join(str(number) for number in originals if number != stable and number not in damaged)
    hint = f"; --to takes one of {others}" if others else ""
    raise VersionError("\n".join([*damaged.values(), f"{base.name}: no earlier version to roll back to{hint}"]))


@contextmanager
def promotion_lock(base: Path) -> Iterator[None]:
    """Allow one promotion at a time in a ROOT, because servers receive the whole of models.config.

    Args:
        base: ROOT/serving/NAME.
    """
    base.parent.mkdir(parents=True, exist_ok=True)
    with file_lock.hold(base.parent / ".promotion.lock"):
        yield


def _check_comparison(base: Path, version: Version, request: ChangeRequest) -> None:
    """Refuse a version that was never served and was compared with another one than the one that is served now.

    Raises:
        ServedChanged: See above; the message says what to do.
    """
    stable = _current(base).stable
    served = None if stable is None else local.find(base, stable, damaged=True)
    reason = comparison_blocker(version.manifest.baseline, version.manifest.candidate, served)
    if reason is None or request.force or history.was_served(base, _original(version), STABLE):
        return
    if request.store and _shared_version(request.store, base.name) == version.number:
        return  # another ROOT compared it, and this one follows
    raise ServedChanged(f"{base.name}: version {version.number} is not promoted: {reason}; --force promotes it anyway")


def _shared_version(store: str, name: str) -> int | None:
    shared = shared_stable.read(store, name)
    return shared.version if shared else None


def _change(base: Path, target: ServedVersions, action: str, label: str, request: ChangeRequest) -> Change:
    """Serve the target and record it, or leave everything as it was; return the change of the label."""
    config = models_config.read(base.parent)
    labelled = {name: _labelled_version(config, base, name) for name in LABELS}
    targets: dict[str, int | None] = {STABLE: target.stable, CANARY: target.canary}
    changes = {
        name: Change(
            action=action,
            label=name,
            before=_replaced_version(config, base, name, targets[name]),
            to=targets[name],
            who=request.who,
            why=request.why,
            when=history.now(),
            servers=request.servers,
        )
        for name in LABELS
    }
    change = changes[label]
    version = change.before if change.to is None else change.to
    with contextlib.ExitStack() as stack:
        if label == STABLE and request.store and target.stable is not None:
            claim = shared_stable.claimed(
                request.store,
                base.name,
                labels.served_versions(config, base).stable,
                target.stable,
                request.who,
                change.when,
                force=request.force,
            )
            stack.enter_context(claim)
        rollout.roll_out(base, config, target, request, f"version {version} as {label}")
    for name in LABELS:
        _record_unknown_change(base, name, labelled[name])
        if labelled[name] != targets[name]:
            history.append(base, changes[name])
    return change


def _current(base: Path) -> ServedVersions:
    return labels.served_versions(models_config.read(base.parent), base)


def _with_stable(current: ServedVersions, number: int) -> ServedVersions:
    return ServedVersions(number, None if current.canary == number else current.canary)


def _original(version: Version) -> int:
    """Return a version's number, or that of the older version that it republishes."""
    republished = version.manifest.republished
    return republished.version if republished else version.number


def _labelled_version(config: Config, base: Path, label: str) -> int | None:
    """Return the version that has a label in a config."""
    model = config.models.get(base.name if label == STABLE else labels.canary_name(base))
    return model.labels.get(label) if model else None


def _replaced_version(config: Config, base: Path, label: str, target: int | None) -> int | None:
    """Return the version that loses a label; one that is served for its number alone counts as stable."""
    labelled = _labelled_version(config, base, label)
    if labelled is not None or label != STABLE:
        return labelled
    unlabelled = labels.served_versions(config, base).stable
    return unlabelled if unlabelled != target else None


def _record_unknown_change(base: Path, label: str, labelled: int | None) -> None:
    """Record that a label differs from the record: it was moved by hand, or by a promotion that was killed."""
    latest = next((change for change in reversed(history.read(base)) if change.label == label), None)
    if latest and latest.to != labelled:
        reason = f"found so in {models_config.FILE}"
        history.append(base, Change("found", label, latest.to, labelled, "unknown", reason, history.now()))


def _candidate(version: Version, origin: Republished) -> sets.Candidate:
    manifest = version.manifest.model_dump(exclude_unset=True, exclude=_PER_VERSION)
    return sets.Candidate(version.path, Manifest.model_validate({**manifest, "republished": origin.to_dict()}))
