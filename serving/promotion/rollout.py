"""Changing what is served by steps that lose no request, and going back if a server fails."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benison.serving import models_config
from benison.serving.errors import VersionError
from benison.serving.models_config import Config
from benison.serving.promotion import access, labels, local_servers, reload
from benison.serving.promotion.access import Access
from benison.serving.promotion.labels import ServedVersions
from benison.serving.promotion.reload import Failure

TIMEOUT_S = 120.0


@dataclass(frozen=True)
class ChangeRequest:
    """A request to change what is served: by whom and why, and how servers learn about it.

    Attributes:
        who: Who makes the change, for the record.
        why: The reason, for the record.
        servers: host:port of gRPC of the servers to notify and wait for; they see ROOT under the same path.
        timeout_s: The longest wait for them, in each of the three steps (seconds).
        settle_s: The pause between steps if no server is notified (seconds); longer than servers need to poll
            models.config and load a version.
        store: The object store that several ROOTs may share; see `shared_stable`.
        force: Serve the version although it was compared with another one than the served version, and although the
            store serves another one.
        access: The token and TLS for the servers.
    """

    who: str
    why: str
    servers: tuple[str, ...] = ()
    timeout_s: float = TIMEOUT_S
    settle_s: float = 0.0
    store: str | None = None
    force: bool = False
    access: Access = field(default_factory=access.from_environment)

    @property
    def in_one_step(self) -> bool:
        """True if the change waits for no server, so that steps in between would be of no use."""
        return not self.servers and not self.settle_s


def roll_out(base: Path, start: Config, target: ServedVersions, request: ChangeRequest, subject: str) -> None:
    """Go from one config to the one that serves the target versions, or restore the first.

    Args:
        base: ROOT/serving/NAME.
        start: The current models.config.
        target: The versions to serve.
        request: How servers learn about it.
        subject: What will be served, for the message.

    Raises:
        VersionError: A server does not serve it; the message names the server. All was restored on the servers that
            could be reached.
        UsageError: A file for TLS cannot be used; nothing was changed.
        OSError: models.config cannot be written.
    """
    if request.servers:
        request.access.credentials()  # a missing file is an error before anything changes
    goal = labels.with_served_versions(start, base, target)
    steps = models_config.steps(start, goal) or [goal]
    reached, failed = start, dict[str, Failure]()
    changed: set[str] = set()  # servers that may have taken a config
    try:
        for step in steps[-1:] if request.in_one_step else steps:
            reached = step
            failed = _apply(base, step, goal, request, last=step is steps[-1])
            changed |= {server for server in request.servers if server not in failed or not failed[server].unchanged}
            if failed:
                break
    except BaseException:  # an interrupt must not leave it half done either
        _restore(base, reached, start, request)
        raise
    if failed:
        behind = _restore(base, reached, start, request)
        unrestored = {server: failure for server, failure in behind.items() if server in changed}
        raise VersionError(
            f"{base.name}: {subject} is not served: {_listed(failed)}; everything was rolled back"
            + (f", but not on {_listed(unrestored, known=failed)}" if unrestored else "")
        )


def _apply(base: Path, step: Config, goal: Config, request: ChangeRequest, *, last: bool) -> dict[str, Failure]:
    """Write one step to the file and send it to the servers; return those that do not serve the goal's versions."""
    text = _write(base, step)
    failed = _reload(base, text, _selected(base, goal), request, alone=last)
    if not request.servers and not last:
        time.sleep(request.settle_s)
    return failed


def _restore(base: Path, reached: Config, start: Config, request: ChangeRequest) -> dict[str, Failure]:
    """Go back by the same steps; return the servers that failed and why."""
    failed: dict[str, Failure] = {}
    steps = models_config.steps(reached, start)
    for step in steps[-1:] if request.in_one_step else steps:
        text = _write(base, step)
        failed = _reload(base, text, _selected(base, start), request)
    return failed


def _reload(
    base: Path, text: str, expected: Mapping[str, frozenset[int]], request: ChangeRequest, *, alone: bool = False
) -> dict[str, Failure]:
    """Send a config to the servers; one that `benison serve` runs for this ROOT is reached by its socket."""
    local = local_servers.sockets(base.parent) if request.servers else {}
    return reload.reload_servers(
        request.servers,
        text,
        expected,
        access=request.access,
        targets={server: local_servers.target(server, local) for server in request.servers},
        alone=alone,
        timeout_s=request.timeout_s,
    )


def _write(base: Path, step: Config) -> str:
    """Write this model's part of a step to the file, leaving other models as the file has them; return the text."""

    def merge(config: Config) -> Config:
        others = {name: model for name, model in config.models.items() if not labels.belongs_to(base, name)}
        own = {name: model for name, model in step.models.items() if labels.belongs_to(base, name)}
        return Config({**others, **own})

    return models_config.text(models_config.change(base.parent, merge).models.values())


def _selected(base: Path, config: Config) -> dict[str, frozenset[int]]:
    own = {name: model for name, model in config.models.items() if labels.belongs_to(base, name)}
    return {name: models_config.selected_versions(model) for name, model in own.items()}


def _listed(failed: Mapping[str, Failure], known: Mapping[str, Failure] | None = None) -> str:
    """Return the servers with their reasons, without a reason that is known."""
    known = known or {}
    return "; ".join(
        server if known.get(server) == failure else f"{server}: {failure.reason}" for server, failure in failed.items()
    )
