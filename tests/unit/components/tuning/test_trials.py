"""The trials of a search: every algorithm searches, a trial that fails says why, and no finished trial is repeated."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benison.components.evaluate.metrics import METRICS
from benison.components.train.fitting import Fitted, Task
from benison.components.train.imbalance import ClassBalance
from benison.components.train.member import Recipe
from benison.components.train.rows import ArrayRows
from benison.components.train.search_space import hyperparameters
from benison.components.tuning import finished_trials, oracles, own_tuner, results
from benison.components.tuning.finished_trials import Finished, Histories
from benison.components.tuning.goal import Goal
from benison.components.tuning.keras_trials import Learning, keras_tuner_of
from benison.components.tuning.search import Tuner
from benison.components.tuning.table_trials import table_tuner
from benison.serving.errors import UsageError

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras's and KerasTuner's own

SPACE = {"units": [2, 4], "learning_rate": {"min": 0.01, "max": 0.1, "sampling": "log"}, "batch_size": [8, 16]}
MODELS = """
import keras


def deep(inputs, hp):
    return keras.layers.Dense(hp.get("units"))(inputs["x"])


class Odd(keras.layers.Layer):
    def call(self, x, training=False):
        return {}["wide"] if training else x


def broken(inputs, hp):
    return Odd()(inputs["x"])
