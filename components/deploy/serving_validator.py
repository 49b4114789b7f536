"""ServingValidator: tries the candidate on a model server before it is pushed.

TFX's InfraValidator needs Docker or Kubernetes; this node does not. `benison.components.deploy.serving_trial` has the
checks; this module is the node.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from benison.components.deploy.serving_costs import ServingBudget
from benison.components.deploy.serving_trial import ServingTrial, TrialData
from benison.components.evaluate.raw_rows import first_records, seen_ranges
from benison.components.evaluate.verdicts import verdict_line
from benison.components.raw_examples import input_spec, split_files
from benison.components.train.member import class_names
from benison.components.train.tree_cost import TreeCost
from benison.components.transform_graph import TransformGraph
from benison.serving.ensemble import Ensemble

FILE = "serving.json"
ROWS_FILE = "parity_rows.npz"
_TEST_ROWS = 64


class Executor(base_executor.BaseExecutor):
    """Executor that runs the trial and writes its record and the rows for later checks."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        from tensorflow_transform import TFTransformOutput

        candidate = artifact_utils.get_single_uri(input_dict["model"])
        spec = Ensemble.load(Path(candidate), allow_code=True)
        models = {
            name: Path(path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict[f"model_{name}"])))
            for name in spec.members
        }
        transform = TFTransformOutput(artifact_utils.get_single_uri(input_dict["transform_graph"]))
        raw_spec = input_spec(transform)
        transform_graph = TransformGraph(transform)
        data = TrialData(
            first_records(split_files(input_dict["examples"], "test"), _TEST_ROWS),
            raw_spec,
            exec_properties["label"],
            transform_graph.apply,
            class_names(transform),
            seen_ranges(split_files(input_dict["examples"], "train"), raw_spec),
        )
        costs = {name: TreeCost.load(model.parent) for name, model in models.items()}
        walked = [f"{name} has {cost.text}" for name, cost in costs.items() if cost is not None and not cost.symmetric]
        trial = ServingTrial(
            spec,
            Path(path_utils.serving_model_path(candidate)),
            models,
            ServingBudget(**json.loads(exec_properties["budget"])),
            data,
            fan_out=bool(exec_properties["fan_out"]),
            notes={"p99_ms": "; ".join(walked)},
        )
        with ThreadPoolExecutor(1) as thread:  # in a notebook, this thread already runs an event loop
            record = thread.submit(asyncio.run, trial.run()).result()
        del transform_graph  # its variables and tables had to live as long as the trial
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        Path(blessing.uri, FILE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        np.savez_compressed(Path(blessing.uri, ROWS_FILE), **trial.certificate_rows())
        refused = [verdict["reason"] for verdict in record["verdicts"] if not verdict["passed"]]
        # The property values of TFX's InfraValidator, which TFX's Pusher reads.
        blessing.set_string_custom_property("blessing_status", "INFRA_NOT_BLESSED" if refused else "INFRA_BLESSED")
        blessing.set_int_custom_property("blessed", 0 if refused else 1)
        blessing.set_string_custom_property("reason", "; ".join(refused))
        for verdict in record["verdicts"]:
            print(verdict_line(verdict))


class ServingValidator(base_component.BaseComponent):
    """Node that tries the candidate on a model server.

    Args:
        model: the candidate.
        members: channel of each trained member's model, by name; only members of the ensemble are tried.
        examples: raw examples with the splits `train` and `test`.
        transform_graph: defines the types of the raw features.
        label: name of the raw label.
        budget: limits of load time, memory and latency.
        fan_out: the members are pushed as models of their own too.
    """

    SPEC_CLASS = ComponentSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        members: Mapping[str, types.BaseChannel],
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        label: str,
        budget: ServingBudget,
        fan_out: bool,
    ) -> None:
        # One input per member, so that lineage names them; so the spec depends on the members and is defined here.
        class Spec(ComponentSpec):
            PARAMETERS = {
                "label": ExecutionParameter(type=str),
                "budget": ExecutionParameter(type=str),
                "fan_out": ExecutionParameter(type=int),
                "runs_alone": ExecutionParameter(type=int),
            }
            INPUTS = {
                "model": ChannelParameter(type=standard_artifacts.Model),
                **{f"model_{name}": ChannelParameter(type=standard_artifacts.Model) for name in members},
                "examples": ChannelParameter(type=standard_artifacts.Examples),
                "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
            }
            OUTPUTS = {"blessing": ChannelParameter(type=standard_artifacts.InfraBlessing)}

        super().__init__(
            Spec(
                model=model,
                **{f"model_{name}": channel for name, channel in members.items()},
                examples=examples,
                transform_graph=transform_graph,
                label=label,
                budget=json.dumps(asdict(budget), sort_keys=True),
                fan_out=int(fan_out),
                runs_alone=1,  # Airflow's schedulers keep other nodes away, see benison.pipelines.airflow.manifest
                blessing=types.Channel(type=standard_artifacts.InfraBlessing),
            )
        )
