"""From what is served to what is to be served, by the steps that lose no request; and back, where a server fails."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from benison.serving import models_config
from benison.serving.errors import VersionError
from benison.serving.models_config import Config
from benison.serving.promotion import labels, reload
from benison.serving.promotion.labels import ServedVersions


@dataclass(frozen=True)
class RolloutOptions:
    """How servers come to know of a change.

    Attributes:
        servers: host:port of gRPC of those that are told and waited for.
        timeout_s: for each step (seconds).
        settle_s: between steps where no server is named (seconds).
    """

    servers: tuple[str, ...]
    timeout_s: float
    settle_s: float

    @property
    def at_once(self) -> bool:
        """Whether nobody is waited for, so that steps between would be of no use."""
        return not self.servers and not self.settle_s


def roll_out(base: Path, start: Config, after: ServedVersions, way: RolloutOptions, what: str) -> None:
    """Goes from one config to the one that serves a model's versions as wanted, or leaves all as it was.

    Args:
        base: ROOT/serving/NAME.
        start: what models.config says now.
        after: the versions that are to be served.
        way: how servers come to know of it.
        what: is to be served, for the message.

    Raises:
        VersionError: a server did not get there, which it names; all was put back, as far as servers could be reached.
        OSError: models.config cannot be written.
    """
    goal = labels.with_served_versions(start, base, after)
    steps = models_config.steps(start, goal) or [goal]
    reached = start
    try:
        for step in steps[-1:] if way.at_once else steps:
            reached = step
            _take(base, step, goal, way, what, last=step is steps[-1])
    except BaseException as error:  # an interrupt, too, must not leave it half done
        lost = _put_back(base, reached, start, way)
        if not isinstance(error, VersionError):
            raise
        said = f", but not on {'; '.join(f'{server}: {reason}' for server, reason in lost.items())}" if lost else ""
        raise VersionError(f"{error}; all was put back{said}") from None


def _take(base: Path, step: Config, goal: Config, way: RolloutOptions, what: str, *, last: bool) -> None:
    """One step: into the file, then to the servers.

    Raises:
        VersionError: a server did not get there.
    """
    text = _write(base, step)
    failed = reload.reload_servers(way.servers, text, _wanted(base, goal), alone=last, timeout_s=way.timeout_s)
    if failed:
        said = "; ".join(f"{server}: {reason}" for server, reason in failed.items())
        raise VersionError(f"{base.name}: {what} is not served: {said}")
    if not way.servers and not last:
        time.sleep(way.settle_s)


def _put_back(base: Path, reached: Config, start: Config, way: RolloutOptions) -> dict[str, str]:
    """Goes back by the same steps; returns the servers where that failed, and why."""
    failed: dict[str, str] = {}
    steps = models_config.steps(reached, start)
    for step in steps[-1:] if way.at_once else steps:
        text = _write(base, step)
        failed = reload.reload_servers(way.servers, text, _wanted(base, start), timeout_s=way.timeout_s)
    return failed


def _write(base: Path, step: Config) -> str:
    """Puts a step's models of this base into the file, whatever it says of others by now; returns the whole text."""

    def changed(config: Config) -> Config:
        others = {name: model for name, model in config.models.items() if not labels.belongs_to(base, name)}
        ours = {name: model for name, model in step.models.items() if labels.belongs_to(base, name)}
        return Config({**others, **ours})

    return models_config.text(models_config.change(base.parent, changed).models.values())


def _wanted(base: Path, config: Config) -> dict[str, frozenset[int]]:
    return {n: models_config.wanted(model) for n, model in config.models.items() if labels.belongs_to(base, n)}
