"""The trigger form: its fields, the values that they allow, and the messages for wrong values."""

from __future__ import annotations

from typing import Any

import pytest

from benison.pipelines import config_file
from benison.pipelines.airflow import form
from benison.pipelines.config import Pipeline
from benison.serving.errors import UsageError


@pytest.fixture(scope="module")
def flights() -> Pipeline:
    return config_file.load("flights", environ={}, check_data=False)


@pytest.fixture(scope="module")
def fields(flights) -> dict[str, form.FormField]:
    return {field.name: field for field in form.parameters(flights)}


@pytest.mark.parametrize(
    ("name", "kind", "default"),
    [
        ("span", "string", None),
        ("cache", "boolean", True),
        ("seed", "integer", 7),
        ("ensemble.members.deep.epochs", "integer", 6),
        ("ensemble.members.deep.batch_size", "integer", 512),
        ("ensemble.members.forest.patience", "integer", 2),
        ("ensemble.members.deep.hyperparameters.units", "integer", 32),
        ("ensemble.members.deep.hyperparameters.dropout", "number", 0.3),
        ("blessing.confidence", "number", 0.95),
        ("blessing.resamples", "integer", 500),
        ("blessing.rules.0.min", "number", 0.65),
        ("blessing.rules.1.max", "number", 0.1),
        ("serving.promote", "string", "auto"),
        ("serving.budget.p99_ms", "number", 250),
    ],
)
def test_fields_are_typed_and_default_to_the_config(fields, name: str, kind: str, default: Any) -> None:
    assert (fields[name].type, fields[name].default) == (kind, default)
    assert fields[name].help


def test_bounds_and_choices_are_those_of_the_models(fields) -> None:
    assert (fields["seed"].minimum, fields["seed"].maximum) == (0, 2**32 - 1)
    assert (fields["ensemble.members.deep.epochs"].minimum, fields["blessing.confidence"].maximum) == (1, 1)
    assert fields["serving.promote"].enum == ["auto", "manual"]


def test_the_defaults_are_values_of_the_form(flights, fields) -> None:
    values = form.values(list(fields.values()), {})
    del values["span"], values["cache"]
    assert form.with_values(flights.model_dump(mode="json"), values) == flights


@pytest.mark.parametrize(
    "name", [field.name for field in form.parameters(config_file.load("penguins", environ={}))][1:]
)
def test_each_field_changes_its_own_key_of_the_config(name: str) -> None:
    config = config_file.load("penguins", environ={})
    known = {field.name: field for field in form.parameters(config)}
    default = known[name].default
    other = next(value for value in known[name].enum if value != default) if known[name].enum else default / 2 + 0.25
    other = int(default) + 1 if known[name].type == "integer" else other
    changed = form.with_values(config.model_dump(mode="json"), {name: other})
    differing = {field.name for field in form.parameters(changed) if field.default != known[field.name].default}
    assert differing == {name}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("span", "2013-04", "2013-04"),
        ("span", '"2013-04"', "2013-04"),
        ("span", "3", "3"),
        ("span", "1-3", "1-3"),
        ("span", "null", None),
        ("span", '""', None),
        ("span", "2013-04-01T00:00:00+00:00", "2013-04-01T00:00:00+00:00"),
        ("cache", "false", False),
        ("seed", "3.0", 3),
        ("blessing.confidence", "0.9", 0.9),
        ("serving.promote", "manual", "manual"),
    ],
)
def test_values_are_json_and_text_needs_no_quotes(fields, name: str, text: str, value: Any) -> None:
    assert form.values(list(fields.values()), {name: text})[name] == value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("seed", "-1", "seed: got -1, expected an integer >= 0 and <= 4294967295"),
        ("seed", "1.5", "seed: got 1.5, expected an integer"),
        ("seed", "true", "seed: got true, expected an integer"),
        ("seed", "null", "seed: got null, expected an integer"),
        ("seed", "many", "seed: got many, expected an integer"),
        ("cache", "1", "cache: got 1, expected true or false"),
        ("blessing.confidence", "NaN", "blessing.confidence: got NaN, expected a number >= 0 and <= 1"),
        ("blessing.confidence", "[0.9]", "got [0.9], expected a number"),
        ("serving.promote", "never", "serving.promote: got never, expected one of auto, manual"),
        ("span", "April", "span: got April, expected a number such as 3, a range such as 1-3, or a date"),
        ("sed", "1", "sed: no such field in the form of this pipeline; did you mean 'seed'?"),
    ],
)
def test_the_message_of_a_wrong_value_has_the_allowed_values(fields, name: str, text: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        form.values(list(fields.values()), {name: text})
    assert message in str(raised.value)


def test_the_message_has_all_wrong_values(fields) -> None:
    with pytest.raises(UsageError) as raised:
        form.values(list(fields.values()), {"seed": "x", "cache": "x"})
    assert len(str(raised.value).splitlines()) == 2


def test_a_value_that_only_the_config_refuses_has_its_message(flights) -> None:
    with pytest.raises(UsageError, match=r"blessing.confidence: got 0, expected a number between 0 and 1"):
        form.with_values(flights.model_dump(mode="json"), {"blessing.confidence": 0})
