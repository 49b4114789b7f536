"""What an inference graph says, and which graphs are an ensemble: transformers, then a combiner, then models.

| kind               | what it does to a request                            | here                                     |
|--------------------|------------------------------------------------------|------------------------------------------|
| TRANSFORMER        | changes the inputs, then asks its child              | `identity`, or a model that is bound     |
| OUTPUT_TRANSFORMER | asks its child, then changes the answer              | `identity`                               |
| COMBINER           | asks its children, and makes one answer of theirs    | one of Benison's combiners               |
| MODEL              | answers                                              | bound to a SavedModel or a server        |
| ROUTER             | chooses one of its children                          | refused: not served yet                  |
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from benison.serving.errors import UsageError
from benison.serving.seldon.form import Predictor, Unit, close_to

MODEL, COMBINER, ROUTER = "MODEL", "COMBINER", "ROUTER"
TRANSFORMER, OUTPUT_TRANSFORMER = "TRANSFORMER", "OUTPUT_TRANSFORMER"
TYPES = (MODEL, COMBINER, TRANSFORMER, OUTPUT_TRANSFORMER, ROUTER)
UNKNOWN_TYPE, UNKNOWN_IMPLEMENTATION = "UNKNOWN_TYPE", "UNKNOWN_IMPLEMENTATION"  # Seldon's words for: not given

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
        name: its own.
        kind: one of TYPES.
        image: of its container; empty where it has none.
        model_uri: where a prepackaged server would find its model.
        signature: which one it asks, by its parameter `signature_name`; empty: not said.
        output: which output is its answer, by its parameter `model_output`; empty: not said.
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
        name: of the predictor.
        before: transformers of inputs and outputs, from the root on.
        combiner: None where the graph ends in one model.
        models: the members, in their order.
        unused: containers that no node is named after.
    """

    name: str
    before: tuple[GraphNode, ...]
    combiner: GraphNode | None
    models: tuple[GraphNode, ...]
    unused: tuple[str, ...] = ()


def of_predictor(predictor: Predictor) -> Graph:
    """The graph of a predictor.

    Raises:
        UsageError: a line for each mistake: an unknown type or implementation, a node without a container, a name that
            is wrong or there twice, a router, or an arrangement that is no ensemble.
    """
    units = list(_all(predictor.graph))
    containers = predictor.containers
    problems = [problem for unit in units for problem in _problems(unit, containers)]
    problems += _repeated([unit.name for unit in units])
    if problems:
        raise UsageError("\n".join(problems))
    before, end = _down_to_the_end(predictor.graph)
    kind = kind_of(end)
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


def kind_of(unit: Unit) -> str:
    """The node's kind, by its type, else its implementation, else its methods; MODEL where it has none of them."""
    implementation = _said(unit.implementation)
    if implementation in PREPACKAGED:
        return MODEL  # whatever the type says, as in Seldon
    if _said(unit.type):
        return unit.type
    if implementation:
        return BUILT_IN.get(implementation, MODEL)
    return next((METHODS[method] for method in unit.methods if method in METHODS), MODEL)


def _said(word: str) -> str:
    return "" if word in (UNKNOWN_TYPE, UNKNOWN_IMPLEMENTATION) else word


def _all(unit: Unit) -> Iterator[Unit]:
    yield unit
    for child in unit.children:
        yield from _all(child)


def _problems(unit: Unit, containers: Mapping[str, str]) -> Iterator[str]:
    if not _NAME.fullmatch(unit.name):
        yield f"node {unit.name!r}: expected a name of a-z, 0-9 and '-', as containers have them"
    kind, implementation = _said(unit.type), _said(unit.implementation)
    if kind and kind not in TYPES:
        yield f"node {unit.name}: unknown type {kind!r}; expected one of {', '.join(TYPES)}{close_to(kind, TYPES)}"
        return
    known = (*BUILT_IN, *PREPACKAGED)
    if implementation and implementation not in known:
        yield (
            f"node {unit.name}: unknown implementation {implementation!r}{close_to(implementation, known)}; "
            "for a server of your own leave it out, and give the node a type and a container"
        )
        return
    if kind_of(unit) == ROUTER:
        yield f"node {unit.name}: a router, which is not served yet; take it out, or import each of its children alone"
    if not implementation and unit.name not in containers:
        yield (
            f"node {unit.name}: no container of that name in componentSpecs"
            f"{close_to(unit.name, containers)}; expected one, or an implementation such as TENSORFLOW_SERVER"
        )


def _repeated(names: Iterable[str]) -> list[str]:
    seen: set[str] = set()
    repeated = []
    for name in names:
        if name in seen:
            repeated.append(f"node {name}: there are two of that name")
        seen.add(name)
    return repeated


def _down_to_the_end(unit: Unit) -> tuple[list[Unit], Unit]:
    """The transformers from the root on, and the combiner or model that they lead to."""
    before: list[Unit] = []
    while kind_of(unit) in (TRANSFORMER, OUTPUT_TRANSFORMER):
        if len(unit.children) != 1:
            raise UsageError(
                f"node {unit.name}: a {kind_of(unit)} with {len(unit.children)} children; "
                "expected one, a combiner or a model"
            )
        before.append(unit)
        unit = unit.children[0]
    if kind_of(unit) == MODEL and unit.children:
        names = ", ".join(child.name for child in unit.children)
        raise UsageError(f"node {unit.name}: a model with children ({names}); models in a row are not served")
    return before, unit


def _check_members(combiner: Unit) -> None:
    if not combiner.children:
        raise UsageError(f"node {combiner.name}: a combiner without children; expected the models that it combines")
    for child in combiner.children:
        kind = kind_of(child)
        if kind == COMBINER:
            raise UsageError(
                f"node {child.name}: a combiner under the combiner {combiner.name}; "
                "an ensemble has one, so put its children there"
            )
        if kind != MODEL:
            raise UsageError(
                f"node {child.name}: a {kind} under the combiner {combiner.name}; expected it above, for all models"
            )
        if child.children:
            names = ", ".join(grandchild.name for grandchild in child.children)
            raise UsageError(f"node {child.name}: a model with children ({names}); models in a row are not served")


def _node(unit: Unit, containers: Mapping[str, str]) -> GraphNode:
    return GraphNode(
        unit.name,
        kind_of(unit),
        containers.get(unit.name, ""),
        unit.model_uri,
        unit.parameter("signature_name"),
        unit.parameter("model_output"),
    )
