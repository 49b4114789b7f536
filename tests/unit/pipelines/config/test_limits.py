"""Every number and text of a YAML has a limit: in the published schema, in Airflow's form and when a config is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benison.pipelines import config_file
from benison.pipelines.airflow import form
from benison.pipelines.config.limits import LARGEST, LONGEST
from benison.pipelines.json_schema import FILE
from benison.serving.errors import UsageError

ARGUMENT = 128 * 1024  # the bytes of the longest argument of a process


def parts(schema: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every part of a JSON schema that has a type, with its place."""
    if isinstance(schema, dict):
        if isinstance(schema.get("type"), (str, list)):
            yield place, schema
        for key, value in schema.items():
            if key not in ("default", "enum"):
                yield from parts(value, f"{place}/{key}")
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            yield from parts(value, f"{place}/{index}")


def test_each_number_of_the_published_schema_has_bounds_and_each_text_a_length() -> None:
    unlimited = []
    for place, part in parts(json.loads(FILE.read_text())):
        types = {part["type"]} if isinstance(part["type"], str) else set(part["type"])
        keys = set(part)
        if types & {"integer", "number"} and not (
            keys & {"maximum", "exclusiveMaximum"} and keys & {"minimum", "exclusiveMinimum"}
        ):
            unlimited.append(place)
        if "string" in types and not keys & {"maxLength", "enum", "const"}:
            unlimited.append(place)
    assert unlimited == []


def test_bounds_of_a_number_that_may_be_an_integer_are_in_the_published_schema() -> None:
    share = json.loads(FILE.read_text())["$defs"]["Validation"]["properties"]["max_overlap"]
    assert (share["minimum"], share["maximum"]) == (0, 1)


@pytest.mark.parametrize("name", ["flights", "penguins", "digits"])
def test_each_field_of_the_form_has_bounds_that_a_message_and_a_command_line_can_hold(name: str) -> None:
    for field in form.parameters(config_file.load(name, environ={}, check_data=False)):
        if field.type in ("integer", "number"):
            assert field.minimum is not None, field.name
            assert field.maximum is not None, field.name
            assert -LARGEST <= field.minimum <= field.default <= field.maximum <= LARGEST, field.name
        elif field.type == "string" and field.enum is None:
            assert field.max_length is not None
            assert len(json.dumps("😀" * field.max_length)) < ARGUMENT


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ensemble.members.deep.epochs", "1" + "0" * 20),
        ("ensemble.members.deep.hyperparameters.dropout", "1" + "0" * 20),
        ("blessing.rules.0.min", "-1" + "0" * 20),
        ("serving.budget.p99_ms", "1" + "0" * 400),
    ],
)
def test_a_huge_number_in_the_form_is_refused_in_one_short_line(name: str, text: str) -> None:
    fields = form.parameters(config_file.load("flights", environ={}, check_data=False))
    with pytest.raises(UsageError, match=f"^{name}: got ") as raised:
        form.values(fields, {name: text})
    assert len(str(raised.value)) < 250


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("seed", "100000000000000000000", "seed: got 100000000000000000000, expected"),
        ("ensemble.members.deep.epochs", "100000000000000000000", "epochs: got 100000000000000000000, expected"),
        ("ensemble.members.deep.epochs", "3000000000", "epochs: got 3000000000, expected at most 2147483647"),
        ("ensemble.members.deep.hyperparameters.units", "100000000000000000000", "units: got 100000000000000000000, "),
        ("description", "x" * 5000, f"description: got text of 5000 characters, expected at most {LONGEST}"),
        ("airflow.retry_delay_s", "100000000000000", r"retry_delay_s: got 100000000000000, expected an integer from 1"),
        ("airflow.tags", f"[{'x' * 200}]", "airflow.tags.0: got .*, expected text of 1 to 100 characters"),
        ("airflow.tags", r'["a\0b"]', r"airflow.tags.0: got 'a\\x00b', expected text without '\\x00'"),
        ("airflow.pool", r'"a\nb"', r"airflow.pool: got 'a\\nb', expected text without '\\n'"),
        ("description", r'"a \ud800"', r"description: got \\ud800, which is half of a character"),
    ],
)
def test_a_value_beyond_the_limits_is_a_mistake_at_its_key(key: str, value: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        config_file.load("flights", {key: value}, environ={}, check_data=False)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("cron", "reason"),
    [
        ("61 25 * * *", "is not a number|out of range|not acceptable|range"),
        ("a b c d e", "five fields of cron"),
        ("0 0 30 2 *", "there is no such date"),
        ("* * * *", "five fields of cron"),
        ("@mothly", "did you mean '@monthly'"),
        ("R R * * *", "H and R are chance"),
        ("h/5 6 * * *", "H and R are chance"),
    ],
)
def test_a_schedule_that_airflow_cannot_use_is_refused(cron: str, reason: str) -> None:
    with pytest.raises(UsageError, match=rf"schedule: got '{cron.replace('*', '.')}', expected.* ({reason})"):
        config_file.load("penguins", {"schedule": f"'{cron}'"}, environ={}, check_data=False)


@pytest.mark.parametrize("cron", ["0 6 * * 1", "*/5 0-6 1,15 * MON-FRI", "0 0 29 2 *", "@monthly"])
def test_a_schedule_that_airflow_can_use_is_taken(cron: str) -> None:
    config = config_file.load("penguins", {"schedule": f"'{cron}'"}, environ={}, check_data=False)
    assert config.schedule == cron


def test_the_shipped_pipelines_are_within_the_limits() -> None:
    folder = Path(config_file.SHIPPED[1])
    names = [file.stem for file in folder.glob("*.yaml")]
    assert names
    for name in names:
        config_file.load(name, environ={}, check_data=False)


@pytest.mark.parametrize("length", [101, 240, 255, 300])
def test_a_name_that_no_folder_or_table_could_have_is_refused(length: int) -> None:
    for key, longest in (("name", 100), ("ensemble.members", 60)):
        value = "n" * length if key == "name" else json.dumps({"m" * length: {"function": "linear"}})
        with pytest.raises(UsageError, match=f"name of at most {longest} characters of a-z"):
            config_file.load("penguins", {key: value}, environ={}, check_data=False)


def test_the_longest_name_is_accepted() -> None:
    assert config_file.load("penguins", {"name": "n" * 100}, environ={}, check_data=False).name == "n" * 100
