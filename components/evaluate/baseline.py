"""Baseline: looks up the served version that a candidate is compared with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.orchestration.portable.data_types import ExecutionInfo
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter
from tfx.utils import path_utils

from benison.components.driver import Driver
from benison.components.evaluate.rules import NOTHING_SERVED
from benison.serving.promotion import labels
from benison.serving.versions import content, local, sets

FILE = "baseline.json"


class BaselineRecord(types.Artifact):
    """`baseline.json`: identity, version and path of the version that was served when a candidate was judged."""

    TYPE_NAME = "Baseline"


class _Driver(Driver):
    """Driver that adds the identity of the baseline to the cache key, since the verdict depends on it.

    If the candidate itself is already served, its baseline is the one that it was blessed against. So a run without
    changes is fully cached, and a model is never compared with itself.
    """

    def more_properties(self, execution_info: ExecutionInfo) -> dict[str, str]:
        properties = execution_info.exec_properties
        base = Path(properties["serving"])
        served = labels.served(base)
        if served:
            # A damaged version answers something else than what was pushed: nothing may be compared with it.
            served = sets.get_verified(base, served.number)
        model = path_utils.serving_model_path(artifact_utils.get_single_uri(execution_info.input_dict["model"]))
        if served and served.manifest.candidate in content.checksums(Path(model)):
            recorded = served.manifest.baseline
            baseline = recorded.to_dict() if recorded else describe(None, [])
        else:
            baseline = describe(served, json.loads(properties["window"]))
        return {"baseline": json.dumps(baseline, sort_keys=True)}


class Executor(base_executor.BaseExecutor):
    """Executor that writes the baseline that the driver found."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        baseline = exec_properties["baseline"]
        Path(artifact_utils.get_single_uri(output_dict["baseline"]), FILE).write_text(baseline)
        print("baseline:", json.loads(baseline)["identity"])


class _Spec(ComponentSpec):
    PARAMETERS = {"serving": ExecutionParameter(type=str), "window": ExecutionParameter(type=str)}
    INPUTS = {"model": ChannelParameter(type=standard_artifacts.Model)}
    OUTPUTS = {"baseline": ChannelParameter(type=BaselineRecord)}


class Baseline(base_component.BaseComponent):
    """Node that looks up the served version.

    Args:
        model: the candidate.
        serving: base folder of the pushed versions.
        window: the spans that the candidate was trained and tested on, ascending.
    """

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
    DRIVER_CLASS = _Driver

    def __init__(self, model: types.BaseChannel, serving: str, window: Sequence[int] = ()) -> None:
        super().__init__(
            _Spec(
                model=model,
                serving=serving,
                window=json.dumps(list(window)),
                baseline=types.Channel(type=BaselineRecord),
            )
        )


def load(artifact: types.Artifact) -> dict[str, Any]:
    """Read `baseline.json`; see `describe`."""
    return dict(json.loads(Path(artifact.uri, FILE).read_text()))


def describe(version: local.Version | None, window: Sequence[int]) -> dict[str, Any]:
    """Describe the baseline of a candidate.

    Args:
        version: the served version; None if nothing is served.
        window: the candidate's spans, ascending; the last one is the test span.

    Returns:
        `identity` and `version` (None if nothing is served); `path` of the model, or None and the reason `why_not`.
    """
    description: dict[str, Any] = {
        "identity": local.identity(version),
        "version": version.number if version else None,
        "path": None,
    }
    if version is None:
        return {**description, "why_not": NOTHING_SERVED}
    if _trained_on_test_span(version.manifest.spans, window):
        reason = f"version {version.number} was trained on span {window[-1]}, which is the test span of this candidate"
        return {**description, "why_not": reason}
    return {**description, "path": str(version.path)}


def _trained_on_test_span(spans: Sequence[int], window: Sequence[int]) -> bool:
    """Return True if a version with these spans was trained on rows of the test span of a window."""
    if not window or list(spans) == list(window):  # both have the same splits
        return False
    return window[-1] in (spans[:-1] if len(spans) > 1 else spans)
