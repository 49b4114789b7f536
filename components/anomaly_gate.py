"""AnomalyGate: stops a run whose data ExampleValidator found wanting.

TFX lets a run go on with anomalies: ExampleValidator writes them down and is green. What follows the gate runs only
if no split has an anomaly.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec

from serving.errors import DataError


class Verdict(types.Artifact):
    """The gate's word on the data: `verdict.json` with the splits looked at."""

    TYPE_NAME = "DataVerdict"


class Executor(base_executor.BaseExecutor):
    """Raises on the first look at any anomaly, naming all of them."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        artifact = artifact_utils.get_single_instance(input_dict["anomalies"])
        splits = artifact_utils.decode_split_names(artifact.split_names)
        lines = [_line(*anomaly, split) for split in splits for anomaly in found(Path(artifact.uri), split)]
        if lines:
            raise DataError(
                f"{len(lines)} anomalies against the schema: " + "; ".join(lines) + ". "
                "Mend the data, or where the data are right and the schema is not, mend the schema"
            )
        verdict = Path(artifact_utils.get_single_uri(output_dict["verdict"])) / "verdict.json"
        verdict.write_text(json.dumps({"anomalies": 0, "splits": splits}))
        print(f"no anomalies in {', '.join(splits)}")


class _Spec(ComponentSpec):
    PARAMETERS: dict[str, Any] = {}
    INPUTS = {"anomalies": ChannelParameter(type=standard_artifacts.ExampleAnomalies)}
    OUTPUTS = {"verdict": ChannelParameter(type=Verdict)}


class AnomalyGate(base_component.BaseComponent):
    """Lets what depends on it run only where there is no anomaly.

    Args:
        anomalies: ExampleValidator's output.
    """

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, anomalies: types.BaseChannel) -> None:
        super().__init__(_Spec(anomalies=anomalies, verdict=types.Channel(type=Verdict)))


def found(anomalies: Path, split: str) -> list[tuple[str, str]]:
    """What ExampleValidator found in a split: feature ('' for the whole data set) and description, sorted.

    Args:
        anomalies: folder of its output.
        split: name.
    """
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    message = anomalies_pb2.Anomalies()
    message.ParseFromString((anomalies / f"Split-{split}" / "SchemaDiff.pb").read_bytes())
    whole = [("", reason.description) for reason in message.dataset_anomaly_info.reason]
    return whole + [(name, info.description) for name, info in sorted(message.anomaly_info.items())]


def _line(feature: str, description: str, split: str) -> str:
    where = f"feature {feature!r}: " if feature else ""
    return f"{where}{description.rstrip('. ')} [{split}]"
