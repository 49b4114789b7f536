"""The key `tracking:` of a config: the trackers of runs and promotions."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from benison.pipelines.config.types import ConfigModel, Text
from benison.serving.config_values import expected

_EXAMPLE = "a URI such as http://127.0.0.1:5000"


def _uri(text: str) -> str:
    if not re.match(r"[a-z][a-z0-9+.-]*:", text):
        raise PydanticCustomError("refused", f"got {text!r}, expected {_EXAMPLE}")
    return text


Uri = Annotated[str, expected(_EXAMPLE), AfterValidator(_uri)]


class TrackingConfig(ConfigModel):
    """The trackers of runs and promotions; no node depends on them."""

    mlflow: Uri | None = Field(default=None, description="the URI of an MLflow tracking server")
    wandb: Literal["offline", "online"] | None = Field(
        default=None,
        description="offline: files for Weights & Biases below ROOT/tracking/wandb; online: also send them",
    )
    experiment: Text | None = Field(
        default=None, description="the experiment in MLflow, the project in W&B; default: the pipeline's name"
    )
