"""ROOT/serving/models.config, read and written."""

from __future__ import annotations

from pathlib import Path

import pytest

from serving import models_config
from serving.errors import BenisonError
from serving.server.model_config import All, Config, Latest, Model, Policy, Specific


@pytest.mark.parametrize("policy", [Latest(1), Latest(3), All(), Specific(frozenset([1, 7]))])
def test_what_is_written_is_what_is_read(tmp_path: Path, policy: Policy) -> None:
    models = [Model("b", "/srv/b", policy, {"stable": 7, "canary": 1}), Model("a", "/srv/a")]
    (tmp_path / "models.config").write_text(models_config.text(models))
    assert models_config.read(tmp_path) == Config({model.name: model for model in models})


def test_a_model_is_added_and_the_others_stay(tmp_path: Path) -> None:
    pinned = Model("a", str(tmp_path / "a"), Specific(frozenset([1])), {"stable": 1})
    (tmp_path / "models.config").write_text(models_config.text([pinned]))
    named = models_config.name_all(tmp_path, ["b"])
    assert named.models == {"a": pinned, "b": Model("b", str(tmp_path / "b"))}
    assert models_config.read(tmp_path) == named


def test_a_model_in_a_folder_that_was_moved_keeps_its_versions_and_labels(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text(
        models_config.text([Model("a", "/elsewhere/a", Specific(frozenset([1])), {"stable": 1})])
    )
    assert models_config.name_all(tmp_path, ["a"]).models["a"] == Model(
        "a", str(tmp_path / "a"), Specific(frozenset([1])), {"stable": 1}
    )


def test_a_file_that_says_it_all_already_is_not_written(tmp_path: Path) -> None:
    models_config.name_all(tmp_path, ["a"])
    by_hand = "# by hand\n" + (tmp_path / "models.config").read_text()
    (tmp_path / "models.config").write_text(by_hand)
    models_config.name_all(tmp_path, ["a"])
    assert (tmp_path / "models.config").read_text() == by_hand


def test_a_broken_file_is_told_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text("{")
    with pytest.raises(BenisonError, match=r"models.config: not a text proto"):
        models_config.name_all(tmp_path, ["a"])
    assert (tmp_path / "models.config").read_text() == "{"
