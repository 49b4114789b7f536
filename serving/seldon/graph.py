"""Inference graphs, and the check that a graph is an ensemble: transformers, then a combiner, then models.

| kind               | what Seldon does with a request                | in Benison                               |
|--------------------|------------------------------------------------|------------------------------------------|
| TRANSFORMER        | changes the inputs, then calls its child       | `identity`, or a bound model             |
| OUTPUT_TRANSFORMER | calls its child, then changes the answer       | `identity`                               |
| COMBINER           | calls its children and combines their answers  | one of Benison's combiners               |
| MODEL              | answers                                        | bound to a SavedModel or a server        |
| ROUTER             | chooses one of its children                    | refused: not supported yet               |
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError
from benison.serving.seldon.seldon_deployment import Predictor, Unit

MODEL, COMBINER, ROUTER = "MODEL", "COMBINER", "ROUTER"
TRANSFORMER, OUTPUT_TRANSFORMER = "TRANSFORMER", "OUTPUT_TRANSFORMER"
TYPES = (MODEL, COMBINER, TRANSFORMER, OUTPUT_TRANSFORMER, ROUTER)
UNKNOWN_TYPE, UNKNOWN_IMPLEMENTATION = (
    "UNKNOWN_TYPE",
    "UNKNOWN_IMPLEMENTATION",
)  # Seldon's placeholders for a missing value

BUILT_IN = {
    "SIMPLE_MODEL": MODEL,
    "AVERAGE_COMBINER": COMBINER,
    "SIMPLE_ROUTER": ROUTER,
    "RANDOM_ABTEST": ROUTER,
}
PREPACKAGED = (
    "HUGGINGFACE_SERVER",
    "MLFLOW_SERVER",
    "SKLEARN_SERVER",
    "TEMPO_SERVER",
    "TENSORFLOW_SERVER",
    "TRITON_SERVER",
    "XGBOOST_SERVER",
)
METHODS = {
    "TRANSFORM_INPUT": TRANSFORMER,
    "TRANSFORM_OUTPUT": OUTPUT_TRANSFORMER,
    "ROUTE": ROUTER,
    "AGGREGATE": COMBINER,
}
_NAME = re.compile("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class GraphNode:
    """A node that is part of the ensemble.

    Attributes:
        name: Name of the node.
        kind: One of TYPES.
        image: Image of its container; empty if it has none.
        model_uri: Where a prepackaged server would find its model.
        signature: The model's signature, from the parameter `signature_name`; empty if not given.
        output: The model's output, from the parameter `model_output`; empty if not given.
    """

    name: str
    kind: str
    image: str = ""
    model_uri: str = ""
    signature: str = ""
    output: str = ""


@dataclass(frozen=True)
class Graph:
    """An inference graph that is an ensemble.

    Attributes:
        name: Name of the predictor.
        before: Transformers of inputs and outputs, from the root downwards.
        combiner: The combiner; None if the graph ends in one model.
        models: The members, in order.
        unused: Containers that belong to no node.
    """

    name: str
    before: tuple[GraphNode, ...]
    combiner: GraphNode | None
    models: tuple[GraphNode, ...]
    unused: tuple[str, ...] = ()


def from_predictor(predictor: Predictor) -> Graph:
    """Return the graph of a predictor.

    Raises:
        UsageError: One line per mistake: an unknown type or implementation, a node without a container, a wrong or
            repeated name, a router, or nodes that do not form an ensemble.
    """
    units = list(_all(predictor.graph))
    containers = predictor.containers
    problems = [problem for unit in units for problem in _problems(unit, containers)]
    problems += _repeated([unit.name for unit in units])
    if problems:
        raise UsageError("\n".join(problems))
    before, end = _split_chain(predictor.graph)
    kind = node_kind(end)
    if kind == COMBINER:
        _check_members(end)
    members = end.children if kind == COMBINER else (end,)
    named = {unit.name for unit in units}
    return Graph(
        name=predictor.name,
        before=tuple(_node(unit, containers) for unit in before),
        combiner=_node(end, containers) if kind == COMBINER else None,
        models=tuple(_node(unit, containers) for unit in members),
        unused=tuple(name for name in containers if name not in named),
    )


def node_kind(unit: Unit) -> str:
    """Return a node's kind from its type, its implementation or its methods, in this order; MODEL without all three."""
    implementation = _given(unit.implementation)
    if implementation in PREPACKAGED:
        return MODEL  # in Seldon the type is ignored here
    if _given(unit.type):
        return unit.type
    if implementation:
        return BUILT_IN.get(implementation, MODEL)
    return next((METHODS[method] for method in unit.methods if method in METHODS), MODEL)


