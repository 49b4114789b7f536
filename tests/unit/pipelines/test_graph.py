"""Tests of what the graph of a pipeline puts into its nodes' parameters, which are part of their cache keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from benison.pipelines import config_file, graph

# TFX and its dependencies emit warnings about one another.
pytestmark = pytest.mark.filterwarnings("ignore")


TRAINERS = {"Trainer.linear", "Trainer.quadratic", "Trainer.deep"}


def _parameters(root: Path, **changes: str) -> dict[str, str]:
    """Return each node's parameters as text."""
    overrides = {key.replace("__", "."): value for key, value in changes.items()}
    built = graph.build(config_file.load("penguins", overrides, environ={}), root)
    return {node.id: str(sorted(node.exec_properties.items())) for node in built.components}


@pytest.mark.parametrize(
    ("changes", "nodes"),
    [
        ({"slices": "[island, sex]"}, {"MemberScores", "EnsembleScores", "Evaluator"}),
        ({"ensemble__members__deep__epochs": "61"}, {"Trainer.deep"}),
        ({"ensemble__members__deep__tuner__trials": "5"}, {"Tuner.deep"}),
        ({"ensemble__members__deep__batch_size": "16"}, {"Tuner.deep", "Trainer.deep"}),
        ({"blessing__confidence": "0.9", "blessing__resamples": "500"}, {"ColumnImportance", "Blessing"}),
        ({"ensemble__calibration": "temperature"}, {"EnsembleBuilder"}),
        ({"description": "birds"}, set()),
        ({"code__env": "[SIZE]"}, {"Transform", "Tuner.deep", *TRAINERS}),
    ],
)
def test_a_setting_is_a_parameter_only_of_the_nodes_that_read_it(
    tmp_path: Path, changes: dict[str, str], nodes: set[str]
) -> None:
    before, after = _parameters(tmp_path), _parameters(tmp_path, **changes)
    # A push always runs; it writes the hash of all settings into the manifest.
    assert {id for id in before if before[id] != after[id]} - {"Pusher"} == nodes
