"""Decides which signatures' requests may share runs: those whose graph keeps rows apart, or whose owner asks for it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benison.serving.server.engine import Engine, Signature
from benison.serving.versions.local import MANIFEST

ASKED_BY_FLAG = "--enable_batching"
ASKED_BY_MANIFEST = "serving.share_runs of its manifest"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SharingPolicy:
    """The settings of the server for all versions.

    Attributes:
        enabled: whether requests share runs at all.
        asked_by: what asks for shared runs of every signature, as TF Serving does with --enable_batching; or empty.
    """

    enabled: bool = True
    asked_by: str = ""


@dataclass
class Sharing:
    """Keep for each signature of a version whether its requests share runs. Permission is only ever taken away.

    Attributes:
        alone: by signature, why each of its requests has a run of its own.
        shared: by signature, why its requests may share runs.
    """

    alone: dict[str, str] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)

    def forbid(self, signature: str, reason: str) -> None:
        """Give each request for a signature a run of its own from now on."""
        self.alone[signature] = reason

    def describe(self) -> dict[str, str]:
        """Return what was decided, and why, as the status page shows it."""
        decided = {name: f"shared: {reason}" for name, reason in self.shared.items()}
        return dict(sorted((decided | {name: f"alone: {reason}" for name, reason in self.alone.items()}).items()))


def asked_by(folder: str, policy: SharingPolicy) -> str:
    """Return what asks for shared runs of a version although rows may depend on each other; empty if nothing does."""
    return policy.asked_by or (ASKED_BY_MANIFEST if _manifest_asks(Path(folder)) else "")


def decide(
    engine: Engine, folder: str, policy: SharingPolicy, failed_trials: Mapping[str, str], version: str
) -> Sharing:
    """Decide for each signature of a version whether its requests share runs.

    Args:
        engine: the loaded version.
        folder: the folder that it was loaded from; its manifest may ask for shared runs.
        policy: the settings of the server.
        failed_trials: by signature, how a run at load showed that rows depend on each other.
        version: the name of the version in messages.
    """
    asking = asked_by(folder, policy)
    sharing = Sharing()
    for name, signature in engine.signatures.items():
        if not signature.inputs or not signature.outputs:
            continue
        mixes = signature.mixes or failed_trials.get(name, "")
        if reason := _blocker(signature, policy) or ("" if asking else mixes):
            sharing.forbid(name, reason)
        elif not mixes:
            sharing.shared[name] = "its graph keeps the rows of a run apart"
        else:
            sharing.shared[name] = f"{asking} asks for it, although the answer to a row may depend on others: {mixes}"
            if asking == ASKED_BY_MANIFEST:
                _log.warning("%s: requests for %s share runs: %s", version, name, sharing.shared[name])
    return sharing


def _blocker(signature: Signature, policy: SharingPolicy) -> str:
    """Return why requests for a signature must not share a run even if its owner asks for it."""
    if not policy.enabled:
        return "BENISON_SHARE_RUNS is off"
    if not signature.batched:
        return "an input or output has no free first dimension"
    return f"{signature.writes} has a lasting effect" if signature.writes else ""


def _manifest_asks(folder: Path) -> bool:
    try:
        serving = json.loads((folder / MANIFEST).read_bytes()).get("serving")
        return isinstance(serving, Mapping) and serving.get("share_runs") is True
    except (OSError, ValueError, AttributeError):  # whether a manifest is damaged is checked elsewhere
        return False