def _given(word: str) -> str:
    return "" if word in (UNKNOWN_TYPE, UNKNOWN_IMPLEMENTATION) else word


def _all(unit: Unit) -> Iterator[Unit]:
    yield unit
    for child in unit.children:
        yield from _all(child)


def _problems(unit: Unit, containers: Mapping[str, str]) -> Iterator[str]:
    if not _NAME.fullmatch(unit.name):
        yield f"node {unit.name!r}: expected a name of a-z, 0-9 and '-', like a container's"
    kind, implementation = _given(unit.type), _given(unit.implementation)
    if kind and kind not in TYPES:
        yield f"node {unit.name}: unknown type {kind!r}; expected one of {', '.join(TYPES)}{did_you_mean(kind, TYPES)}"
        return
    known = (*BUILT_IN, *PREPACKAGED)
    if implementation and implementation not in known:
        yield (
            f"node {unit.name}: unknown implementation {implementation!r}{did_you_mean(implementation, known)}; "
            "for your own server remove it, and give the node a type and a container"
        )
        return
    if node_kind(unit) == ROUTER:
        yield f"node {unit.name}: routers are not supported yet; remove it, or import each of its children separately"
    if not implementation and unit.name not in containers:
        yield (
            f"node {unit.name}: no container has this name in componentSpecs"
            f"{did_you_mean(unit.name, containers)}; expected one, or an implementation such as TENSORFLOW_SERVER"
        )


def _repeated(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    repeated = []
    for name in names:
        if name in seen:
            repeated.append(f"node {name}: two nodes have this name")
        seen.add(name)
    return repeated


def _split_chain(unit: Unit) -> tuple[list[Unit], Unit]:
    """Return the transformers from the root downwards, and the combiner or model below them."""
    before: list[Unit] = []
    while node_kind(unit) in (TRANSFORMER, OUTPUT_TRANSFORMER):
        if len(unit.children) != 1:
            raise UsageError(
                f"node {unit.name}: a {node_kind(unit)} with {len(unit.children)} children; "
                "expected one, a combiner or a model"
            )
        before.append(unit)
        unit = unit.children[0]
    if node_kind(unit) == MODEL and unit.children:
        names = ", ".join(child.name for child in unit.children)
        raise UsageError(f"node {unit.name}: a model with children ({names}); chains of models are not supported")
    return before, unit


def _check_members(combiner: Unit) -> None:
    if not combiner.children:
        raise UsageError(f"node {combiner.name}: a combiner without children; expected the models that it combines")
    for child in combiner.children:
        kind = node_kind(child)
        if kind == COMBINER:
            raise UsageError(
                f"node {child.name}: a combiner under the combiner {combiner.name}; "
                "an ensemble has one combiner, so move the children there"
            )
        if kind != MODEL:
            raise UsageError(
                f"node {child.name}: a {kind} under the combiner {combiner.name}; "
                "expected it above the combiner, for all models"
            )
        if child.children:
            names = ", ".join(grandchild.name for grandchild in child.children)
            raise UsageError(f"node {child.name}: a model with children ({names}); chains of models are not supported")


def _node(unit: Unit, containers: Mapping[str, str]) -> GraphNode:
    return GraphNode(
        unit.name,
        node_kind(unit),
        containers.get(unit.name, ""),
        unit.model_uri,
        unit.parameter("signature_name"),
        unit.parameter("model_output"),
    )
