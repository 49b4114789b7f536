"""Every search algorithm searches, and leaves the trials that TFX's Tuner reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benison.components.train import divergence, tuner
from benison.serving.errors import UsageError

SPACE = {"units": [2, 4], "rate": {"min": 0.01, "max": 0.1, "sampling": "log"}, "layers": {"min": 1, "max": 2}}


@pytest.mark.filterwarnings("ignore")  # Keras's and KerasTuner's own
@pytest.mark.parametrize("algorithm", ["random", "grid", "bayesian", "hyperband"])
def test_a_search_tries_several_values_from_the_space(algorithm: str, tmp_path: Path) -> None:
    import keras
    import keras_tuner
    import numpy as np

    def build(hp: Any) -> Any:
        hidden = [keras.layers.Dense(hp.get("units")) for _ in range(hp.get("layers"))]
        model = keras.Sequential([*hidden, keras.layers.Dense(1)])
        model.compile(keras.optimizers.Adam(hp.get("rate")), loss="mse", run_eagerly=True)
        return model

    hp = keras_tuner.HyperParameters()
    for name, values in SPACE.items():
        tuner.declare_hyperparameter(hp, name, values)
    options = {"algorithm": algorithm, "trials": 3, "epochs": 2}
    search = tuner.build_tuner(options, build, hp, 7, str(tmp_path), tmp_path / "results")
    x = np.linspace(0, 1, 16).reshape(-1, 1)
    search.search(x, x, validation_data=(x, x), epochs=2, verbose=0)

    trials = search.oracle.get_best_trials(search.oracle.max_trials)  # the call of TFX's Tuner
    assert len(trials) >= 2
    assert all(trial.hyperparameters.get("units") in (2, 4) for trial in trials)
    assert len({tuple(trial.hyperparameters.values.items()) for trial in trials}) >= 2
    for trial in trials:
        history = _history(tmp_path / "results", trial)
        assert history["unit"] == "epoch"
        assert set(history["metrics"]) == {"loss", "val_loss"}
        assert history["metrics"]["val_loss"][history["best"]] == pytest.approx(trial.score)


def _history(results: Path, trial: Any) -> dict[str, Any]:
    """Return the history of a trial, whose event files must exist too."""
    for part in ("train", "validation"):
        assert list((results / "logs" / trial.trial_id / part).glob("events.out.tfevents.*"))
    return dict(json.loads((results / "histories" / f"{trial.trial_id}.json").read_text()))


@pytest.mark.filterwarnings("ignore")  # KerasTuner's own
@pytest.mark.parametrize("algorithm", ["random", "grid", "bayesian"])
def test_a_search_over_trees_finds_the_values_with_the_smallest_loss_on_valid(algorithm: str, tmp_path: Path) -> None:
    import keras_tuner
    import numpy as np
    import tensorflow as tf

    from benison.components.train import kinds
    from benison.components.train.fitting import Task
    from benison.components.train.member import Recipe
    from benison.components.train.rows import ArrayRows
    from benison.components.train.trees.settings import FUNCTION

    recipe = Recipe(FUNCTION, "regression", 1, patience=5, seed=3, kind="trees", name="trees")
    hp = keras_tuner.HyperParameters()
    hp.Fixed("trees", 20)
    for name, values in {"depth": [1, 4], "learning_rate": [0.05, 0.2, 0.5]}.items():
        tuner.declare_hyperparameter(hp, name, values)
    spec = {"x": tf.io.FixedLenFeature([3], tf.float32)}

    def rows(seed: int) -> ArrayRows:
        x = np.random.default_rng(seed).normal(size=(400, 3)).astype(np.float32)
        return ArrayRows({"x": x}, x[:, 0] * x[:, 1] * 1000)  # one level cannot learn a product

    def fitter_of(values: Any) -> Any:
        return kinds.fitter(Task(recipe, values, spec, 0))

    settings = {"algorithm": algorithm, "trials": 6}
    search = tuner.build_tree_tuner(settings, fitter_of, "regression", hp, 7, str(tmp_path), tmp_path / "results")
    search.search(learn=rows(0), stop=rows(1))
    trials = search.oracle.get_best_trials(search.oracle.max_trials)  # the call of TFX's Tuner
    assert 3 <= len(trials) <= 6
    assert len({trial.hyperparameters.get("learning_rate") for trial in trials}) >= 2
    best = search.get_best_hyperparameters()[0]
    assert (best.get("depth"), best.get("trees")) == (4, 20)
    assert trials[0].score < 0.9 * float((rows(1).targets.astype(float) ** 2).mean())
    assert {_history(tmp_path / "results", trial)["unit"] for trial in trials} == {"tree"}


@pytest.mark.filterwarnings("ignore")  # KerasTuner's own
def test_a_search_over_trees_of_which_no_trial_works_names_the_users_line(tmp_path: Path) -> None:
    import keras_tuner

    from benison.components.train.rows import ArrayRows

    class Broken:
        needs_stop = True

        def fit(self, learn: Any, stop: Any) -> Any:
            raise UsageError("models.py, line 3 (mine): KeyError: 'leaves'")

    hp = keras_tuner.HyperParameters()
    tuner.declare_hyperparameter(hp, "leaves", [3, 4])
    settings = {"algorithm": "grid", "trials": 2}
    search = tuner.build_tree_tuner(settings, lambda _: Broken(), "binary", hp, 7, str(tmp_path))
    with pytest.raises(UsageError, match=r"all 2 trials of the Tuner failed; .*models.py, line 3 \(mine\): KeyError"):
        search.search(learn=ArrayRows({}, None), stop=ArrayRows({}, None))


@pytest.mark.filterwarnings("ignore")  # Keras's and KerasTuner's own
@pytest.mark.parametrize(("rates", "completed"), [([1e30, 1e31, 1e32, 0.01], 1), ([1e30, 1e31], 0)])
def test_a_trial_that_diverges_is_a_failed_trial_with_its_reason(
    rates: list[float], completed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import keras
    import keras_tuner
    import numpy as np

    def build(hp: Any) -> Any:
        model = keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(hp.get("rate")), loss="mse", run_eagerly=True)
        return model

    hp = keras_tuner.HyperParameters()
    tuner.declare_hyperparameter(hp, "rate", rates)
    search = tuner.build_tuner({"algorithm": "grid", "trials": 4, "epochs": 3}, build, hp, 7, str(tmp_path))
    x = np.linspace(0, 1, 16, dtype=np.float32).reshape(-1, 1)
    stop = divergence.stop_if_not_finite("deep", {"train": [({"x": x},)]}, tuner.failed_trial)

    def run() -> None:
        search.search(x, x, validation_data=(x, x), epochs=3, callbacks=[stop], verbose=0)

    reason = r"member deep: the (loss|weight) .* epoch 1 \(learning rate 1e\+30\): all features are finite"
    if completed:
        run()
        assert [t.status for t in search.oracle.trials.values()].count("COMPLETED") == completed
        assert search.get_best_hyperparameters()[0].get("rate") == 0.01
    else:
        with pytest.raises(UsageError, match=f"all 2 trials of the Tuner failed; the first one: .*{reason}"):
            run()
    assert re.search(f"trial failed: {reason}", capsys.readouterr().out)


@pytest.mark.filterwarnings("ignore")  # Keras's own
def test_weights_that_overflow_in_the_last_step_stop_the_training() -> None:
    import keras
    import numpy as np

    model = keras.Sequential([keras.layers.Dense(1, kernel_initializer="ones", name="last")])
    model.compile(keras.optimizers.SGD(1e38), loss="mse", run_eagerly=True)
    x = np.full((4, 1), 1e3, np.float32)
    stop = divergence.stop_if_not_finite("deep", {"train": [({"x": x},)]})
    with pytest.raises(
        UsageError, match=r"member deep: the weight .*kernel is NaN or infinite after epoch 1 \(learning"
    ):
        model.fit(x, 0 * x, epochs=1, callbacks=[stop], verbose=0)


@pytest.mark.filterwarnings("ignore")  # Keras's and KerasTuner's own
def test_if_all_trials_fail_in_the_users_code_its_line_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keras_tuner
    import numpy as np

    from benison.components import user_code

    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import keras\n\n\nclass Odd(keras.layers.Layer):\n    def call(self, x, training=False):\n"
        "        return {}['wide'] if training else x\n\n\ndef build(hp):\n"
        "    model = keras.Sequential([Odd(), keras.layers.Dense(1)])\n"
        "    model.compile('sgd', loss='mse', run_eagerly=True)\n    return model\n"
    )
    build = user_code.load(f"{tmp_path / 'mine.py'}:build")
    hp = keras_tuner.HyperParameters()
    tuner.declare_hyperparameter(hp, "rate", [1, 2])
    search = tuner.build_tuner({"algorithm": "grid", "trials": 2, "epochs": 1}, build, hp, 7, str(tmp_path))
    x = np.zeros((4, 1), np.float32)
    with pytest.raises(UsageError, match=r"all 2 trials of the Tuner failed; the first one: .*\(mine\.py, line 6\)$"):
        search.search(x, x, validation_data=(x, x), epochs=1, verbose=0)
