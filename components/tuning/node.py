"""Tuner: TFX's component, with the searches of `benison.components.tuning`."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components import Tuner as TfxTuner
from tfx.components.trainer import fn_args_utils
from tfx.components.tuner import executor
from tfx.components.util import udf_utils
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils, standard_component_specs

from benison.components.tuning import finished_trials, processes, results
from benison.components.tuning.finished_trials import Histories
from benison.components.tuning.search import Search
from benison.serving.files import file_lock

_SEARCHES = Path(".system", "searches")  # beside the outputs of the node, like TFX's own temporary files
_LOCK = "lock"
_AROUND = ("workers",)  # settings of a search that change no trial


class Executor(executor.Executor):
    """Runs a search, and continues the one that an interrupted run has left."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        best, table = (
            Path(artifact_utils.get_single_uri(output_dict[key]))
            for key in (
                standard_component_specs.BEST_HYPERPARAMETERS_KEY,
                standard_component_specs.TUNER_RESULTS_KEY,
            )
        )
        with _folder(table.parents[1] / _SEARCHES, _key(input_dict, exec_properties)) as folder:
            fn_args = fn_args_utils.get_common_fn_args(input_dict, exec_properties, str(folder))
            search: Search = udf_utils.get_fn(exec_properties, standard_component_specs.TUNER_FN_KEY)(fn_args)
            if earlier := len(finished_trials.read(folder)):
                print(f"an interrupted run has finished {earlier} trials of this search; they are not repeated")
            processes.run(search)
            goal = finished_trials.objective(folder)
            trials = results.best_first(finished_trials.read(folder), goal)
            results.write(trials, goal, best, table)
            Histories(folder).copy_to(table)


class Tuner(TfxTuner):
    """Node that searches the hyperparameters of a member; it takes the same arguments as TFX's, without a tuner_fn."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, **options: Any) -> None:
        super().__init__(tuner_fn="benison.components.tuning.search.tuner_fn", **options)


def _key(inputs: dict[str, list[types.Artifact]], properties: dict[str, Any]) -> str:
    """Hash what decides the trials: the data, the settings and, by the property of the cache key, the code."""
    settings = dict(properties)
    config = json.loads(settings.pop(standard_component_specs.CUSTOM_CONFIG_KEY))
    tuner = config["recipe"]["tuner"]
    config["recipe"]["tuner"] = {name: value for name, value in tuner.items() if name not in _AROUND}
    uris = {key: sorted(artifact.uri for artifact in artifacts) for key, artifacts in inputs.items()}
    everything = json.dumps([uris, settings, config], sort_keys=True, default=str)
    return hashlib.sha256(everything.encode()).hexdigest()[:32]


@contextlib.contextmanager
def _folder(searches: Path, key: str) -> Iterator[Path]:
    """Yield the folder of a search alone, and remove it when the search has succeeded; also those of other searches.

    A search that nobody runs was interrupted. After a change of data, code or settings it is of no use.
    """
    folder = searches / key
    folder.mkdir(parents=True, exist_ok=True)
    with file_lock.hold(folder / _LOCK):
        for lock in searches.glob(f"*/{_LOCK}"):
            if lock.parent != folder and not file_lock.is_locked(lock):
                shutil.rmtree(lock.parent)
        yield folder
        shutil.rmtree(folder)
