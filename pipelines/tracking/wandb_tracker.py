"""Weights & Biases: a run per run or promotion, and the pushed versions as artifacts that refer to their folders.

The ids are Benison's, so an event that is sent twice is one run.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from benison.pipelines.tracking.refusal import require

_INIT_S = 4  # until W&B's server has answered


class WandbTracker:
    """See `benison.pipelines.tracking.sender.Tracker`.

    Args:
        folder: W&B writes its files below `wandb` in it.
        mode: `offline` or `online`.

    Raises:
        UsageError: the library is not installed.
    """

    first_s = 60.0  # it is not asked before the first event

    def __init__(self, folder: Path, mode: Literal["offline", "online"]) -> None:
        require("wandb", "wandb", "tracking.wandb")
        self.shown = f"W&B ({mode})"
        self.run_s = 20.0 if mode == "online" else 60.0  # W&B's own process has to start; offline it waits for nothing
        self._folder, self._mode = folder, mode

    def connect(self, experiment: str) -> None:
        """Do nothing: each event has a connection of its own."""

    def send(self, event: Mapping[str, Any]) -> None:
        """Send an event."""
        import wandb

        run_id = re.sub(r"[^\w.-]", "_", event["id"])[-128:]
        for half in (self._folder / "wandb").glob(f"offline-run-*-{run_id}"):  # of a sender that was killed
            shutil.rmtree(half)
        settings = wandb.Settings(
            silent=True,
            console="off",
            init_timeout=_INIT_S,
            disable_git=True,
            x_disable_stats=True,
            x_disable_meta=True,
        )
        with wandb.init(
            project=event["experiment"],
            id=run_id,
            name=event["id"],
            job_type=event.get("action", "run"),
            dir=str(self._folder),
            mode=self._mode,
            config={**event.get("params", {}), "benison": {k: v for k, v in event["tags"].items() if v}},
            tags=[event["outcome"]] if "outcome" in event else None,
            resume="allow" if self._mode == "online" else None,
            settings=settings,
        ) as run:
            run.summary.update(event.get("metrics", {}))
            self._log_files(run, event)
            if version := event["version"]:
                model = wandb.Artifact(event["pipeline"], type="model", metadata={"version": version["number"]})
                if Path(version["path"]).is_dir():
                    model.add_reference(f"file://{version['path']}", checksum=False)
                run.log_artifact(model, aliases=[f"v-{version['number']}", *filter(None, [event["label"]])])

    def reason(self, error: Exception) -> str:
        """Return an error's message in one line."""
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"

    def _log_files(self, run: Any, event: Mapping[str, Any]) -> None:
        import wandb

        files = wandb.Artifact(f"{event['pipeline']}-files", type="run-files")
        for name, text in event.get("texts", {}).items():
            with files.new_file(name, mode="w") as stream:
                stream.write(text)
        for name, path in event.get("files", {}).items():
            if Path(path).is_file():
                files.add_file(path, name=name)
        if event.get("texts"):
            run.log_artifact(files)
