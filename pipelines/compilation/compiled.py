"""A compiled pipeline: TFX's IR as a file, and the facts about its nodes that a scheduler needs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.pipelines.compilation import main_module, module_files, packaging
from benison.serving.errors import UsageError

if TYPE_CHECKING:
    from tfx.orchestration.pipeline import Pipeline as TfxPipeline
    from tfx.proto.orchestration import pipeline_pb2


@dataclass(frozen=True)
class Node:
    """A node as a scheduler sees it.

    Attributes:
        id: its id, unique among all nodes of a run.
        upstream: ids of the nodes that must run before it.
        kind: its component's type.
        name: its id in its pipeline.
        ir: the IR file of its pipeline.
    """

    id: str
    upstream: tuple[str, ...]
    kind: str
    name: str
    ir: Path


@dataclass(frozen=True)
class Compiled:
    """A compiled pipeline: its name, its IR file, its nodes in topological order, and its spans if it has any."""

    name: str
    ir: Path
    nodes: tuple[Node, ...]
    window: tuple[int, ...] = ()

    def after(self, earlier: Mapping[str, Compiled]) -> Compiled:
        """Return this pipeline with other pipelines in front of it.

        Args:
            earlier: the other pipelines, by the mark that makes their nodes' ids unique, as in `StatisticsGen[3]`.
        """
        nodes = [
            replace(n, id=f"{n.id}[{mark}]", upstream=tuple(f"{u}[{mark}]" for u in n.upstream))
            for mark, compiled in earlier.items()
            for n in compiled.nodes
        ]
        earlier_ids = tuple(n.id for n in nodes)
        own = [n if n.upstream else replace(n, upstream=earlier_ids) for n in self.nodes]
        return replace(self, nodes=(*nodes, *own))

    def with_nodes(self, nodes: Iterable[Node]) -> Compiled:
        """Return this pipeline with some of its nodes: with each, all nodes upstream of it."""
        return replace(self, nodes=tuple(nodes))

    def by_urgency(self) -> tuple[Node, ...]:
        """Return the nodes in topological order, sorted by the longest chain of nodes that depends on each."""
        chain = dict.fromkeys((node.id for node in self.nodes), 0)
        for node in reversed(self.nodes):
            for upstream in node.upstream:
                chain[upstream] = max(chain[upstream], chain[node.id] + 1)
        return tuple(sorted(self.nodes, key=lambda node: -chain[node.id]))

    def to_json(self) -> dict[str, Any]:
        """Convert to plain data for JSON."""
        return dict(json.loads(json.dumps(asdict(self), default=str)))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Compiled:
        """Create from the result of `to_json`."""
        nodes = tuple(Node(**{**n, "upstream": tuple(n["upstream"]), "ir": Path(n["ir"])}) for n in data["nodes"])
        return cls(data["name"], Path(data["ir"]), nodes, tuple(data["window"]))


def compile_to(pipeline: TfxPipeline, ir: Path) -> Compiled:
    """Compile any TFX pipeline and write its IR.

    Args:
        pipeline: the pipeline, built from a config or written by hand.
        ir: the file to write (JSON).

    Returns:
        The compiled pipeline.

    Raises:
        UsageError: other processes cannot import one of its components or would import another file, or it has a
            pipeline inside.
    """
    from google.protobuf import json_format

    module_files.refuse_hidden(pipeline)
    proto = packaging.compile_packed(pipeline)
    if inner := [entry.sub_pipeline.pipeline_info.id for entry in proto.nodes if entry.HasField("sub_pipeline")]:
        raise UsageError(
            f"pipeline {proto.pipeline_info.id}: it has a pipeline inside ({', '.join(inner)}), which TFX cannot run "
            "on one machine; put the nodes of the inner pipeline into the outer one"
        )
    ir.parent.mkdir(parents=True, exist_ok=True)
    ir.write_text(json_format.MessageToJson(proto))
    main_module.make_importable(ir)
    return _of(proto, ir)


def from_ir(ir: Path) -> Compiled:
    """Read a compiled pipeline from its IR file."""
    from google.protobuf import json_format
    from tfx.proto.orchestration import local_deployment_config_pb2, pipeline_pb2

    assert local_deployment_config_pb2  # imported so that the parser knows the messages in the deployment config
    return _of(json_format.Parse(ir.read_text(), pipeline_pb2.Pipeline()), ir)


def _of(proto: pipeline_pb2.Pipeline, ir: Path) -> Compiled:
    nodes = tuple(
        Node(
            id=n.node_info.id,
            upstream=tuple(n.upstream_nodes),
            kind=n.node_info.type.name.rpartition(".")[2],
            name=n.node_info.id,
            ir=ir,
        )
        for n in (entry.pipeline_node for entry in proto.nodes)
    )
    return Compiled(proto.pipeline_info.id, ir, nodes)
