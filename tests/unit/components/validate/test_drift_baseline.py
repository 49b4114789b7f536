"""DriftValidator compares with the statistics of the data that the served version was trained on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benison.serving.versions import local
from benison.serving.versions.manifest import Manifest

# TFX and its dependencies emit warnings about one another.
pytestmark = pytest.mark.filterwarnings("ignore")


class Opened:
    """A handle that is open already: a store in memory ends when a handle is closed."""

    def __init__(self, store: Any) -> None:
        self.store = store

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def handle() -> Iterator[Opened]:
    """Return an ML Metadata store in memory."""
    from ml_metadata.proto import metadata_store_pb2
    from tfx.orchestration.metadata import Metadata

    config = metadata_store_pb2.ConnectionConfig()
    config.fake_database.SetInParent()
    with Metadata(config) as handle:
        yield Opened(handle.store)


def record(store: Any, uri: str, span: int, data: str | None) -> None:
    """Record an execution of StatisticsGen, as TFX does; `data` is the hash of the span that it read."""
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    examples_type = store.put_artifact_type(mlmd.ArtifactType(name="Examples"))
    statistics_type = store.put_artifact_type(
        mlmd.ArtifactType(name="ExampleStatistics", properties={"span": mlmd.INT})
    )
    execution_type = store.put_execution_type(mlmd.ExecutionType(name="StatisticsGen"))
    context_type = store.put_context_type(mlmd.ContextType(name="node"))
    examples = mlmd.Artifact(type_id=examples_type, uri=f"{uri}-examples", state=mlmd.Artifact.LIVE)
    if data is not None:
        examples.custom_properties["span_hash"].string_value = data
    statistics = mlmd.Artifact(type_id=statistics_type, uri=uri, state=mlmd.Artifact.LIVE)
    statistics.properties["span"].int_value = span
    store.put_execution(
        mlmd.Execution(type_id=execution_type),
        [
            (examples, mlmd.Event(type=mlmd.Event.INPUT)),
            (statistics, mlmd.Event(type=mlmd.Event.OUTPUT)),
        ],
        [mlmd.Context(type_id=context_type, name="p.StatisticsGen")],
        reuse_context_if_already_exist=True,
    )


@pytest.mark.parametrize(
    ("hashes", "baseline"),
    [
        ({"1": "old"}, {"span": 1, "version": 7, "uri": "first", "examples": "first-examples"}),
        ({"1": "new"}, {"span": 1, "version": 7, "uri": "replaced", "examples": "replaced-examples"}),
        (
            {},
            {"span": 1, "version": 7, "uri": "replaced", "examples": "replaced-examples"},
        ),  # pushed by a release that did not record hashes
        (
            {"1": "pruned"},
            {"why_not": "the statistics of span 1, as version 7 was trained on it, no longer exist"},
        ),
    ],
)
def test_the_statistics_are_those_of_the_data_that_the_version_was_trained_on(
    handle: Opened, tmp_path: Path, hashes: dict[str, str], baseline: dict[str, Any]
) -> None:
    from benison.components.validate.drift import DriftValidator

    record(handle.store, "first", 1, "old")
    record(handle.store, "replaced", 1, "new")
    record(handle.store, "second", 2, "two")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").touch()
    local.publish(tmp_path / "model", tmp_path / "p", Manifest(spans=(1,), span_hashes=hashes), lambda: 7)
    execution = SimpleNamespace(
        exec_properties={"serving": str(tmp_path / "p"), "statistics_node": "StatisticsGen"},
        input_dict={"statistics": [SimpleNamespace(span=2)]},
        pipeline_info=SimpleNamespace(id="p"),
    )
    driver = DriftValidator.DRIVER_CLASS(handle)
    assert json.loads(driver.more_properties(execution)["baseline"]) == baseline
