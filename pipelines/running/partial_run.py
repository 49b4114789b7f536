"""A partial run: which nodes it has, and which of them take their outputs from earlier runs.

A node takes the outputs of an earlier run by the rules of the cache: same inputs, settings and code. So what a run
reads always belongs together, and what it pushes is what a whole run would push. Where something else has changed
since, the node refuses to be taken, and the user decides what to run again.

Only what is compared with the served version may run again without being asked for: another version may be served
since, and a model is blessed against the one that is served now.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from benison.pipelines.compilation.compiled import Compiled
from benison.pipelines.made_from import LEFT_OUT
from benison.pipelines.records import runs
from benison.pipelines.records.locks import SCHEDULED
from benison.pipelines.records.runs import NodeRun, Run
from benison.pipelines.running import run_inputs
from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError

Role = Literal["again", "needed", "taken"]  # run without the cache; with it; only take
CANNOT_TAKE = "its outputs cannot be taken from"
_COMPARES, _PUSHES = "Baseline", "Pusher"
_READS_DATA = ("ExampleGen", "Resolver", "SpanWindow")  # the ends of the kinds of nodes whose key has the data
_UNFINISHED = frozenset({"failed", "invalid", "interrupted", "not_pushed"})


@dataclass(frozen=True)
class Part:
    """The part of a pipeline that a run runs; the whole one by default.

    Attributes:
        first: `--from`: this node and everything downstream of it run again.
        last: `--to`: this node and what it needs run, nothing else.
        only: `--only`: this node alone runs again.
        resume: `--resume`: the id of the run to continue.
    """

    first: str = ""
    last: str = ""
    only: str = ""
    resume: str = ""

    @property
    def options(self) -> dict[str, str]:
        """The options that are given, by name, such as `{"to": "Evaluator"}`."""
        values = {"resume": self.resume, "from": self.first, "to": self.last, "only": self.only}
        return {name: value for name, value in values.items() if value}

    @property
    def is_whole(self) -> bool:
        """True if the run has all nodes, each cached or not as in every run."""
        return not self.options

    def check(self, *, cache: bool = True, span: str | None = None) -> None:
        """Refuse options that contradict each other.

        Args:
            cache: False for `--no-cache`.
            span: the value of `--span`.

        Raises:
            UsageError: two options cannot be used together.
        """
        names = [f"--{name}" for name in self.options]
        alone = self.resume or self.only
        if alone and len(names) > 1:
            reason = "the rest of that run" if self.resume else "one node"
            raise UsageError(f"{names[0]} and {names[1]} contradict each other: {_option_of(self)} runs {reason}")
        if not cache and set(names) - {"--to"}:
            raise UsageError(
                f"--no-cache and {names[0]} contradict each other: {names[0]} takes outputs of earlier runs; "
                "to run all nodes again that a node needs, use --to NODE --no-cache"
            )
        if self.resume and span is not None:
            raise UsageError(
                f"--resume and --span contradict each other: the run continues with the spans of {self.resume}"
            )


WHOLE = Part()


@dataclass(frozen=True)
class Plan:
    """The nodes of a run and what each takes.

    Attributes:
        compiled: the pipeline, with the nodes of the run only.
        roles: by node.
        source: the run whose outputs are preferred; None takes the newest outputs that fit.
        changed: the dotted names of what the run depends on that is not as it was in `source`, see `run_inputs`.
    """

    compiled: Compiled
    roles: Mapping[str, Role] = field(default_factory=dict)
    source: Run | None = None
    changed: Sequence[str] = ()

    def taking(self, node_id: str) -> dict[str, Any] | None:
        """Return the arguments of `node_cache.Taking` for a node; None if it runs as in a whole run."""
        role = self.roles.get(node_id)
        if role is None or role == "again":
            return None
        uris = [o["uri"] for values in self._outputs(node_id).values() for o in values]
        return {"uris": uris, "refusal": self._refusal(node_id) if role == "taken" else ""}

    def refuse_untaken(self, run: Run) -> None:
        """Refuse a run that ended because a node could not be taken.

        Raises:
            UsageError: the message names the node and what has changed.
        """
        for node in run.failed_nodes:
            if node.reason.startswith(CANNOT_TAKE):
                raise UsageError(f"{run.options}: {node.id}: {node.reason}")

    def is_fresh(self, node_id: str) -> bool:
        """Return True if a node must not use the cache."""
        return self.roles.get(node_id) == "again"

    def _outputs(self, node_id: str) -> Mapping[str, list[dict[str, Any]]]:
        nodes = self.source.nodes if self.source else ()
        return next((node.outputs for node in nodes if node.id == node_id), {})

    def _refusal(self, node_id: str) -> str:
        source = f"run {self.source.id}" if self.source else "an earlier run"
        kind = next(node.kind for node in self.compiled.nodes if node.id == node_id)
        changes = run_inputs.in_words(_concerning(kind, self.changed))
        changed = f" ({', '.join(changes)})" if changes else ""
        return (
            f"{CANNOT_TAKE} {source}, because what they were made from has changed since{changed}; "
            f"a whole run makes what changed again: benison run {self.compiled.name}"
        )


def plan(part: Part, compiled: Compiled, earlier: Sequence[Run], changed_since: Callable[[Run], Sequence[str]]) -> Plan:
    """Return the nodes of a run, and which of them are taken.

    Args:
        part: the part of the pipeline.
        compiled: the whole pipeline.
        earlier: the earlier runs of the pipeline in ROOT, oldest first.
        changed_since: returns the dotted names of what has changed since one of them, see `run_inputs`.

    Raises:
        UsageError: no node has this name, a part has no nodes, or no earlier run has outputs that are needed.
    """
    if part.is_whole:
        return Plan(compiled)
    resumed = next((run for run in earlier if run.id == part.resume), None)
    roles = _roles(part_of(resumed) if resumed else part, compiled)
    if resumed is not None:
        ended = {node.id for node in resumed.nodes if node.state in runs.ENDED and node.kind != _PUSHES}
        roles |= dict.fromkeys(roles.keys() & ended, "taken")
    compares = {node.id for node in compiled.nodes if node.kind == _COMPARES}
    roles |= {name: "needed" for name in compares | _downstream(compiled, compares) if roles.get(name) == "taken"}
    taken = [name for name, role in roles.items() if role == "taken"]
    if part.resume:
        _refuse_unknown(taken, [resumed] if resumed else [], compiled)
    else:
        _refuse_unknown(taken, earlier, compiled)
    source = resumed or next((run for run in reversed(earlier) if _has(run, taken)), None)
    nodes = tuple(node for node in compiled.nodes if node.id in roles)
    return Plan(compiled.with_nodes(nodes), roles, source, changed_since(source) if source and taken else ())


def _concerning(kind: str, changed: Sequence[str]) -> list[str]:
    """Return those of the changes that can be why a node cannot be taken, when all nodes before it were taken.

    Only the nodes that read data depend on it; and if it has changed, that alone is a reason, whatever else has.
    """
    data = [name for name in changed if name.partition(".")[0] == "data"]
    if kind.endswith(_READS_DATA) and data:
        return data
    return [name for name in changed if name not in data]


def part_of(run: Run) -> Part:
    """Return the part of the pipeline that a run had; of a run that continued another one, that of both."""
    return Part(run.part.get("from", ""), run.part.get("to", ""), run.part.get("only", ""))


def find_resumable(root: Path, pipeline: str, run_id: str) -> Run:
    """Return a run that `--resume` can continue.

    Args:
        root: ROOT.
        pipeline: the pipeline's name.
        run_id: the run.

    Raises:
        UsageError: there is no such run, it has not failed, or it cannot be continued here.
    """
    history = {run.id: run for run in runs.history(root) if run.pipeline == pipeline}
    if run_id not in history:
        known = [run.id for run in history.values() if run.outcome in _UNFINISHED and _has_ended_nodes(run)]
        hint = did_you_mean(run_id, history, 0.9)
        if known and not hint:
            hint = f"; the last one that did not finish is {known[-1]}"
        raise UsageError(f"--resume {run_id}: {root} has no run of {pipeline} with this id{hint}")
    run = history[run_id]
    if run.outcome == "running":
        raise UsageError(f"--resume {run_id}: this run is under way")
    if (run.folder / SCHEDULED).is_file():
        raise UsageError(f"--resume {run_id}: Airflow ran it; clear its failed task there, with its downstream tasks")
    if run.outcome not in _UNFINISHED:
        raise UsageError(
            f"--resume {run_id}: this run has finished ({run.outcome}); to run a part of it again use --from NODE"
        )
    if not _has_ended_nodes(run):
        raise UsageError(
            f"--resume {run_id}: it ended before any of its nodes finished; start a new run: benison run {pipeline}"
        )
    return run


def resumed_sets(run: Run, sets: Mapping[str, str]) -> dict[str, str]:
    """Return the values of `--set` of a run that is continued.

    Args:
        run: the run.
        sets: the values that are given now: only those that the run's record leaves out, because they may be secrets.

    Raises:
        UsageError: other values are given, or one of these is missing.
    """
    left_out = {key for key, value in run.sets.items() if value == LEFT_OUT}
    if other := sorted(set(sets) - left_out):
        raise UsageError(
            f"--resume and --set {other[0]} contradict each other: the run continues with the values of {run.id}"
        )
    if missing := sorted(left_out - set(sets)):
        raise UsageError(
            f"--resume {run.id}: this run had --set {missing[0]}=…, whose value no record keeps; give it again"
        )
    return {**run.sets, **sets}


def window_of(run: Run) -> str | None:
    """Return the value of `--span` with which a run is continued; None for a pipeline without spans."""
    return f"{run.window[0]}-{run.window[-1]}" if run.window else None


def _has_ended_nodes(run: Run) -> bool:
    return any(node.state in runs.ENDED for node in run.nodes)


def _option_of(part: Part) -> str:
    return "--resume" if part.resume else "--only"


def _roles(part: Part, compiled: Compiled) -> dict[str, Role]:
    """Return the role of each node of a part in the order of the pipeline; of a part that is a whole run, "needed"."""
    first, last, only = (
        set(_match(option, pattern, compiled)) if pattern else set()
        for option, pattern in (("--from", part.first), ("--to", part.last), ("--only", part.only))
    )
    everything = {node.id for node in compiled.nodes}
    again = only or (first | _downstream(compiled, first))
    wanted = (last | _upstream(compiled, last)) if last else everything
    if first and last:
        again &= wanted
        if not again & last:
            raise UsageError(f"--from {part.first} --to {part.last}: {part.last} does not depend on {part.first}")
    if again:
        wanted = again | _upstream(compiled, again)
    rest: Role = "taken" if again else "needed"
    return {node.id: "again" if node.id in again else rest for node in compiled.nodes if node.id in wanted}


def _match(option: str, pattern: str, compiled: Compiled) -> list[str]:
    """Return the nodes of a name, or of a pattern with * and ?.

    Raises:
        UsageError: there is none; the message suggests a close name.
    """
    ids = [node.id for node in compiled.nodes]
    if pattern in ids:
        return [pattern]
    wildcards = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")  # `[3]` is a span, not a set of letters
    matching = [name for name in ids if re.fullmatch(wildcards, name)]
    if not matching:
        members = [name for name in ids if name.startswith(f"{pattern}.")]
        hint = f"; for all of them: {pattern}.*" if members else did_you_mean(pattern, ids)
        raise UsageError(f"{option} {pattern}: {compiled.name} has no such node{hint}; its nodes: {', '.join(ids)}")
    return matching


def _upstream(compiled: Compiled, names: Iterable[str]) -> set[str]:
    reached = set(names)
    for node in reversed(compiled.nodes):
        if node.id in reached:
            reached |= set(node.upstream)
    return reached - set(names)


def _downstream(compiled: Compiled, names: Iterable[str]) -> set[str]:
    reached = set(names)
    for node in compiled.nodes:
        if reached & set(node.upstream):
            reached.add(node.id)
    return reached - set(names)


def _has(run: Run, names: Iterable[str]) -> bool:
    ended = {node.id for node in run.nodes if node.state in runs.ENDED}
    return ended.issuperset(names)


def _refuse_unknown(taken: Sequence[str], earlier: Sequence[Run], compiled: Compiled) -> None:
    """Refuse a part if no earlier run has outputs of a node that it takes.

    Raises:
        UsageError: the message names the last of these nodes, and how to make them.
    """
    ended = {node.id for run in earlier for node in run.nodes if node.state in runs.ENDED}
    if missing := [name for name in taken if name not in ended]:
        raise UsageError(
            f"no run has the outputs of {', '.join(missing)}, which this part needs; "
            f"first run them: benison run {compiled.name} --to {missing[-1]}"
        )


def origins(run: Run) -> dict[str, list[str]]:
    """Return the nodes of a run whose outputs an earlier run wrote, by the id of that run, newest run first."""
    by_run: dict[str, list[NodeRun]] = {}
    for node in run.nodes:
        if node.origin:
            by_run.setdefault(node.origin, []).append(node)
    return {origin: [node.id for node in nodes] for origin, nodes in sorted(by_run.items(), reverse=True)}
