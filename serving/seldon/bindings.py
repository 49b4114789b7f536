"""Where the model of a node is: the folder of a SavedModel, or a server that has it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from benison.serving.ensemble import IDENTITY
from benison.serving.errors import UsageError
from benison.serving.seldon.form import close_to
from benison.serving.seldon.graph import MODEL, OUTPUT_TRANSFORMER, Graph, GraphNode

SCHEME = "grpc"
_EXPECTED = f"a SavedModel's folder or {SCHEME}://HOST:PORT/MODEL[/VERSION]"


class _Place(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    signature: str = Field(default="", description="which one is asked; empty: see benison.serving.seldon.interface")
    output: str = Field(default="", description="which of its outputs is the answer; empty: likewise")


class SavedModel(_Place):
    """A SavedModel on this machine.

    Attributes:
        path: absolute; the folder that holds `saved_model.pb`.
    """

    kind: Literal["saved_model"] = "saved_model"
    path: Path

    def __str__(self) -> str:
        return str(self.path)


class Server(_Place):
    """A model on a server that speaks TensorFlow Serving's gRPC.

    Attributes:
        target: `host:port`.
        model: its name there.
        version: its number; None for the highest that is loaded.
    """

    kind: Literal["server"] = "server"
    target: str
    model: str
    version: int | None = None

    def __str__(self) -> str:
        return f"{SCHEME}://{self.target}/{self.model}" + ("" if self.version is None else f"/{self.version}")


Binding = Annotated[SavedModel | Server, Field(discriminator="kind")]


def by_node(graph: Graph, given: Iterable[str]) -> dict[str, SavedModel | Server | None]:
    """What each node of a graph but the combiner is bound to.

    Args:
        graph: an inference graph.
        given: `NODE=PATH`, `NODE=grpc://…` or, for a transformer, `NODE=identity` each.

    Returns:
        Binding by node; None for `identity`.

    Raises:
        UsageError: a line for each node that is bound to nothing, twice, or to what it cannot be.
    """
    places: dict[str, str] = {}
    problems: list[str] = []
    nodes = {node.name: node for node in (*graph.before, *graph.models)}
    for text in given:
        name, equals, place = text.partition("=")
        if not equals or not name or not place:
            problems.append(f"--bind {text}: expected NODE={_EXPECTED}")
        elif name in places:
            problems.append(f"--bind {text}: {name} is bound to {places[name]} already")
        elif graph.combiner and name == graph.combiner.name:
            problems.append(f"--bind {text}: {name} is the combiner, whose code is not run; see --combiner")
        elif name not in nodes:
            problems.append(f"--bind {text}: no node {name!r}; there are {', '.join(nodes)}{close_to(name, nodes)}")
        else:
            places[name] = place
    found: dict[str, SavedModel | Server | None] = {}
    for node in nodes.values():
        try:
            found[node.name] = _bound(node, places)
        except UsageError as error:
            problems.append(str(error))
    if problems:
        raise UsageError("\n".join(problems))
    return found


def _bound(node: GraphNode, places: Mapping[str, str]) -> SavedModel | Server | None:
    place = places.get(node.name) or _local(node.model_uri)
    if not place:
        uri = f"; {node.model_uri} is not on this machine" if node.model_uri else ""
        model = [f"--bind {node.name}=PLACE with {_EXPECTED}"] if node.kind != OUTPUT_TRANSFORMER else []
        identity = [f"--bind {node.name}={IDENTITY}"] if node.kind != MODEL else []
        expected = ", or ".join([*model, *identity])
        raise UsageError(f"node {node.name} ({node.kind}) is bound to nothing{uri}; give {expected}")
    if place == IDENTITY:
        if node.kind == MODEL:
            raise UsageError(f"node {node.name}: a model cannot be {IDENTITY}; expected {_EXPECTED}")
        return None
    if node.kind == OUTPUT_TRANSFORMER:
        raise UsageError(
            f"node {node.name}: got {place!r}; of an OUTPUT_TRANSFORMER only {IDENTITY} is served yet: "
            f"--bind {node.name}={IDENTITY}"
        )
    if "://" in place:
        return _server(node, place)
    return SavedModel(path=_folder(node, Path(place)), signature=node.signature, output=node.output)


def _local(uri: str) -> str:
    """A modelUri on this machine as a path; empty where it is elsewhere."""
    if uri.startswith("file://"):
        return uri.removeprefix("file://")
    return "" if "://" in uri else uri


def _server(node: GraphNode, url: str) -> Server:
    wrong = f"node {node.name}: got {url!r}, expected {SCHEME}://HOST:PORT/MODEL[/VERSION]"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{wrong}: {error}") from None
    path = re.fullmatch("/(?P<model>[^/]+)(/(?P<version>[0-9]+))?/?", parts.path)
    if parts.scheme != SCHEME or not parts.hostname or not port or not path or parts.query or parts.fragment:
        raise UsageError(wrong)
    version = int(path["version"]) if path["version"] else None
    return Server(
        target=parts.netloc, model=path["model"], version=version, signature=node.signature, output=node.output
    )


def _folder(node: GraphNode, given: Path) -> Path:
    """The SavedModel at a path, or the highest version of a model in TF Serving's layout."""
    versions = sorted((int(path.name), path) for path in given.glob("[0-9]*") if path.name.isdigit())
    for folder in (given, *(path for _, path in reversed(versions))):
        if (folder / "saved_model.pb").is_file():
            return folder.resolve()
    raise UsageError(
        f"node {node.name}: {given}: no SavedModel; expected a folder that holds saved_model.pb, "
        "or folders of versions that do"
    )
