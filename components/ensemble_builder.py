"""EnsembleBuilder: the trained members become one fused SavedModel, with Transform's graph in it once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from components import signatures
from serving.ensemble import Ensemble


class Executor(base_executor.BaseExecutor):
    """Loads each member's `transformed` signature and exports their combination."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        import tensorflow as tf
        import tensorflow_transform as tft

        output: Literal["prediction", "probabilities"]
        output = "prediction" if exec_properties["problem"] == "regression" else "probabilities"
        names = exec_properties["members"].split(",")
        ensemble = Ensemble(members=tuple(names), combiner=exec_properties["combiner"], output=output)
        loaded = {
            name: tf.saved_model.load(
                path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict[f"model_{name}"]))
            )
            for name in names
        }

        def members(transformed: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            return {name: model.signatures["transformed"](**transformed)[output] for name, model in loaded.items()}

        target = artifact_utils.get_single_uri(output_dict["model"])
        signatures.export(
            path_utils.serving_model_dir(target),
            tft.TFTransformOutput(artifact_utils.get_single_uri(input_dict["transform_graph"])),
            exec_properties["label"],
            predict=lambda transformed: ensemble.combine(members(transformed)),
            tracked=list(loaded.values()),
            members=members,
        )
        ensemble.save(Path(target))
        print(f"{ensemble.combiner} of {', '.join(names)}")


class EnsembleBuilder(base_component.BaseComponent):
    """Fuses any number of members.

    Args:
        members: channel of each trained member's model, by name.
        transform_graph: Transform's output, which all members were trained with.
        label: name of the raw label.
        problem: binary, multiclass or regression.
        combiner: see `serving.ensemble.Ensemble`.
    """

    SPEC_CLASS = ComponentSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        members: Mapping[str, types.BaseChannel],
        transform_graph: types.BaseChannel,
        label: str,
        problem: str,
        combiner: str,
    ) -> None:
        # One input per member, so that lineage names them; the class of the spec is thus made here.
        class Spec(ComponentSpec):
            PARAMETERS = {
                "members": ExecutionParameter(type=str),
                "label": ExecutionParameter(type=str),
                "problem": ExecutionParameter(type=str),
                "combiner": ExecutionParameter(type=str),
            }
            INPUTS = {
                **{f"model_{name}": ChannelParameter(type=standard_artifacts.Model) for name in members},
                "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
            }
            OUTPUTS = {"model": ChannelParameter(type=standard_artifacts.Model)}

        super().__init__(
            Spec(
                **{f"model_{name}": channel for name, channel in members.items()},
                transform_graph=transform_graph,
                members=",".join(members),
                label=label,
                problem=problem,
                combiner=combiner,
                model=types.Channel(type=standard_artifacts.Model),
            )
        )
