"""Tuner: TFX's component, which also tells its tuner_fn the folder of its results, for the histories of the trials."""

from __future__ import annotations

import json
from typing import Any

from tfx import types
from tfx.components import Tuner as TfxTuner
from tfx.components.tuner import executor
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils, standard_component_specs


class Executor(executor.Executor):
    """Executor with `results`, the folder of the results, in the custom_config."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        key = standard_component_specs.CUSTOM_CONFIG_KEY
        folder = artifact_utils.get_single_uri(output_dict[standard_component_specs.TUNER_RESULTS_KEY])
        config = {**json.loads(exec_properties[key]), "results": folder}
        super().Do(input_dict, output_dict, {**exec_properties, key: json.dumps(config)})


class Tuner(TfxTuner):
    """Node that searches the hyperparameters of a member; it takes the same arguments as TFX's."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
