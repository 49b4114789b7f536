"""An ensemble that was imported: its spec, and where its members are, as one JSON file in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

from benison.serving.ensemble import IDENTITY, Combiner, Ensemble
from benison.serving.ensemble.combiners import Output
from benison.serving.errors import EnsembleError, UsageError
from benison.serving.files import atomic_file
from benison.serving.seldon import bindings, interface
from benison.serving.seldon.bindings import Binding, SavedModel, Server
from benison.serving.seldon.graph import Graph, GraphNode

FILE = "imported.json"
_COMBINER: TypeAdapter[Any] = TypeAdapter(Combiner)


class Imported(BaseModel):
    """An ensemble with bindings.

    Attributes:
        name: of the predictor that it was read from.
        ensemble: the spec; its transformer is a node's name, or `identity`.
        members: where each member is.
        transformer: where the transformer is; None where it is `identity`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    ensemble: Ensemble
    members: Mapping[str, Binding]
    transformer: Binding | None = None

    @model_validator(mode="after")
    def _all_bound(self) -> Imported:
        if set(self.members) != set(self.ensemble.members):
            raise ValueError(f"the members are {', '.join(self.ensemble.members)}; bound: {', '.join(self.members)}")
        if (self.ensemble.transformer == IDENTITY) != (self.transformer is None):
            raise ValueError(f"the transformer is {self.ensemble.transformer}, bound to {self.transformer}")
        return self

    def save(self, folder: Path) -> Path:
        """Writes `imported.json` into a folder, which is made if missing; whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / FILE
        atomic_file.write(target, self.model_dump_json(indent=2) + "\n")
        return target

    @classmethod
    def load(cls, folder: Path) -> Imported:
        """Reads `imported.json` from a folder.

        Raises:
            EnsembleError: no such file, or it is not what `save` writes.
        """
        path = folder / FILE
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise EnsembleError(f"{path}: no such file; `benison ensemble import` writes it") from None
        except (ValidationError, UnicodeError) as error:
            raise EnsembleError(f"{path}: not an imported ensemble: {_mistakes(error)}") from None


def of_graph(
    graph: Graph,
    bound: Sequence[str],
    *,
    combiner: str = "mean",
    output: Output | None = None,
    quorum: int | None = None,
) -> Imported:
    """An inference graph as an ensemble.

    Args:
        graph: what a SeldonDeployment says.
        bound: see `bindings.by_node`.
        combiner: a kind of combiner that needs no parameters, or the combiner as JSON, as in `ensemble.json`.
        output: what the members answer; None: what the SavedModels among them do, else `prediction`.
        quorum: how many members must answer; None: all, as in Seldon.

    Raises:
        UsageError: a node is bound wrongly or not at all, or the combiner is none, or does not fit.
        EnsembleError: the SavedModels lack a signature or an output that can be asked, or take different inputs.
    """
    found = bindings.by_node(graph, bound)
    transformers = [(node, place) for node in graph.before if (place := found[node.name]) is not None]
    if len(transformers) > 1:
        names = ", ".join(node.name for node, _ in transformers)
        raise UsageError(f"{names}: one transformer can be bound to a model, the others to {IDENTITY}")
    members = {node.name: place for node in graph.models if (place := found[node.name]) is not None}
    name, transformer = (transformers[0][0].name, transformers[0][1]) if transformers else (IDENTITY, None)
    try:
        ensemble = Ensemble(
            members=tuple(members),
            combiner=_combiner(combiner),
            output=output or _output(members),
            transformer=name,
            quorum=len(members) if quorum is None else quorum,
        )
        return Imported(name=graph.name, ensemble=ensemble, members=members, transformer=transformer)
    except ValidationError as error:
        raise UsageError(_mistakes(error)) from None


def tree(graph: Graph, imported: Imported) -> list[str]:
    """The graph as lines: each node with its kind and what it is here."""
    lines = [graph.name]
    depth = 0
    places: dict[str, Any] = {**imported.members, imported.ensemble.transformer: imported.transformer}
    chain: list[tuple[GraphNode, Any]] = [(node, places.get(node.name) or IDENTITY) for node in graph.before]
    if graph.combiner is not None:
        chain.append((graph.combiner, imported.ensemble.combiner.kind))
    for node, what in chain:
        lines.append(f"{'   ' * depth}└─ {node.name}  {node.kind}  {what}")
        depth += 1
    for node in graph.models:
        branch = "└─" if node is graph.models[-1] else "├─"
        lines.append(f"{'   ' * depth}{branch} {node.name}  {node.kind}  {places[node.name]}")
    return lines


def remarks(graph: Graph) -> list[str]:
    """What the graph holds and the ensemble does not use."""
    said = [f"container {name}: no node has that name, so it is not used" for name in graph.unused]
    if graph.combiner is not None and graph.combiner.image:
        said.append(f"{graph.combiner.name}: the code in {graph.combiner.image} is not run; --combiner says what is")
    return said


def _combiner(text: str) -> Any:
    try:
        return _COMBINER.validate_python(json.loads(text) if text.lstrip().startswith("{") else {"kind": text})
    except ValidationError as error:
        raise UsageError(f"--combiner {text}: {_mistakes(error)}") from None
    except ValueError as error:
        raise UsageError(f"--combiner {text}: not JSON: {error}") from None


def _output(members: Mapping[str, SavedModel | Server]) -> Output:
    """What the members answer, as far as it can be seen without asking a server; and whether they fit together."""
    here = {name: place for name, place in members.items() if isinstance(place, SavedModel)}
    faces = {name: interface.of_folder(place.path, place.signature) for name, place in here.items()}
    if not faces:
        return "prediction"
    interface.common_inputs(faces)
    answers = {face.answer(name, here[name].output) for name, face in faces.items()}
    return "probabilities" if answers == {"probabilities"} else "prediction"


def _mistakes(error: ValidationError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return str(error)
    return "; ".join(
        f"{place}: {mistake['msg']}" if (place := ".".join(map(str, mistake["loc"]))) else mistake["msg"]
        for mistake in error.errors()
    )