"""
LOSS, AUC = Goal(), Goal("val_auc", "max", METRICS["auc"])


def run(tuner: Any, folder: Path, **options: Any) -> list[Finished]:
    """Run a search in this process; return its trials."""
    finished_trials.keep(tuner.oracle, folder)
    Tuner(tuner, options=options).run()
    return finished_trials.read(folder)


def keras_search(folder: Path, judged: Goal = LOSS, function: str = "deep", **settings: Any) -> list[Finished]:
    """Search a network with two classes that a line separates."""
    import tensorflow as tf

    (folder / "models.py").write_text(MODELS)
    search = {"algorithm": "random", "trials": 3, "epochs": 2, "space": SPACE, **settings}
    recipe = Recipe(f"{folder / 'models.py'}:{function}", "binary", 8, 3, 7, tuner=search, name="deep")
    x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    rows = tf.data.Dataset.from_tensor_slices(({"x": x}, (x.sum(axis=1) > 0).astype(np.int64)))
    spec = {"x": tf.io.FixedLenFeature([3], tf.float32)}
    learning = Learning(
        recipe, spec, 2, None, ClassBalance("none"), rows, rows, judged, search["epochs"], search.get("profile")
    )
    oracle = oracles.oracle(search, judged, hyperparameters(recipe), recipe.seed)
    return run(keras_tuner_of(learning, oracle, folder, Histories(folder)), folder)


class Additive:
    """A Fitter whose answer is its hyperparameter `shift` for every row."""

    needs_stop = True

    def __init__(self, hp: Any, calls: list[Any]) -> None:
        self._shift = hp.get("shift")
        calls.append(self._shift)

    def fit(self, learn: Any, stop: Any) -> Fitted:
        if self._shift is None or self._shift > 90:
            raise UsageError("models.py, line 3 (mine): KeyError: 'leaves'")
        return Fitted(lambda features: 0 * features["x"] + self._shift, 1)


def additive_search(
    folder: Path, calls: list[Any], values: Any = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0), seed: int = 7, **settings: Any
) -> list[Finished]:
    search = {"algorithm": "random", "trials": 4, "space": {"shift": values}, **settings}
    recipe = Recipe("", "regression", 1, 1, seed, tuner=search)
    oracle = oracles.oracle(search, Goal(), hyperparameters(recipe), seed)
    histories = Histories(folder)
    tuner = table_tuner(lambda hp: Additive(hp, calls), "regression", Goal(), oracle, folder, histories)
    rows = ArrayRows({"x": np.zeros((4, 1), np.float32)}, np.full(4, 2.2, np.float32))
    return run(tuner, folder, learn=rows, stop=rows)


def values_of(trials: list[Finished]) -> list[Mapping[str, Any]]:
    return [trial.state["hyperparameters"]["values"] for trial in trials]


@pytest.mark.parametrize("algorithm", ["random", "grid", "bayesian", "hyperband"])
def test_a_search_tries_several_values_from_the_space(algorithm: str, tmp_path: Path) -> None:
    trials = keras_search(tmp_path, algorithm=algorithm)
    assert len(trials) == 3 if algorithm != "hyperband" else len(trials) >= 2
    assert all(values["units"] in (2, 4) and values["batch_size"] in (8, 16) for values in values_of(trials))
    assert len({tuple(values.items()) for values in values_of(trials)}) >= 2
    for trial in trials:
        history = json.loads((tmp_path / "histories" / f"{trial.state['trial_id']}.json").read_text())
        assert history["unit"] == "epoch"
        assert history["metrics"]["val_loss"][history["best"]] == pytest.approx(trial.state["score"])
        for part in ("train", "validation"):
            assert list((tmp_path / "logs" / trial.state["trial_id"] / part).glob("events.out.tfevents.*"))


def test_the_batches_of_a_trial_are_profiled_on_demand(tmp_path: Path) -> None:
    assert len(keras_search(tmp_path, trials=2, profile=[2, 3])) == 2
    for trial in "01":
        assert list((tmp_path / "logs" / trial / "train").glob("plugins/profile/*/*.xplane.pb"))
        assert list((tmp_path / "logs" / trial / "validation").glob("events.out.tfevents.*"))


def test_trials_are_judged_by_the_metric_of_the_pipeline(tmp_path: Path) -> None:
    trials = results.best_first(keras_search(tmp_path, AUC), finished_trials.objective(tmp_path))
    scores = [trial.state["score"] for trial in trials]
    assert scores == sorted(scores, reverse=True)
    assert 0 <= scores[-1] < scores[0] <= 1
    assert all(set(trial.state["metrics"]["metrics"]) == {"val_auc", "val_loss"} for trial in trials)


def test_the_trials_of_trees_are_judged_by_the_loss_or_the_metric(tmp_path: Path) -> None:
    import tensorflow as tf

    from benison.components.train import kinds
    from benison.components.train.trees.settings import FUNCTION

    search = {"algorithm": "grid", "trials": 6, "space": {"depth": [1, 4], "learning_rate": [0.05, 0.2, 0.5]}}
    recipe = Recipe(FUNCTION, "regression", 1, 5, 3, kind="trees", hyperparameters={"trees": 20}, tuner=search)
    spec = {"x": tf.io.FixedLenFeature([3], tf.float32)}

    def rows(seed: int) -> ArrayRows:
        x = np.random.default_rng(seed).normal(size=(400, 3)).astype(np.float32)
        return ArrayRows({"x": x}, x[:, 0] * x[:, 1] * 1000)  # one level cannot learn a product

    best = {}
    for judged in (Goal(), Goal("val_r2", "max", METRICS["r2"])):
        folder = tmp_path / judged.name
        oracle = oracles.oracle(search, judged, hyperparameters(recipe), 7)
        tuner = table_tuner(
            lambda hp: kinds.fitter(Task(recipe, hp, spec, 0)), "regression", judged, oracle, folder, Histories(folder)
        )
        trials = results.best_first(run(tuner, folder, learn=rows(0), stop=rows(1)), judged)
        assert len(trials) == 6
        best[judged.name] = trials[0]
    values, by_r2 = (trial.state["hyperparameters"]["values"] for trial in best.values())
    assert values == by_r2
    assert (values["depth"], values["trees"]) == (4, 20)
    variance = float(rows(1).targets.astype(float).var())
    assert best["val_loss"].state["score"] < 0.9 * variance
    assert best["val_r2"].state["score"] == pytest.approx(1 - best["val_loss"].state["score"] / variance, abs=1e-4)


@pytest.mark.parametrize("algorithm", ["random", "grid", "bayesian"])
def test_an_interrupted_search_continues_and_ends_like_one_that_was_not(algorithm: str, tmp_path: Path) -> None:
    class Interrupted(BaseException):
        pass

    class Calls(list[Any]):
        def append(self, value: Any) -> None:
            super().append(value)
            if len(self) == 3:
                raise Interrupted

    calls = Calls()
    with pytest.raises(Interrupted):
        additive_search(tmp_path / "search", calls, algorithm=algorithm)
    assert len(finished_trials.read(tmp_path / "search")) == 2
    continued: list[Any] = []
    trials = additive_search(tmp_path / "search", continued, algorithm=algorithm)
    whole = additive_search(tmp_path / "whole", [], algorithm=algorithm)
    assert [trial.state["hyperparameters"] for trial in trials] == [trial.state["hyperparameters"] for trial in whole]
    assert [trial.state["score"] for trial in trials] == [trial.state["score"] for trial in whole]
    assert len(trials) == 4
    assert continued == [values["shift"] for values in values_of(trials)[2:]]


def test_a_trial_that_failed_runs_again_when_a_search_continues(tmp_path: Path) -> None:
    first: list[Any] = []
    second: list[Any] = []
    for calls in (first, second):
        trials = additive_search(tmp_path, calls, (1.0, 91.0, 2.0), algorithm="grid")
        assert [trial.state["status"] for trial in trials] == ["COMPLETED", "FAILED", "COMPLETED"]
    assert first == [1.0, 91.0, 2.0]
    assert second == [91.0]


def test_the_seed_0_is_a_seed_like_any_other(tmp_path: Path) -> None:
    first, second = (
        values_of(additive_search(tmp_path / name, [], {"min": 0.0, "max": 9.0}, seed=0)) for name in ("one", "two")
    )
    assert first == second


def test_a_search_of_which_no_trial_works_names_the_users_line(tmp_path: Path) -> None:
    trials = additive_search(tmp_path, [], (91.0, 92.0), algorithm="grid")
    with pytest.raises(UsageError, match=r"all 2 trials of the Tuner failed; .*models.py, line 3 \(mine\): KeyError"):
        results.best_first(trials, Goal())


def test_if_all_trials_fail_in_the_users_code_its_line_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trials = keras_search(tmp_path, function="broken", trials=2)
    with pytest.raises(
        UsageError, match=r"all 2 trials of the Tuner failed; the first one: .*\(models\.py, line 11\)$"
    ):
        results.best_first(trials, Goal())


def test_a_trial_that_diverges_is_a_failed_trial_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = {"units": [2], "learning_rate": [1e30, 1e31, 0.01]}
    trials = results.best_first(keras_search(tmp_path, algorithm="grid", space=space), Goal())
    assert [trial.state["status"] for trial in trials] == ["COMPLETED", "FAILED", "FAILED"]
    assert trials[0].state["hyperparameters"]["values"]["learning_rate"] == 0.01
    reason = r"member deep: the (loss|weight) .* epoch 1 \(learning rate 1e\+30\): all features are finite"
    assert re.search(f"trial failed: {reason}", capsys.readouterr().out)


def test_the_table_of_trials_has_every_trial_best_first_with_its_reason(tmp_path: Path) -> None:
    trials = additive_search(tmp_path, [], (1.0, 2.0, 91.0), algorithm="grid")
    (tmp_path / "out").mkdir()
    judged = finished_trials.objective(tmp_path)
    results.write(results.best_first(trials, judged), judged, tmp_path / "out", tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / results.TABLE)
    assert table["hp.shift"].tolist() == [2.0, 1.0, 91.0]
    assert table["status"].tolist() == ["completed", "completed", "failed"]
    assert table["score"].tolist()[:2] == pytest.approx([0.04, 1.44], abs=1e-6)
    assert table["reason"].tolist()[2].endswith("models.py, line 3 (mine): KeyError: 'leaves'")
    best = json.loads((tmp_path / "out" / results.BEST).read_text())
    assert best["values"] == {"shift": 2.0}


OWN = """
import keras_tuner


