"""Bindings of a graph's nodes: each model is the folder of a SavedModel, or a model on a server."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from benison.serving.close_names import did_you_mean
from benison.serving.ensemble import IDENTITY
from benison.serving.errors import UsageError, VersionError
from benison.serving.seldon.graph import MODEL, OUTPUT_TRANSFORMER, Graph, GraphNode
from benison.serving.versions import condition

SCHEME = "grpc"
_EXPECTED = f"a SavedModel's folder or {SCHEME}://HOST:PORT/MODEL[/VERSION]"


class _Binding(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    signature: str = Field(default="", description="signature to call; empty: see benison.serving.seldon.interface")
    output: str = Field(
        default="", description="output that is the answer; empty: see benison.serving.seldon.interface"
    )


class SavedModel(_Binding):
    """A SavedModel on this machine.

    Attributes:
        path: Absolute path of the folder that contains `saved_model.pb`.
    """

    kind: Literal["saved_model"] = "saved_model"
    path: Path

    def __str__(self) -> str:
        return str(self.path)


class Server(_Binding):
    """A model on a server that speaks TensorFlow Serving's gRPC.

    Attributes:
        target: `host:port`.
        model: Name of the model on the server.
        version: Version number; None for the highest loaded version.
    """

    kind: Literal["server"] = "server"
    target: str
    model: str
    version: int | None = None

    def __str__(self) -> str:
        return f"{SCHEME}://{self.target}/{self.model}" + ("" if self.version is None else f"/{self.version}")


Binding = Annotated[SavedModel | Server, Field(discriminator="kind")]


def bind_nodes(graph: Graph, options: Iterable[str]) -> dict[str, SavedModel | Server | None]:
    """Bind every node of a graph except the combiner.

    Args:
        graph: An inference graph.
        options: Texts of the form `NODE=PATH`, `NODE=grpc://…` or, for a transformer, `NODE=identity`.

    Returns:
        The bindings by node; None for `identity`.

    Raises:
        UsageError: One line per node that is not bound, is bound twice or cannot be bound that way.
        VersionError: A model is a version that Benison pushed, and it is damaged.
    """
    locations: dict[str, str] = {}
    problems: list[str] = []
    nodes = {node.name: node for node in (*graph.before, *graph.models)}
    for text in options:
        name, equals, location = text.partition("=")
        if not equals or not name or not location:
            problems.append(f"--bind {text}: expected NODE={_EXPECTED}")
        elif name in locations:
            problems.append(f"--bind {text}: {name} is already bound to {locations[name]}")
        elif graph.combiner and name == graph.combiner.name:
            problems.append(f"--bind {text}: {name} is the combiner, and its code does not run; use --combiner")
        elif name not in nodes:
            problems.append(
                f"--bind {text}: no node {name!r}; the nodes are {', '.join(nodes)}{did_you_mean(name, nodes)}"
            )
        else:
            locations[name] = location
    bindings: dict[str, SavedModel | Server | None] = {}
    for node in nodes.values():
        try:
            bindings[node.name] = _bind(node, locations)
        except UsageError as error:
            problems.append(str(error))
    if problems:
        raise UsageError("\n".join(problems))
    return bindings


def check_whole(binding: Binding) -> None:
    """Check that a SavedModel is as it was pushed, if Benison pushed it.

    Raises:
        VersionError: It is damaged.
    """
    if isinstance(binding, SavedModel) and (problems := condition.check(binding.path).problems):
        raise VersionError("\n".join([f"{binding.path}: it is not as it was pushed, so it is not used:", *problems]))


def _bind(node: GraphNode, locations: Mapping[str, str]) -> SavedModel | Server | None:
    location = locations.get(node.name) or _local_path(node.model_uri)
    if not location:
        uri = f"; its modelUri {node.model_uri} is not on this machine" if node.model_uri else ""
        model = [f"--bind {node.name}=PLACE with {_EXPECTED}"] if node.kind != OUTPUT_TRANSFORMER else []
        identity = [f"--bind {node.name}={IDENTITY}"] if node.kind != MODEL else []
        expected = ", or ".join([*model, *identity])
        raise UsageError(f"node {node.name} ({node.kind}) is not bound{uri}; give {expected}")
    if location == IDENTITY:
        if node.kind == MODEL:
            raise UsageError(f"node {node.name}: a model cannot be {IDENTITY}; expected {_EXPECTED}")
        return None
    if node.kind == OUTPUT_TRANSFORMER:
        raise UsageError(
            f"node {node.name}: got {location!r}; an OUTPUT_TRANSFORMER can only be {IDENTITY} yet: "
            f"--bind {node.name}={IDENTITY}"
        )
    if "://" in location:
        return _server(node, location)
    binding = SavedModel(path=_folder(node, Path(location)), signature=node.signature, output=node.output)
    check_whole(binding)
    return binding


def _local_path(uri: str) -> str:
    """Return the path of a modelUri on this machine; empty if it is elsewhere."""
    if uri.startswith("file://"):
        return uri.removeprefix("file://")
    return "" if "://" in uri else uri


def _server(node: GraphNode, url: str) -> Server:
    message = f"node {node.name}: got {url!r}, expected {SCHEME}://HOST:PORT/MODEL[/VERSION]"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{message}: {error}") from None
    path = re.fullmatch("/(?P<model>[^/]+)(/(?P<version>[0-9]+))?/?", parts.path)
    if parts.scheme != SCHEME or not parts.hostname or not port or not path or parts.query or parts.fragment:
        raise UsageError(message)
    version = int(path["version"]) if path["version"] else None
    return Server(
        target=parts.netloc, model=path["model"], version=version, signature=node.signature, output=node.output
    )


def _folder(node: GraphNode, path: Path) -> Path:
    """Return the SavedModel at a path, or the highest version below it in TF Serving's layout."""
    versions = sorted((int(child.name), child) for child in path.glob("[0-9]*") if child.name.isdigit())
    for folder in (path, *(child for _, child in reversed(versions))):
        if (folder / "saved_model.pb").is_file():
            return folder.resolve()
    raise UsageError(
        f"node {node.name}: {path}: no SavedModel; expected a folder that contains saved_model.pb, "
        "or version folders that do"
    )
