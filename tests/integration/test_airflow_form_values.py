"""Change every field of the form: a run on a real Airflow records each new value in ML Metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from benison.pipelines.node import CACHE
from tests.integration import lineage
from tests.integration.airflow_birds import PATIENCE, begun, compiled
from tests.integration.airflow_here import Here

pytestmark = [pytest.mark.system, pytest.mark.soak, pytest.mark.timeout(3600)]

NAME = "plovers"


def _of_member(name: str, *hyperparameters: str) -> dict[str, tuple[str, ...]]:
    """Return the places of a member's values: its recipe, which is a property of the Trainer."""
    keys = [("epochs",), ("batch_size",), ("patience",), *(("hyperparameters", key) for key in hyperparameters)]
    return {
        ".".join(("ensemble", "members", name, *key)): (f"Trainer.{name}", "custom_config", "recipe", *key)
        for key in keys
    }


# For each field: the node, its property, and the path in the property's JSON.
PLACES: Mapping[str, tuple[str, ...]] = {
    **_of_member("linear", "learning_rate"),
    **_of_member("deep", "units", "learning_rate", "dropout"),
    "blessing.confidence": ("Blessing", "judgement", "confidence"),
    "blessing.resamples": ("Blessing", "judgement", "resamples"),
    "blessing.rules.0.min": ("Blessing", "judgement", "rules", "0", "min"),
    "serving.promote": ("Pusher", "custom_config", "settings", "promote"),
    **{f"serving.budget.{key}": ("ServingValidator", "budget", key) for key in ("load_s", "memory_mb", "p99_ms")},
}
# The seed is a property of several nodes.
SEEDED = (
    ("Trainer.linear", "custom_config", "recipe", "seed"),
    ("Trainer.deep", "custom_config", "recipe", "seed"),
    ("EnsembleBuilder", "custom_config", "settings", "seed"),
    ("Blessing", "judgement", "seed"),
)
VALUES: Mapping[str, Any] = {
    "cache": False,
    "seed": 11,
    "ensemble.members.linear.epochs": 21,
    "ensemble.members.linear.batch_size": 16,
    "ensemble.members.linear.patience": 5,
    "ensemble.members.linear.hyperparameters.learning_rate": 0.025,
    "ensemble.members.deep.epochs": 9,
    "ensemble.members.deep.batch_size": 24,
    "ensemble.members.deep.patience": 4,
    "ensemble.members.deep.hyperparameters.units": 12,
    "ensemble.members.deep.hyperparameters.learning_rate": 0.015,
    "ensemble.members.deep.hyperparameters.dropout": 0.05,
    "blessing.confidence": 0.9,
    "blessing.resamples": 200,
    "blessing.rules.0.min": 0.7,
    "serving.promote": "manual",
    "serving.budget.load_s": 300.0,
    "serving.budget.memory_mb": 6000.0,
    "serving.budget.p99_ms": 5000.0,
}


@dataclass(frozen=True)
class Changed:
    """A finished run with every field of the form changed."""

    run: str
    fields: Mapping[str, Mapping[str, Any]]
    states: Mapping[str, str]
    executions: Mapping[str, lineage.Execution]

    def value(self, place: tuple[str, ...]) -> Any:
        """Return the value at a place in ML Metadata."""
        node, name, *keys = place
        value = json.loads(self.executions[node].properties[name])
        for key in keys:
            value = value[int(key)] if isinstance(value, list) else value[key]
        return value


@pytest.fixture(scope="module")
def changed(here: Here, tmp_path_factory: pytest.TempPathFactory) -> Changed:
    compiled(here, tmp_path_factory.mktemp("form") / NAME, NAME)
    triggered = here.api.trigger(NAME, conf=VALUES)
    states = here.ended(NAME, triggered, PATIENCE)
    run = begun(here, NAME, triggered).name
    executions = {execution.node: execution for execution in lineage.of_run(here.root, NAME, run)}
    return Changed(run, here.api.parameters(NAME), states, executions)


def test_every_field_is_changed_and_every_task_green(changed: Changed) -> None:
    assert {name for name, field in changed.fields.items() if field["value"] != VALUES[name]} == set(VALUES)
    assert set(changed.fields) == set(VALUES)
    assert set(changed.states.values()) == {"success"}


def test_each_new_value_is_in_ml_metadata(changed: Changed) -> None:
    assert {*PLACES, "seed", "cache"} == set(changed.fields)
    assert {field: changed.value(place) for field, place in PLACES.items()} == {f: VALUES[f] for f in PLACES}
    assert [changed.value(place) for place in SEEDED] == [VALUES["seed"]] * len(SEEDED)


def test_ml_metadata_records_that_the_cache_was_off(here: Here, changed: Changed) -> None:
    assert lineage.property_of_run(here.root, changed.run, CACHE) == 0
    assert {execution.state for execution in changed.executions.values()} == {"COMPLETE"}
