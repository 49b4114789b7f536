"""An imported ensemble: its spec and the bindings of its members, as one JSON file in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

from benison.serving.ensemble import IDENTITY, Combiner, Custom, Ensemble, read_custom
from benison.serving.ensemble.combiners import Output, check_code
from benison.serving.errors import EnsembleError, UsageError
from benison.serving.files import atomic_file
from benison.serving.seldon import bindings, interface
from benison.serving.seldon.bindings import Binding, SavedModel, Server
from benison.serving.seldon.graph import Graph, GraphNode

FILE = "imported.json"
_COMBINER: TypeAdapter[Any] = TypeAdapter(Combiner)


class ImportedEnsemble(BaseModel):
    """An ensemble with bindings.

    Attributes:
        name: Name of the predictor.
        ensemble: The spec; its transformer is a node's name, or `identity`.
        members: Binding of each member.
        transformer: Binding of the transformer; None if it is `identity`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    ensemble: Ensemble
    members: Mapping[str, Binding]
    transformer: Binding | None = None

    @model_validator(mode="after")
    def _all_bound(self) -> ImportedEnsemble:
        if set(self.members) != set(self.ensemble.members):
            raise ValueError(f"the members are {', '.join(self.ensemble.members)}; bound: {', '.join(self.members)}")
        if (self.ensemble.transformer == IDENTITY) != (self.transformer is None):
            raise ValueError(f"the transformer {self.ensemble.transformer} is bound to {self.transformer}")
        return self

    def save(self, folder: Path) -> Path:
        """Write `imported.json` to a folder, atomically; the folder is created if it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / FILE
        atomic_file.write(target, self.model_dump_json(indent=2) + "\n")
        return target

    @classmethod
    def load(cls, folder: Path, allow_code: str = "") -> ImportedEnsemble:
        """Read `imported.json` from a folder.

        Args:
            folder: The folder.
            allow_code: FILE:FUNCTION of the custom combiner, if it has one; the code in the JSON must be the same.

        Raises:
            EnsembleError: There is no such file, `save` did not write it, or it contains code that is not allowed.
            UsageError: `allow_code` cannot be read.
            VersionError: A model is a version that Benison pushed, and it is damaged.
        """
        path = folder / FILE
        try:
            imported = cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise EnsembleError(f"{path}: no such file; `benison ensemble import` writes it") from None
        except (ValidationError, UnicodeError) as error:
            raise EnsembleError(f"{path}: not an imported ensemble: {_mistakes(error)}") from None
        check_code(imported.ensemble.combiner, read_custom(allow_code, "--allow-code") if allow_code else False, path)
        for binding in (*imported.members.values(), *([imported.transformer] if imported.transformer else [])):
            bindings.check_whole(binding)
        return imported


def import_graph(
    graph: Graph,
    binding_options: Sequence[str],
    *,
    combiner: str = "mean",
    output: Output | None = None,
    quorum: int | None = None,
) -> ImportedEnsemble:
    """Turn an inference graph into an ensemble.

    Args:
        graph: The graph of a SeldonDeployment.
        binding_options: See `bindings.bind_nodes`.
        combiner: The name of a combiner without parameters, FILE.py:FUNCTION of a custom one, or JSON as in
            `ensemble.json`.
        output: The members' output; None: the output of the SavedModels among them, else `prediction`.
        quorum: How many members must answer; None: all, as in Seldon.

    Raises:
        UsageError: A node is bound wrongly or not at all, or the combiner is unknown or does not fit.
        EnsembleError: The SavedModels have no suitable signature or output, or take different inputs.
    """
    by_node = bindings.bind_nodes(graph, binding_options)
    transformers = [(node, binding) for node in graph.before if (binding := by_node[node.name]) is not None]
    if len(transformers) > 1:
        names = ", ".join(node.name for node, _ in transformers)
        raise UsageError(f"{names}: only one transformer can be bound to a model; bind the others to {IDENTITY}")
    members = {node.name: binding for node in graph.models if (binding := by_node[node.name]) is not None}
    name, transformer = (transformers[0][0].name, transformers[0][1]) if transformers else (IDENTITY, None)
    try:
        ensemble = Ensemble(
            members=tuple(members),
            combiner=_combiner(combiner),
            output=output or _output(members),
            transformer=name,
            quorum=len(members) if quorum is None else quorum,
        )
        return ImportedEnsemble(name=graph.name, ensemble=ensemble, members=members, transformer=transformer)
    except ValidationError as error:
        raise UsageError(_mistakes(error)) from None


def tree_lines(graph: Graph, imported: ImportedEnsemble) -> list[str]:
    """Return the graph as a tree, one line per node: its name, its kind, and its binding or combiner."""
    lines = [graph.name]
    depth = 0
    by_node: dict[str, Any] = {**imported.members, imported.ensemble.transformer: imported.transformer}
    chain: list[tuple[GraphNode, Any]] = [(node, by_node.get(node.name) or IDENTITY) for node in graph.before]
    if graph.combiner is not None:
        chain.append((graph.combiner, imported.ensemble.combiner.kind))
    for node, implementation in chain:
        lines.append(f"{'   ' * depth}└─ {node.name}  {node.kind}  {implementation}")
        depth += 1
    for node in graph.models:
        branch = "└─" if node is graph.models[-1] else "├─"
        lines.append(f"{'   ' * depth}{branch} {node.name}  {node.kind}  {by_node[node.name]}")
    return lines


def unused_parts(graph: Graph) -> list[str]:
    """Return one line per part of the graph that the ensemble does not use."""
    lines = [f"container {name}: no node has this name, so it is not used" for name in graph.unused]
    if graph.combiner is not None and graph.combiner.image:
        lines.append(f"{graph.combiner.name}: the code in {graph.combiner.image} does not run; --combiner replaces it")
    return lines


def _combiner(text: str) -> Any:
    is_json = text.lstrip().startswith("{")
    if not is_json and ":" in text:
        return read_custom(text, "--combiner")
    try:
        combiner = _COMBINER.validate_python(json.loads(text) if is_json else {"kind": text})
    except ValidationError as error:
        raise UsageError(f"--combiner {text}: {_mistakes(error)}") from None
    except ValueError as error:
        raise UsageError(f"--combiner {text}: not JSON: {error}") from None
    if isinstance(combiner, Custom):
        raise UsageError("--combiner: code is read from a file and not from JSON; expected FILE.py:FUNCTION")
    return combiner


def _output(members: Mapping[str, SavedModel | Server]) -> Output:
    """Return the output of the members that are SavedModels, after checking that they take the same inputs."""
    saved = {name: binding for name, binding in members.items() if isinstance(binding, SavedModel)}
    interfaces = {name: interface.read_interface(model.path, model.signature) for name, model in saved.items()}
    if not interfaces:
        return "prediction"
    interface.common_inputs(interfaces)
    outputs = {member.answer(name, saved[name].output) for name, member in interfaces.items()}
    return "probabilities" if outputs == {"probabilities"} else "prediction"


def _mistakes(error: ValidationError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return str(error)
    return "; ".join(
        f"{location}: {mistake['msg']}" if (location := ".".join(map(str, mistake["loc"]))) else mistake["msg"]
        for mistake in error.errors()
    )
