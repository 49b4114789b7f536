"""What a manifest says in words: of each node, and of the pipeline as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benison.pipelines.config import Pipeline, RuleConfig

GROUPS = ("ingest", "validate", "train", "ensemble", "deploy")
CACHE = "Whether results of earlier runs with the same inputs may stand in"
# By kind of component: its group and what it does.
_KINDS = {
    "CsvExampleGen": ("ingest", "Reads the CSV files into examples"),
    "ImportExampleGen": ("ingest", "Reads the TFRecord files into examples"),
    "ImportSchemaGen": ("validate", "Takes the curated schema"),
    "SchemaGen": ("validate", "Infers a schema from the statistics"),
    "StatisticsGen": ("validate", "Computes statistics of every column"),
    "ExampleValidator": ("validate", "Compares the statistics with the schema"),
    "DriftValidator": ("validate", "Compares the distributions with those that the served version knows"),
    "AnomalyGate": ("validate", "Stops the run where the data are invalid"),
    "LabelCheck": ("validate", "Looks for columns that give the label away"),
    "Resolver": ("ingest", "Finds the spans of the window"),
    "SpanWindow": ("ingest", "Puts the window's spans together"),
    "Transform": ("train", "Learns and applies the preprocessing"),
    "Tuner": ("train", "Searches for hyperparameters"),
    "Trainer": ("train", "Trains a member"),
    "Scorer": ("ensemble", "Writes scores by row"),
    "EnsembleBuilder": ("ensemble", "Combines the members into one model"),
    "Baseline": ("ensemble", "Takes what is served now, to compare with"),
    "Evaluator": ("ensemble", "Computes metrics on the test rows"),
    "Blessing": ("ensemble", "Decides by the rules whether the ensemble may be pushed"),
    "ServingValidator": ("deploy", "Tries the ensemble in a model server: answers, latency, memory"),
    "Pusher": ("deploy", "Pushes the ensemble as a version"),
}


def group(kind: str, upstream: Sequence[str]) -> str:
    """A node's group: that of its kind, but never one before those that it waits for.

    So the groups are in an order too, which Airflow's views insist on; and a node of an unknown kind has a place.

    Args:
        kind: of component.
        upstream: the groups of the nodes before it.
    """
    own = _KINDS[kind][0] if kind in _KINDS else GROUPS[0]
    return max(own, *upstream, key=GROUPS.index) if upstream else own


def of_node(node_id: str, kind: str) -> str:
    """One line about a node."""
    said = _KINDS[kind][1] if kind in _KINDS else kind
    name = node_id.partition(".")[2]
    return f"{said}: {name}" if name else said


def doc(config: Pipeline) -> str:
    """A pipeline in Markdown: what it is, its data, members and rules, and how to start it."""
    members = [
        f"| `{name}` | {member.epochs} | {', '.join(f'{k} {v}' for k, v in member.hyperparameters.items()) or '-'}"
        f" | {member.tuner.algorithm if member.tuner else '-'} |"
        for name, member in config.ensemble.members.items()
    ]
    rules = [f"- {_rule(rule)}" for rule in config.blessing.rules]
    lines = [
        f"# {config.name}",
        config.description,
        f"A {config.problem} problem: predicts `{config.label}`; what counts is **{config.metric}**.",
        "## Data",
        _data(config),
        f"## Members, joined by {config.ensemble.combiner.rpartition(':')[2]}",
        "\n".join(["| member | epochs | hyperparameters | tuner |", "|---|---|---|---|", *members]),
        "## Rules",
        "\n".join(["- better than a guess, and not worse than what is served", *rules]),
        "## How to start it",
        _start(config),
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def doc_of_any(name: str, description: str, nodes: Sequence[str]) -> str:
    """A hand-written pipeline in Markdown."""
    listed = "\n".join(f"- {node}" for node in nodes)
    return "\n\n".join(part for part in (f"# {name}", description, "## Nodes", listed) if part) + "\n"


def _data(config: Pipeline) -> str:
    if config.data.source is not None:
        given = f"Written by `{config.data.source.rpartition('/')[2]}`"
    else:
        given = f"`{config.data.csv or config.data.tfrecord or 'CSV files'}`"
    if config.spans is None:
        return f"{given}."
    size = config.spans.window or "all"
    every = f", one a {config.spans.every} from {config.spans.first} on" if config.spans.every else ""
    return f"{given}, span by span{every}. A run takes a window of {size} and is tested on the newest of it."


def _rule(rule: RuleConfig) -> str:
    where = f", for each {', '.join(rule.slices)}" if rule.slices else ""
    if rule.min is not None or rule.max is not None:
        bound = f"at least {rule.min:g}" if rule.min is not None else f"at most {rule.max:g}"
        return f"{rule.metric} {bound}{where}"
    relation = f"better than {rule.better_than}" if rule.better_than else f"not worse than {rule.not_worse_than}"
    return f"{rule.metric} {relation} by {rule.by:g}{where}"


def _start(config: Pipeline) -> str:
    started = ["By *Trigger*: each field of the form holds the value of the YAML, and a run may be given another one."]
    if config.spans is not None:
        started.append("A span that lands (`benison span add`) starts a run by itself.")
    if config.schedule is not None:
        started.append(f"`{config.name}_by_date` runs on `{config.schedule}`, for schedule and backfill.")
    return " ".join(started)
