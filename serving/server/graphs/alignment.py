"""Finds out whether the rows of a signature are independent, by abstract interpretation of its graph.

The answer holds for every run, because each rule holds for every input. It is strict: what no rule proves is mixed.
Independent means: the answer to a row is a function of this row. The number of rows and its place among them matter
only in the rounding of floats.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benison.serving.server.graphs import checks, rules
from benison.serving.server.graphs.facts import Fact, Kind, Mixes, mixed
from benison.serving.server.graphs.indexed import IndexedGraph
from benison.serving.server.graphs.operation import (
    RULES,
    Operation,
    Symbols,
    names,
    output_offsets,
    with_defaults,
)
from benison.serving.server.graphs.sizes import BATCH_ROWS, Size

__all__ = ["Alignment", "rules"]  # importing the rules fills RULES
_WITHOUT_ROWS = frozenset([Kind.CONSTANT, Kind.SIZE, Kind.IDS, Kind.PLACES])
_CALLS = frozenset(
    names("PartitionedCall StatefulPartitionedCall If StatelessIf Case StatelessCase While StatelessWhile")
)
_TRUTHS = frozenset(
    names("Equal NotEqual Less LessEqual Greater GreaterEqual IsNan IsFinite LogicalAnd LogicalOr LogicalNot")
)
_MAX_DEPTH = 64  # of calls; functions cannot call themselves in a valid graph, but a file may say so
# Operations to follow, which takes a few seconds. A chain of functions that each call the next twice has any number.
_MAX_FOLLOWED = 100_000
_USED_AS_DATA: Mapping[Kind, str] = {
    Kind.PADDED: "a size of an input depends on several rows",
    Kind.LIST: "an input is a list of tensors",
    Kind.ALL: "it combines the rows",
    Kind.SOME: "it combines the rows",
}

Inputs = Mapping[str, Sequence[int] | None]


@dataclass(frozen=True, slots=True)
class _Step:
    """An operation of a function, and where its inputs come from: a node or an argument, and which of its tensors."""

    node: Any
    inputs: tuple[tuple[str, int], ...]
    outputs: int
    definition: Any


@dataclass(frozen=True, slots=True)
class _Plan:
    """The operations that the results of a function need, in an order in which they can run."""

    arguments: tuple[str, ...]
    steps: tuple[_Step, ...]
    results: tuple[tuple[str, int], ...]


class _TooLarge(Exception):
    """The graph has too many operations."""


class Alignment:
    """The interpretation of one graph."""

    def __init__(self, graph: IndexedGraph) -> None:
        """Interpret nothing yet."""
        self._graph = graph
        self._symbols = Symbols()
        self._plans: dict[str, _Plan] = {}
        self._calls: dict[tuple[str, tuple[Fact, ...]], tuple[list[Fact], str]] = {}
        self._depth = 0
        self._followed = 0
        self._failing = ""  # a check of the signature that may fail for one row alone, and not for several

    def blocker(self, inputs: Inputs, outputs: Mapping[str, str]) -> str:
        """Return why requests must not share a run of a signature; empty if they may.

        Args:
            inputs: by the name of a tensor, its sizes after the first, -1 for any; the first is the number of rows.
                None for an input without rows.
            outputs: the names of tensors by the names of outputs.
        """
        facts = {_place(tensor): self._input(sizes) for tensor, sizes in inputs.items()}
        places = {name: _place(tensor) for name, tensor in outputs.items()}
        plan = self._graph_plan(places.values(), facts)
        self._failing = ""
        try:
            results = self._run(plan, facts)
        except RecursionError:
            return "functions call each other without an end"
        except _TooLarge:
            return "its graph is too large to follow every operation"
        for name, place in places.items():
            if reason := _reason(results.get(place) or mixed(f"output {name}: there is no such tensor"), name):
                return reason
        return self._failing

    def _input(self, sizes: Sequence[int] | None) -> Fact:
        if sizes is None:
            return mixed("an input has no free first dimension")
        # Requests share a run only if these sizes are equal.
        dims = [Size(size) if size >= 0 else Size(1, (self._symbols.fixed(),)) for size in sizes]
        return Fact(Kind.ROWS, (BATCH_ROWS, *dims))

    def _call(self, name: str, arguments: Sequence[Fact]) -> list[Fact]:
        """Return the facts of a function's results."""
        key = (name, tuple(arguments))
        if key in self._calls:
            results, failing = self._calls[key]
            self._failing = self._failing or failing
            return results
        plan = self._plans.get(name) or self._plans.setdefault(name, self._function_plan(self._graph.functions[name]))
        before, failing_before = self._symbols.count, self._failing
        self._failing = ""
        if self._depth > _MAX_DEPTH:
            raise RecursionError
        self._depth += 1
        try:
            facts = self._run(plan, {(a, 0): fact for a, fact in zip(plan.arguments, arguments, strict=True)})
        finally:
            self._depth -= 1
        results = [facts[place] for place in plan.results]
        if self._symbols.count == before:  # otherwise another call has other sizes of the same kind
            self._calls[key] = results, self._failing
        self._failing = failing_before or self._failing
        return results

    def _run(self, plan: _Plan, facts: dict[tuple[str, int], Fact]) -> dict[tuple[str, int], Fact]:
        self._followed += len(plan.steps)
        if self._followed > _MAX_FOLLOWED:
            raise _TooLarge
        for step in plan.steps:
            name = step.node.name
            cyclic = mixed(f"{step.node.op} {name}: a loop of control flow version 1")
            results = self._apply(step, [facts.get(place, cyclic) for place in step.inputs])
            for index, fact in enumerate(results):
                facts.setdefault((name, index), fact)  # an input of the signature stays what it is
        return facts

    def _apply(self, step: _Step, inputs: list[Fact]) -> list[Fact]:
        """Return the facts of an operation's results."""
        node = step.node
        if node.op in checks.OPERATIONS and inputs[0].kind not in checks.ALLOWED:
            self._failing = self._failing or f"{node.op} {node.name}: whether it fails depends on several rows"
        first_mixed = next((fact for fact in inputs if fact.kind is Kind.MIXED), None)
        kinds = {fact.kind for fact in inputs}
        if kept := checks.kept(node.op, kinds):
            return [Fact(kept)] * step.outputs
        entry = RULES.get(node.op)
        try:
            if step.definition is None:
                raise Mixes("TensorFlow does not know this operation")
            if entry and kinds <= entry.accepts:
                operation = Operation(node, inputs, self._symbols, self._call, step.outputs)
                return self._tagged(node.op, entry.apply(operation))
            if first_mixed:
                return [first_mixed] * step.outputs
            if entry is None:
                raise Mixes("it has no rule")
            for kind, reason in _USED_AS_DATA.items():
                if kind in kinds:
                    raise Mixes(reason)
            raise Mixes("the answer to a row depends on the number of rows, or on its place")
        except Mixes as error:
            reason = str(error)
        except (ValueError, KeyError, IndexError, TypeError):
            reason = "it is not as TensorFlow writes it"
        if first_mixed:
            return [mixed(first_mixed.reason)] * step.outputs
        is_stateless = step.definition is not None and (entry is not None or not step.definition.is_stateful)
        is_pure = is_stateless and node.op not in _CALLS
        if is_pure and Kind.PART in kinds and kinds <= {Kind.PART, Kind.CONSTANT}:
            # A function of what belongs to one row belongs to this row.
            return [Fact(Kind.PART)] * step.outputs
        if is_pure and kinds <= _WITHOUT_ROWS:
            # A function of constants is one, and a function of the number of rows depends on nothing else.
            return [Fact(Kind.CONSTANT if kinds <= {Kind.CONSTANT} else Kind.SIZE)] * step.outputs
        return [mixed(f"{node.op} {node.name}: {reason}")] * step.outputs

    def _tagged(self, operation: str, facts: list[Fact]) -> list[Fact]:
        """Return facts with tags if they are of truth values, whose true elements several operations may select."""
        if operation not in _TRUTHS or facts[0].kind is not Kind.ROWS:
            return facts
        return [replace(fact, tag=self._symbols.tag()) for fact in facts]

    def _graph_plan(self, results: Iterable[tuple[str, int]], inputs: Iterable[tuple[str, int]]) -> _Plan:
        ends = [name for name, _ in inputs]
        places = tuple(results)
        steps = self._steps(self._graph.nodes, [name for name, _ in places], ends, lambda text: _place(text))
        return _Plan((), steps, places)

    def _function_plan(self, function: Any) -> _Plan:
        nodes = {node.name: node for node in function.node_def}
        arguments = tuple(argument.name for argument in function.signature.input_arg)
        place = self._place_in_function(nodes)
        results = tuple(place(function.ret[result.name]) for result in function.signature.output_arg)
        ends = [*(name for name, _ in results), *function.control_ret.values()]
        return _Plan(arguments, self._steps(nodes, ends, arguments, place), results)

    def _place_in_function(self, nodes: Mapping[str, Any]) -> Any:
        """Return a function that parses a name in a function's body: `argument`, or `operation:output:index`."""
        offsets: dict[str, Mapping[str, int]] = {}

        def place(text: str) -> tuple[str, int]:
            name, _, rest = text.partition(":")
            if name not in nodes:
                return name, 0
            if name not in offsets:
                definition = self._graph.definition(nodes[name].op)
                offsets[name] = output_offsets(nodes[name], definition) if definition else {}
            output, _, index = rest.partition(":")
            return name, offsets[name].get(output, 0) + int(index or 0)

        return place

    def _steps(self, nodes: Mapping[str, Any], ends: Iterable[str], inputs: Iterable[str], place: Any) -> Any:
        """Return the operations that some need, in an order in which they can run; cycles are cut.

        Also those that must only run before them, such as a check.
        """
        done = set(inputs)
        steps: list[_Step] = []
        pending = [(name, False) for name in ends]
        while pending:
            name, is_ready = pending.pop()
            if is_ready:
                steps.append(self._step(nodes[name], place))
                continue
            if name in done or name not in nodes:
                continue
            done.add(name)
            pending.append((name, True))
            read = [text.removeprefix("^").partition(":")[0] for text in nodes[name].input]
            pending += [(other, False) for other in read if other not in done]
        return tuple(steps)

    def _step(self, node: Any, place: Any) -> _Step:
        definition = self._graph.definition(node.op)
        inputs = tuple(place(text) for text in node.input if not text.startswith("^"))
        if not definition:
            return _Step(node, inputs, 1, None)
        return _Step(with_defaults(node, definition), inputs, output_offsets(node, definition)[""], definition)


def _place(tensor: str) -> tuple[str, int]:
    name, _, index = tensor.partition(":")
    return name, int(index or 0)


def _reason(fact: Fact, output: str) -> str:
    """Return why an output does not have one independent row per input row; empty if it has."""
    if fact.kind is Kind.MIXED:
        return fact.reason
    if fact.kind is Kind.PADDED:
        return f"output {output} has a size that depends on several rows"
    if fact.kind is not Kind.ROWS or not fact.shape or fact.shape[0] != BATCH_ROWS:
        return f"output {output} does not have one row per input row"
    return ""
