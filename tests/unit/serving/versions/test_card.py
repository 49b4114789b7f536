"""The model card has the headings of Mitchell et al. 2019, and what the manifest says."""

from __future__ import annotations

import re

from benison.serving.versions import card
from benison.serving.versions.manifest import Manifest

MANIFEST = Manifest.model_validate({
    "name": "homes",
    "label": "price",
    "problem": "regression",
    "purpose": "First offers;\n## a person decides.",
    "limits": ["Not for castles | or <b>boats</b>."],
    "members": ["linear", "deep"],
    "combiner": "weighted_mean",
    "weights": {"linear": 0.25, "deep": 0.75},
    "made_from": {"packages": {"python": "3.11.7", "benison": "0.1.0", "scipy": "1"}},
    "metric": "rmse",
    "metrics": {"ensemble": {"rmse": 2.0, "r2": None}, "linear": {"rmse": 3.0, "r2": 0.5}},
    "slices": {
        "town=Ulm": {"rows": 80, "metrics": {"ensemble": {"rmse": 2.5}, "linear": {"rmse": 2.0}}},
        "town=Bonn": {"rows": 90, "metrics": {"ensemble": {"rmse": 1.5}}},
        "town=Kiel": {"rows": 9, "metrics": {"ensemble": {"rmse": 9.0}}},
    },
    "verdicts": [{"rule": "rmse <= 3", "passed": True, "reason": "rmse 2 is at most 3"}],
    "warnings": ["column 'age' (drift): 0.2"],
    "rows": {"train": 600, "test": 200},
    "data_files": {"homes.csv": "ab12", "huge.csv": None},
    "interval": {"level": 0.9, "half_width": 4.0, "rows": 100, "caveat": "rows are later"},
})  # fmt: skip
HEADINGS = [
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
]


def test_a_card_has_all_headings_and_the_text_of_the_yaml_adds_none():
    text = card.render(MANIFEST, 17)
    assert text.startswith("# Model card: homes version 17\n")
    assert re.findall("^## (.*)$", text, re.MULTILINE) == HEADINGS
    assert "First offers; ## a person decides." in text
    assert "&lt;b>boats" in text


def test_a_card_tells_the_data_the_figures_and_the_limits():
    text = card.render(MANIFEST, 17)
    for line in (
        "- Weights: linear 0.2500, deep 0.7500",
        "- Made with: python 3.11.7, benison 0.1.0",
        "- File homes.csv, SHA-256 `ab12`",
        "- File huge.csv",
        "- Rows: train 600, test 200",
        "| linear | 3.0000 | 0.5000 |",
        "| ensemble | 2.0000 | - |",
        "| town=Ulm | 80 | 2.0000 | 2.5000 |",
        "- passed: rmse <= 3: rmse 2 is at most 3",
        "- Weak for town=Ulm: rmse 2.5000 on 80 rows, 2.0000 on all",
        "- Intervals: rows are later",
        "- Warned: column 'age' (drift): 0.2",
    ):
        assert f"\n{line}\n" in text
    assert "Weak for town=Kiel" not in text  # nine rows show nothing
    assert "`benison rollback homes`" in text


def test_the_direction_of_an_own_metric_decides_which_slices_are_weak():
    larger = MANIFEST.model_copy(update={"larger_is_better": True})
    assert "Weak for town=Bonn" in card.render(larger)


def test_a_version_of_an_older_release_has_a_card_too():
    text = card.render(Manifest(name="old", label="y"), 3)
    assert re.findall("^## (.*)$", text, re.MULTILINE) == HEADINGS
    assert "The YAML names no limits" in text
    assert card.render(Manifest()).startswith("# Model card: ")


def test_slices_are_in_the_order_of_their_values_and_of_whole_columns():
    rows = {"rows": 9, "metrics": {"ensemble": {"rmse": 1.0}}}
    slices = dict.fromkeys(("hour=10", "hour=9", "a=b=no", "hour=(missing)"), rows)
    text = card.render(Manifest.model_validate({**MANIFEST.model_dump(), "slices": slices}))
    assert re.findall(r"^\| (\S+=\S+) \|", text, re.MULTILINE) == ["a=b=no", "hour=9", "hour=10", "hour=(missing)"]
    assert "each value of: a=b, hour." in text


def test_a_card_says_which_member_may_have_learnt_from_the_rows_that_judge_it():
    version = MANIFEST.model_copy(update={"unproven": ("forest",), "made_from": {"models": {"forest": "abc"}}})
    text = card.render(version)
    assert "forest, trained elsewhere, may have learnt from them." in text
    assert "No model has learnt from them" not in text
    assert "Member forest was trained elsewhere, hash of its model `abc`" in text
