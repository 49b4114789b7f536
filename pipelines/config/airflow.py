"""`airflow:` and `schedule:` of a config: what only a scheduler reads."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from benison.pipelines.config.types import ConfigModel, Count, Text
from benison.serving.close_names import did_you_mean
from benison.serving.config_values import expected

PRESETS = ("@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")
_CRON_FIELD = r"[0-9A-Za-z*/,\-#?]+"


def _cron(text: str) -> str:
    if text in PRESETS or re.fullmatch(rf"{_CRON_FIELD}( {_CRON_FIELD}){{4}}", text):
        return text
    allowed = f"five fields of cron, such as '0 6 * * 1', or one of {', '.join(PRESETS)}"
    raise PydanticCustomError("refused", f"got {text!r}, expected {allowed}{did_you_mean(text, PRESETS)}")


Schedule = Annotated[str, expected("text (in quotes, because of its stars)"), AfterValidator(_cron)]
Retries = Annotated[int, Field(strict=True, ge=0), expected("an integer >= 0")]


class AirflowConfig(ConfigModel):
    """How Airflow runs a pipeline's nodes."""

    owners: tuple[Text, ...] = Field(default=("benison",), min_length=1, description="who is asked about it")
    tags: tuple[Text, ...] = Field(default=(), description="beside those that Benison gives: benison, the problem")
    retries: Retries = Field(default=2, description="of a node that failed; invalid data are not tried again")
    retry_delay_s: Count = Field(default=60, description="seconds before a retry")
    timeout_s: Count | None = Field(default=None, description="seconds that a node may take; default: no limit")
    pool: Text | None = Field(
        default=None, description="Airflow's pool; default, and where it is missing: default_pool"
    )
