"""A compiled pipeline: TFX's IR as a file, and what a scheduler has to know of its nodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfx.orchestration.pipeline import Pipeline as TfxPipeline


@dataclass(frozen=True)
class Node:
    """A node's id, what has to run before it, and the kind of component that it is."""

    id: str
    upstream: tuple[str, ...]
    kind: str


@dataclass(frozen=True)
class Compiled:
    """A pipeline's name, its IR's file, and its nodes in topological order."""

    name: str
    ir: Path
    nodes: tuple[Node, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        nodes = [{"id": n.id, "upstream": list(n.upstream), "kind": n.kind} for n in self.nodes]
        return {"name": self.name, "ir": str(self.ir), "nodes": nodes}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Compiled:
        """What `to_json` gave."""
        nodes = tuple(Node(n["id"], tuple(n["upstream"]), n["kind"]) for n in data["nodes"])
        return cls(data["name"], Path(data["ir"]), nodes)


def compile_to(pipeline: TfxPipeline, ir: Path) -> Compiled:
    """Compiles any TFX pipeline and writes its IR.

    Args:
        pipeline: ours or hand-written.
        ir: the file to write (JSON).

    Returns:
        The compiled pipeline.
    """
    from google.protobuf import json_format
    from tfx.dsl.compiler import compiler

    proto = compiler.Compiler().compile(pipeline)
    ir.parent.mkdir(parents=True, exist_ok=True)
    ir.write_text(json_format.MessageToJson(proto))
    nodes = tuple(
        Node(n.node_info.id, tuple(n.upstream_nodes), n.node_info.type.name.rpartition(".")[2])
        for n in (entry.pipeline_node for entry in proto.nodes)
    )
    return Compiled(proto.pipeline_info.id, ir, nodes)
