"""Follows the config file: each model goes to its newest entry by steps of its own."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from benison.serving import models_config
from benison.serving.errors import BenisonError
from benison.serving.models_config import Config, Model
from benison.serving.server.lifecycle import Models

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Way:
    """The way of one model to an entry; None: the model is removed."""

    entry: Model | None
    task: asyncio.Task[None]


class ConfigFollower:
    """Brings each model from its current entry to the one of the file, without a wait for any other model."""

    def __init__(self, models: Models, file: str) -> None:
        """Begin nothing.

        Args:
            models: the models of the server.
            file: the path of the config file, for messages.
        """
        self._models = models
        self._file = file
        self._ways: dict[str, _Way] = {}
        self._errors: dict[str, str] = {}  # the last one of each model, which is logged once

    def follow(self, config: Config) -> None:
        """Begin to apply a config that was read; a model that is on its way to an older entry turns to this one."""
        current = self._models.config.models
        for name in current.keys() | config.models.keys() | self._ways.keys():
            entry, way = config.models.get(name), self._ways.get(name)
            if way and not way.task.done():
                if way.entry == entry:
                    continue
                way.task.cancel()
            self._ways.pop(name, None)
            if current.get(name) != entry:
                self._ways[name] = _Way(entry, asyncio.create_task(self._go(name, entry)))

    def close(self) -> None:
        """Stop all models where they are."""
        for way in self._ways.values():
            way.task.cancel()

    async def _go(self, name: str, entry: Model | None) -> None:
        current = self._models.config.models.get(name)
        try:
            # This lists folders. The entry may have changed by more than a single step can apply.
            steps = await asyncio.to_thread(models_config.steps, _alone(name, current), _alone(name, entry))
            for step in steps:
                if self._models.config.models.get(name) != current:
                    return  # the reload RPC has changed it; the next reading of the file decides
                current = step.models.get(name)
                await self._models.change(name, current)
            self._errors.pop(name, None)
        except BenisonError as error:
            if self._errors.get(name) != str(error):
                self._errors[name] = str(error)
                _log.error("%s: model %s: not applied: %s", self._file, name, error)
        except Exception:
            _log.exception("%s: model %s: not applied", self._file, name)


def _alone(name: str, model: Model | None) -> Config:
    return Config({name: model} if model else {})
