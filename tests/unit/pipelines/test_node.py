"""What a node's process adds to a compiled node."""

from __future__ import annotations

import pytest
from tfx.proto.orchestration import pipeline_pb2

from benison.pipelines import node


@pytest.mark.parametrize(("cache", "noted"), [(True, 1), (False, 0)])
def test_a_run_notes_in_its_own_context_alone_whether_it_may_use_the_cache(cache: bool, noted: int) -> None:
    compiled = pipeline_pb2.PipelineNode()
    for kind in ("pipeline", "pipeline_run", "node"):
        compiled.contexts.contexts.add().type.name = kind
    node._note_cache(compiled, cache)
    of_pipeline, of_run, of_node = compiled.contexts.contexts
    assert of_run.properties[node.CACHE].field_value.int_value == noted
    assert not of_pipeline.properties
    assert not of_node.properties
    assert not compiled.parameters.parameters
