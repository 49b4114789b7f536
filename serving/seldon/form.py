"""A SeldonDeployment as it is written: the YAML, checked as far as an ensemble needs it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from benison.serving.errors import UsageError

KIND = "SeldonDeployment"
GROUP = "machinelearning.seldon.io"
VERSIONS = ("v1", "v1alpha2", "v1alpha3")


class _Read(BaseModel):
    """What surrounds the graph: Kubernetes takes more keys than are of use here."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Whole(BaseModel):
    """The graph itself, where a key that nobody reads is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Parameter(_Whole):
    """A parameter of a node; its value is always text."""

    name: str
    value: str
    type: str = "STRING"


class Unit(_Whole):
    """A node of the inference graph, with every key that Seldon's type has.

    Attributes:
        name: of the node, and of its container.
        type: such as MODEL; empty: it follows from `implementation` or `methods`.
        implementation: such as AVERAGE_COMBINER; empty: the node's container.
        methods: such as AGGREGATE, in place of a type.
        parameters: handed to the container.
        model_uri: where a prepackaged server finds its model.
        children: the nodes that follow.
    """

    name: str = Field(min_length=1)
    type: str = ""
    implementation: str = ""
    methods: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    model_uri: str = Field(default="", alias="modelUri")
    children: tuple[Unit, ...] = ()

    # Read by the cluster only.
    endpoint: Mapping[str, Any] | None = None
    logger: Mapping[str, Any] | None = None
    service_account: str = Field(default="", alias="serviceAccountName")
    secret: str = Field(default="", alias="envSecretRefName")
    initializer: str = Field(default="", alias="storageInitializerImage")

    def parameter(self, name: str) -> str:
        """A parameter's value; empty where there is none."""
        return next((parameter.value for parameter in self.parameters if parameter.name == name), "")


class _Container(_Read):
    name: str
    image: str = ""


class _PodSpec(_Read):
    containers: tuple[_Container, ...] = ()


class _Pod(_Read):
    spec: _PodSpec = _PodSpec()


class Predictor(_Read):
    """A graph and the pods that its nodes run in."""

    name: str
    graph: Unit
    pods: tuple[_Pod, ...] = Field(default=(), alias="componentSpecs")

    @property
    def containers(self) -> dict[str, str]:
        """Image by container, of all pods."""
        return {container.name: container.image for pod in self.pods for container in pod.spec.containers}


class _Spec(_Read):
    predictors: tuple[Predictor, ...] = Field(min_length=1)


class _Document(_Read):
    spec: _Spec


def read(path: Path, predictor: str | None = None) -> Predictor:
    """One predictor of the SeldonDeployment in a file, which may hold other documents too.

    Args:
        path: YAML.
        predictor: which one, where there are several.

    Raises:
        UsageError: not YAML, no SeldonDeployment or more than one, a wrong value, or no such predictor.
    """
    document = _deployment(path)
    try:
        predictors = _Document.model_validate(_without_nulls(document)).spec.predictors
    except ValidationError as error:
        raise UsageError("\n".join(f"{path}: {_mistake(mistake)}" for mistake in error.errors())) from None
    return _chosen(path, predictors, predictor)


def close_to(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'COMBINER'?` where a known name is close to `name`, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _without_nulls(value: Any) -> Any:
    """To Kubernetes a key without a value is one that is not there."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _deployment(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (UnicodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    kinds = [document.get("kind") if isinstance(document, dict) else None for document in documents]
    found = [document for document, kind in zip(documents, kinds, strict=True) if kind == KIND]
    if len(found) != 1:
        seen = ", ".join(str(kind) if kind else "something without a kind" for kind in kinds) or "nothing"
        raise UsageError(f"{path}: expected one document of the kind {KIND}, got {seen}")
    api = str(found[0].get("apiVersion", ""))
    if api not in {f"{GROUP}/{version}" for version in VERSIONS}:
        raise UsageError(
            f"{path}: apiVersion: got {api!r}, expected one of {', '.join(f'{GROUP}/{v}' for v in VERSIONS)}"
        )
    return dict(found[0])


def _chosen(path: Path, predictors: Sequence[Predictor], name: str | None) -> Predictor:
    names = [predictor.name for predictor in predictors]
    if name is None and len(predictors) == 1:
        return predictors[0]
    found = [predictor for predictor in predictors if predictor.name == name]
    if len(found) == 1:
        return found[0]
    if name is None:
        raise UsageError(f"{path}: has {len(names)} predictors ({', '.join(names)}); choose one with --predictor")
    raise UsageError(f"{path}: no predictor {name!r}; it has {', '.join(names)}")


def _mistake(mistake: ErrorDetails) -> str:
    place = ".".join(map(str, mistake["loc"]))
    if mistake["type"] == "extra_forbidden":
        known = [field.alias or name for name, field in Unit.model_fields.items()]
        return f"{place}: no such key{close_to(str(mistake['loc'][-1]), known)}"
    return f"{place}: {mistake['msg']}"
