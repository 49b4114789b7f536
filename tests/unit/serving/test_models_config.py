"""ROOT/serving/models.config, read and written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benison.serving import models_config
from benison.serving.errors import BenisonError
from benison.serving.models_config import All, Config, Latest, Model, Policy, Specific


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


def test_a_canary_moves_with_the_folder_and_strangers_stay(tmp_path: Path) -> None:
    models = [Model("a", "/before/a"), Model("a-canary", "/before/a"), Model("b", "/elsewhere/b")]
    (tmp_path / "models.config").write_text(models_config.text(models))
    named = models_config.name_all(tmp_path, ["a"])
    assert [model.base_path for model in named.models.values()] == [str(tmp_path / "a")] * 2 + ["/elsewhere/b"]


def test_an_unchanged_file_is_not_written(tmp_path: Path) -> None:
    models_config.name_all(tmp_path, ["a"])
    by_hand = "# by hand\n" + (tmp_path / "models.config").read_text()
    (tmp_path / "models.config").write_text(by_hand)
    models_config.name_all(tmp_path, ["a"])
    assert (tmp_path / "models.config").read_text() == by_hand


def test_a_broken_file_is_reported_and_not_changed(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text("{")
    with pytest.raises(
        BenisonError, match=r"models.config: Error parsing text-format tensorflow.serving.ModelServerConfig: "
    ):
        models_config.name_all(tmp_path, ["a"])
    assert (tmp_path / "models.config").read_text() == "{"


def config(versions: set[int] | Policy, **labels: int) -> Config:
    policy = Specific(frozenset(versions)) if isinstance(versions, set) else versions
    return Config({"m": Model("m", "/m", policy, labels)})


def on_disk(*numbers: int) -> Callable[[Model], frozenset[int]]:
    return lambda model: frozenset(models_config.choose(numbers, model.policy))


@pytest.mark.parametrize(
    ("before", "after", "steps"),
    [
        (config({1}, stable=1), config({1}, stable=1), []),
        (
            config({1}, stable=1),
            config({2}, stable=2),
            [config({1, 2}, stable=1), config({1, 2}, stable=2), config({2}, stable=2)],
        ),
        (  # broken off after the first step
            config({1, 2}, stable=1),
            config({2}, stable=2),
            [config({1, 2}, stable=1), config({1, 2}, stable=2), config({2}, stable=2)],
        ),
        (  # by number alone: the highest was served
            config(Latest(1)),
            config({2}, stable=2),
            [config({2, 3}), config({2, 3}, stable=2), config({2}, stable=2)],
        ),
        (config({2, 3}, stable=2), config({2}, stable=2), [config({2, 3}, stable=2), config({2}, stable=2)]),
        (Config({}), config({1}, stable=1), [config({1}), config({1}, stable=1)]),
        (config({1}, stable=1), Config({}), [config({1}, stable=1), Config({})]),
        (  # what the label points to is gone from the disk
            config({9}, stable=9),
            config({2}, stable=2),
            [config({2}), config({2}, stable=2)],
        ),
    ],
)
def test_a_label_moves_while_both_versions_are_served(before: Config, after: Config, steps: list[Config]) -> None:
    assert models_config.steps(before, after, on_disk(1, 2, 3)) == steps


def test_each_step_leaves_the_models_alone_that_stay(tmp_path: Path) -> None:
    other = Model("other", "/other", Specific(frozenset([5])), {"stable": 5})
    before, after = (Config({**config({n}, stable=n).models, "other": other}) for n in (1, 2))
    steps = models_config.steps(before, after, on_disk(1, 2, 5))
    assert len(steps) == 3
    assert all(step.models["other"] == other for step in steps)


def test_the_policy_that_wants_no_version_is_kept(tmp_path: Path) -> None:
    nothing = Model("m", "/m", Specific(frozenset()))
    (tmp_path / "models.config").write_text(models_config.text([nothing]))
    assert models_config.read(tmp_path).models == {"m": nothing}
