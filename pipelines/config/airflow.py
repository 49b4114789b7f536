"""The keys `airflow:` and `schedule:` of a config, which only a scheduler reads."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from benison.pipelines.config.types import ConfigModel
from benison.serving.close_names import did_you_mean
from benison.serving.config_values import expected

PRESETS = ("@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly")
_CRON_FIELD = r"[0-9A-Za-z*/,\-#?]+"
_RANDOM_FIELD = re.compile(r"(?i)[hr](/[0-9]+)?")  # croniter puts a number in its place
_RETRIES, _DELAY_S, _TIMEOUT_S = 1000, 86_400, 31_536_000  # a day: Airflow waits no longer; a year


def _cron(text: str) -> str:
    if text in PRESETS:
        return text
    allowed = f"five fields of cron, such as '0 6 * * 1', or one of {', '.join(PRESETS)}"
    if not re.fullmatch(rf"{_CRON_FIELD}( {_CRON_FIELD}){{4}}", text):
        raise PydanticCustomError("refused", f"got {text!r}, expected {allowed}{did_you_mean(text, PRESETS)}")
    if any(map(_RANDOM_FIELD.fullmatch, text.split())):  # each of Airflow's processes would draw another number
        raise PydanticCustomError("refused", f"got {text!r}, expected {allowed}; H and R are chance, write a number")
    if fault := _fault(text):
        raise PydanticCustomError("refused", f"got {text!r}, expected {allowed}: {fault}")
    return text


def _fault(cron: str) -> str:
    """Return why Airflow could not use a cron expression; empty if it can. Airflow reads cron with croniter too."""
    from croniter import CroniterBadDateError, CroniterError, croniter

    try:
        croniter(cron).get_next()
    except CroniterBadDateError:
        return "there is no such date"
    except CroniterError as error:
        return str(error).removeprefix(f"[{cron}] ")
    return ""


def _without_controls(text: str) -> str:
    if control := next((character for character in text if unicodedata.category(character) == "Cc"), None):
        raise PydanticCustomError("refused", f"got {text!r}, expected text without {control!r}")
    return text


_Seen = AfterValidator(_without_controls)
# Airflow's database holds names of these lengths.
Tag = Annotated[str, Field(min_length=1, max_length=100), expected("text of 1 to 100 characters"), _Seen]
Owner = Annotated[str, Field(min_length=1, max_length=100), expected("text of 1 to 100 characters"), _Seen]
Pool = Annotated[str, Field(min_length=1, max_length=256), expected("a pool's name of 1 to 256 characters"), _Seen]
Schedule = Annotated[str, expected("text (in quotes, because of its stars)"), AfterValidator(_cron)]
Retries = Annotated[int, Field(strict=True, ge=0, le=_RETRIES), expected(f"an integer from 0 to {_RETRIES}")]
Delay = Annotated[int, Field(strict=True, ge=1, le=_DELAY_S), expected(f"an integer from 1 to {_DELAY_S} (a day)")]
Timeout = Annotated[
    int, Field(strict=True, ge=1, le=_TIMEOUT_S), expected(f"an integer from 1 to {_TIMEOUT_S} (a year)")
]


class AirflowConfig(ConfigModel):
    """Settings for running a pipeline's nodes in Airflow."""

    owners: tuple[Owner, ...] = Field(
        default=("benison",), min_length=1, max_length=16, description="the people to contact about it"
    )
    tags: tuple[Tag, ...] = Field(default=(), description="added to Benison's own tags: benison and the problem")
    retries: Retries = Field(default=2, description="retries of a failed node; a node with invalid data is not retried")
    retry_delay_s: Delay = Field(default=60, description="seconds before a retry")
    timeout_s: Timeout | None = Field(default=None, description="longest run of a node, in seconds; default: no limit")
    pool: Pool | None = Field(
        default=None, description="Airflow's pool; default_pool if it is not given or does not exist"
    )
