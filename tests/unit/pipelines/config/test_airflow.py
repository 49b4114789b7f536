"""`schedule:`, `spans.first` and `airflow:` of a config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benison.pipelines import config_file
from benison.pipelines.config import Pipeline
from benison.serving.errors import UsageError

_YAML = """
name: p
problem: binary
label: late
data: {time: t}
spans: {SPANS}
columns: {t: number}
ensemble: {members: {linear: {}}}
MORE
"""


def _load(folder: Path, more: str = "", spans: str = "{window: 2}") -> Pipeline:
    file = folder / "p.yaml"
    file.write_text(_YAML.replace("{SPANS}", spans).replace("MORE", more))
    return config_file.load(str(file), environ={})


_MONTHLY = "{first: 2013-01, every: month}"


@pytest.mark.parametrize("schedule", ["@monthly", "0 6 * * 1", "*/15 0-6 1,15 * MON-FRI"])
def test_a_schedule_is_cron_or_a_preset(tmp_path: Path, schedule: str) -> None:
    assert _load(tmp_path, f'schedule: "{schedule}"', _MONTHLY).schedule == schedule


def test_without_the_section_there_are_defaults(tmp_path: Path) -> None:
    airflow = _load(tmp_path).airflow
    assert (airflow.owners, airflow.tags, airflow.retries, airflow.retry_delay_s) == (("benison",), (), 2, 60)
    assert (airflow.timeout_s, airflow.pool) == (None, None)


@pytest.mark.parametrize(
    ("more", "spans", "message"),
    [
        ('schedule: "@montly"', _MONTHLY, "schedule: got '@montly', expected five fields of cron"),
        ('schedule: "@montly"', _MONTHLY, "did you mean '@monthly'?"),
        ("schedule: 6", _MONTHLY, "schedule: got 6, expected text (in quotes"),
        ('schedule: "0 6 * *"', _MONTHLY, "expected five fields of cron"),
        (
            'schedule: "@monthly"',
            "{window: 2}",
            "schedule: a schedule with spans also needs spans.first and spans.every",
        ),
        ("", "{first: 2013-01}", "spans: got only one of first and every"),
        ("", "{every: month}", "spans: got only one of first and every"),
        ("", "{first: 2013-01, every: day}", "got first '2013-01', expected a day such as '2013-01-31'"),
        ("", "{first: 2013-01, every: fortnight}", "expected one of day, week, month, year"),
        ("airflow: {retries: -1}", "{}", "airflow.retries: got -1, expected an integer from 0 to 1000"),
        ("airflow: {retry: 1}", "{}", "airflow.retry: unknown key; did you mean 'retries'?"),
        ("airflow: {owners: []}", "{}", "airflow.owners: empty, expected at least one entry"),
    ],
)
def test_mistakes_are_reported(tmp_path: Path, more: str, spans: str, message: Any) -> None:
    with pytest.raises(UsageError) as raised:
        _load(tmp_path, more, spans)
    assert message in str(raised.value)
