"""The keys `airflow:` and `schedule:` of a config, which only a scheduler reads."""

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
    """Settings for running a pipeline's nodes in Airflow."""

    owners: tuple[Text, ...] = Field(default=("benison",), min_length=1, description="the people to contact about it")
    tags: tuple[Text, ...] = Field(default=(), description="added to Benison's own tags: benison and the problem")
    retries: Retries = Field(default=2, description="retries of a failed node; a node with invalid data is not retried")
    retry_delay_s: Count = Field(default=60, description="seconds before a retry")
    timeout_s: Count | None = Field(default=None, description="longest run of a node, in seconds; default: no limit")
    pool: Text | None = Field(
        default=None, description="Airflow's pool; default_pool if it is not given or does not exist"
    )