class Deep(keras_tuner.Tuner):
    def __init__(self, oracle, sizes=(16,), **options):
        super().__init__(oracle, **options)
        self.sizes = sizes

    def run_trial(self, trial, x, y, validation_data, **options):
        size = trial.hyperparameters.Choice("batch_size", self.sizes)
        import numpy as np

        return {"val_loss": np.float32(size)}


class Bayes(keras_tuner.BayesianOptimization):
    def run_trial(self, trial, *args, **options):
        return {"val_loss": 1.0}


class Makes(keras_tuner.Tuner):
    def __init__(self, hypermodel, max_trials, **options):
        oracle = keras_tuner.oracles.RandomSearchOracle(objective=keras_tuner.Objective("profit", "max"), max_trials=max_trials)
        super().__init__(oracle=oracle, hypermodel=hypermodel, **options)

    def run_trial(self, trial, x, y, validation_data=None, epochs=1, verbose=0):
        return {"profit": 3.0 * trial.hyperparameters.Int("n", 1, 9)}


class Short(keras_tuner.Tuner):
    def run_trial(self, trial, rows):
        return 1.0


def no_class():
    pass
"""


def test_a_tuner_class_of_the_user_gets_the_arguments_that_it_names(tmp_path: Path) -> None:
    import keras
    import keras_tuner

    file = tmp_path / "own.py"
    file.write_text(OWN)

    def build(hp: Any) -> Any:
        return keras.Sequential([keras.Input((1,)), keras.layers.Dense(hp.Choice("units", [1, 2]))])

    def oracle() -> Any:
        return oracles.oracle({"algorithm": "bayesian", "trials": 3}, Goal(), keras_tuner.HyperParameters(), 7)

    found = {}
    classes: dict[str, Any] = {"Deep": {"sizes": [32, 64]}, "Bayes": {"num_initial_points": 2}, "Makes": {}}
    for name, arguments in classes.items():
        offered = {
            "hypermodel": build,
            "objective": keras_tuner.Objective("val_loss", "min"),
            "max_trials": 3,
            "hyperparameters": keras_tuner.HyperParameters(),
            "seed": 7,
        }
        tuner = own_tuner.own_tuner(
            f"{file}:{name}",
            arguments,
            oracle,
            offered,
            tmp_path / name,
            Histories(tmp_path / name),
        )
        finished_trials.keep(tuner.oracle, tmp_path / name)
        Tuner(tuner, ([1], [2]), {"validation_data": ([1], [2]), "epochs": 1, "verbose": 0}).run()
        found[name] = results.best_first(
            finished_trials.read(tmp_path / name), finished_trials.objective(tmp_path / name)
        )
    assert {name: len(trials) for name, trials in found.items()} == {"Deep": 3, "Bayes": 3, "Makes": 3}
    assert {trial.state["score"] for trial in found["Deep"]} <= {32.0, 64.0}
    profits = [trial.state["score"] for trial in found["Makes"]]
    assert profits == sorted(profits, reverse=True)


def test_a_tuner_class_that_cannot_be_called_is_refused_before_a_run(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(OWN)
    assert own_tuner.faults(f"{file}:Deep", {"sizes": [1]}) == []
    assert own_tuner.faults(f"{file}:Bayes", {"beta": 2.0}) == []
    (fault,) = own_tuner.faults(f"{file}:Deep", {"size": [1]})
    assert "no argument 'size'; did you mean 'sizes'" in fault
    (fault,) = own_tuner.faults(f"{file}:Short", {})
    assert "run_trial" in fault
    with pytest.raises(UsageError, match=r"own\.py:no_class: expected a class that derives from keras_tuner\.Tuner"):
        own_tuner.faults(f"{file}:no_class", {})


def test_rows_for_a_tuner_class_have_weights_only_if_they_count_differently() -> None:
    rows = ArrayRows({"x": np.zeros((3, 1), np.float32)}, np.array([0, 1, 1]))
    (x, y), options = own_tuner.search_arguments(rows, rows, ClassBalance("none"), 7, 2)
    assert x["x"].shape == (3, 1)
    assert y.tolist() == [0, 1, 1]
    assert len(options["validation_data"]) == 2
    weighted = replace(rows, weights=np.array([1.0, 2.0, 3.0], np.float32))
    _, options = own_tuner.search_arguments(weighted, weighted, ClassBalance("none", (), 2.0), 7, 2)
    assert len(options["validation_data"]) == 3
    assert options["sample_weight"].shape == (3,)
