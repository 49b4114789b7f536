"""Every search algorithm searches, and leaves the trials that TFX's Tuner reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benison.components.train import tuner

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
        model.compile(keras.optimizers.Adam(hp.get("rate")), loss="mse")
        return model

    hp = keras_tuner.HyperParameters()
    for name, values in SPACE.items():
        tuner.declare_hyperparameter(hp, name, values)
    search = tuner.build_tuner({"algorithm": algorithm, "trials": 3, "epochs": 2}, build, hp, 7, str(tmp_path))
    x = np.linspace(0, 1, 16).reshape(-1, 1)
    search.search(x, x, validation_data=(x, x), epochs=2, verbose=0)

    trials = search.oracle.get_best_trials(search.oracle.max_trials)  # the call of TFX's Tuner
    assert len(trials) >= 2
    assert all(trial.hyperparameters.get("units") in (2, 4) for trial in trials)
    assert len({tuple(trial.hyperparameters.values.items()) for trial in trials}) >= 2
