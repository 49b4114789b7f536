"""The changes that a node's process makes to a compiled node."""

from __future__ import annotations

import pytest
from tfx.proto.orchestration import pipeline_pb2

from benison.pipelines import node


@pytest.mark.parametrize(("cache", "recorded"), [(True, 1), (False, 0)])
def test_only_the_context_of_the_run_records_the_cache_setting(cache: bool, recorded: int) -> None:
    compiled = pipeline_pb2.PipelineNode()
    for type_name in ("pipeline", "pipeline_run", "node"):
        compiled.contexts.contexts.add().type.name = type_name
    node.record_cache_setting(compiled, cache)
    of_pipeline, of_run, of_node = compiled.contexts.contexts
    assert of_run.properties[node.CACHE].field_value.int_value == recorded
    assert not of_pipeline.properties
    assert not of_node.properties
    assert not compiled.parameters.parameters
