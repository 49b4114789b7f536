"""The texts of a manifest, and the groups of its nodes."""

from __future__ import annotations

import pytest

from benison.pipelines import config_file
from benison.pipelines.airflow import manifest_texts


@pytest.mark.parametrize(
    ("kind", "upstream", "group"),
    [
        ("CsvExampleGen", [], "ingest"),
        ("Trainer", ["validate", "train"], "train"),
        ("Resolver", ["validate"], "validate"),  # otherwise the groups would depend on each other
        ("Resolver", [], "ingest"),
        ("SomethingElse", ["ingest", "train"], "train"),
        ("SomethingElse", [], "ingest"),
    ],
)
def test_a_node_is_never_in_a_group_before_those_that_it_waits_for(kind: str, upstream: list[str], group: str) -> None:
    assert manifest_texts.group(kind, upstream) == group


def test_a_pipelines_text_holds_data_members_rules_and_how_to_start_it() -> None:
    text = manifest_texts.doc(config_file.load("flights", environ={}, check_data=False))
    for sentence in (
        "# flights",
        "predicts `late`, evaluated by **auc**",
        "one per month since 2013-01",
        "| `deep` | 6 |",
        "- auc at least 0.65",
        "- calibration_error at most 0.1",
        "`flights_by_date` starts a run on the schedule `@monthly`",
    ):
        assert sentence in text


def test_the_text_of_a_node_has_its_description_and_name() -> None:
    assert manifest_texts.of_node("Trainer.deep", "Trainer") == "Trains a member: deep"
    assert manifest_texts.of_node("Mine", "Mine") == "Mine"
