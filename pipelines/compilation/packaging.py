"""Compile a TFX pipeline as TFX's own runners do: a `module_file=` and the modules beside it are packed into a wheel.

Without the wheel, a node cannot import a helper in the folder of its module file, and it runs what is in the folder
when it starts instead of what was compiled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfx.orchestration.pipeline import Pipeline as TfxPipeline
    from tfx.proto.orchestration import pipeline_pb2


def compile_packed(pipeline: TfxPipeline) -> pipeline_pb2.Pipeline:
    """Write the wheels into the folder `_wheels` of the pipeline's root, and return the pipeline's IR.

    TFX replaces the module file in a component's properties by its wheel. This is undone, so that a pipeline that is
    compiled again after an edit gets a new wheel.
    """
    from tfx.dsl.components.base.base_component import BaseComponent
    from tfx.orchestration.portable import tfx_runner

    class Compiler(tfx_runner.IrBasedRunner):
        def run_with_ir(self, pipeline: pipeline_pb2.Pipeline, *_: Any, **__: Any) -> pipeline_pb2.Pipeline:
            return pipeline

    nodes = [node for node in pipeline.components if isinstance(node, BaseComponent)]
    originals = [(vars(node).copy(), dict(node.spec.exec_properties)) for node in nodes]
    try:
        ir: pipeline_pb2.Pipeline = Compiler().run(pipeline)
    finally:
        for node, (attributes, properties) in zip(nodes, originals, strict=True):
            vars(node).update(attributes)
            node.spec.exec_properties.clear()
            node.spec.exec_properties.update(properties)
    return ir
