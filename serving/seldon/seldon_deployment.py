"""The parts of a SeldonDeployment that an ensemble needs, as pydantic models, and the reader of its YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError

KIND = "SeldonDeployment"
GROUP = "machinelearning.seldon.io"
VERSIONS = ("v1", "v1alpha2", "v1alpha3")


class _Lenient(BaseModel):
    """Base of everything around the graph; keys that are not needed here are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Strict(BaseModel):
    """Base of the graph itself; an unknown key is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Parameter(_Strict):
    """A parameter of a node; the value is always text."""

    name: str
    value: str
    type: str = "STRING"


class Unit(_Strict):
    """A node of the inference graph, with every key that Seldon's type has.

    Attributes:
        name: Name of the node and of its container.
        type: Type such as MODEL; if empty, `implementation` or `methods` decides.
        implementation: Built-in implementation such as AVERAGE_COMBINER; empty for the node's container.
        methods: Methods such as AGGREGATE, in place of a type.
        parameters: Parameters of the container.
        model_uri: Where a prepackaged server finds its model.
        children: The nodes below this one.
    """

    name: str = Field(min_length=1)
    type: str = ""
    implementation: str = ""
    methods: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    model_uri: str = Field(default="", alias="modelUri")
    children: tuple[Unit, ...] = ()

    # Used by the cluster only.
    endpoint: Mapping[str, Any] | None = None
    logger: Mapping[str, Any] | None = None
    service_account: str = Field(default="", alias="serviceAccountName")
    secret: str = Field(default="", alias="envSecretRefName")
    initializer: str = Field(default="", alias="storageInitializerImage")

    def parameter(self, name: str) -> str:
        """Return a parameter's value; empty if there is no such parameter."""
        return next((parameter.value for parameter in self.parameters if parameter.name == name), "")


class _Container(_Lenient):
    name: str
    image: str = ""


class _PodSpec(_Lenient):
    containers: tuple[_Container, ...] = ()


class _Pod(_Lenient):
    spec: _PodSpec = _PodSpec()


class Predictor(_Lenient):
    """A graph, and the pods in which its nodes run."""

    name: str
    graph: Unit
    pods: tuple[_Pod, ...] = Field(default=(), alias="componentSpecs")

    @property
    def containers(self) -> dict[str, str]:
        """Images of all pods, by container name."""
        return {container.name: container.image for pod in self.pods for container in pod.spec.containers}


class _Spec(_Lenient):
    predictors: tuple[Predictor, ...] = Field(min_length=1)


class _Document(_Lenient):
    spec: _Spec


def read(path: Path, predictor: str | None = None) -> Predictor:
    """Read one predictor of the SeldonDeployment in a file, which may contain other documents too.

    Args:
        path: A YAML file.
        predictor: Name of the predictor, if there are several.

    Raises:
        UsageError: The file is not YAML or does not contain exactly one SeldonDeployment, a value is wrong, or there
            is no such predictor.
    """
    document = _deployment(path)
    try:
        predictors = _Document.model_validate(_without_nulls(document)).spec.predictors
    except ValidationError as error:
        raise UsageError("\n".join(f"{path}: {_mistake(mistake)}" for mistake in error.errors())) from None
    return _chosen(path, predictors, predictor)


def _without_nulls(value: Any) -> Any:
    """Remove keys without a value, as Kubernetes does."""
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
    deployments = [document for document, kind in zip(documents, kinds, strict=True) if kind == KIND]
    if len(deployments) != 1:
        kind_names = ", ".join(str(kind) if kind else "a document without a kind" for kind in kinds) or "nothing"
        raise UsageError(f"{path}: expected one document of kind {KIND}, got {kind_names}")
    api = str(deployments[0].get("apiVersion", ""))
    if api not in {f"{GROUP}/{version}" for version in VERSIONS}:
        raise UsageError(
            f"{path}: apiVersion: got {api!r}, expected one of {', '.join(f'{GROUP}/{v}' for v in VERSIONS)}"
        )
    return dict(deployments[0])


def _chosen(path: Path, predictors: Sequence[Predictor], name: str | None) -> Predictor:
    names = [predictor.name for predictor in predictors]
    if name is None and len(predictors) == 1:
        return predictors[0]
    candidates = [predictor for predictor in predictors if predictor.name == name]
    if len(candidates) == 1:
        return candidates[0]
    if name is None:
        raise UsageError(f"{path}: has {len(names)} predictors ({', '.join(names)}); choose one with --predictor")
    raise UsageError(f"{path}: no predictor {name!r}; it has {', '.join(names)}")


def _mistake(mistake: ErrorDetails) -> str:
    location = ".".join(map(str, mistake["loc"]))
    if mistake["type"] == "extra_forbidden":
        known = [field.alias or name for name, field in Unit.model_fields.items()]
        return f"{location}: unknown key{did_you_mean(str(mistake['loc'][-1]), known)}"
    return f"{location}: {mistake['msg']}"
