"""The texts in a manifest: one line per node, and the description of the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benison.pipelines.config import Pipeline, RuleConfig

GROUPS = ("ingest", "validate", "train", "ensemble", "deploy")
CACHE = "Reuse results of earlier runs with the same inputs"
# The group and the description of each component.
_KINDS = {
    "CsvExampleGen": ("ingest", "Reads the CSV files into examples"),
    "ImportExampleGen": ("ingest", "Reads the TFRecord files into examples"),
    "ImportSchemaGen": ("validate", "Imports the curated schema"),
    "SchemaGen": ("validate", "Infers a schema from the statistics"),
    "StatisticsGen": ("validate", "Computes statistics of every column"),
    "ExampleValidator": ("validate", "Compares the statistics with the schema"),
    "DriftValidator": (
        "validate",
        "Compares the data's distributions with those that the served version was trained on",
    ),
    "AnomalyGate": ("validate", "Stops the run if the data is invalid"),
    "LabelCheck": ("validate", "Looks for columns that leak the label"),
    "OverlapCheck": ("validate", "Stops the run if rows of test are also in train"),
    "Resolver": ("ingest", "Finds the spans of the window"),
    "SpanWindow": ("ingest", "Joins the spans of the window and splits them"),
    "Transform": ("train", "Fits and applies the preprocessing"),
    "Tuner": ("train", "Searches for hyperparameters"),
    "Trainer": ("train", "Trains a member"),
    "ModelImport": ("train", "Imports a member that was trained elsewhere"),
    "Scorer": ("ensemble", "Writes each model's score of each row"),
    "EnsembleBuilder": ("ensemble", "Combines the members into one model"),
    "Baseline": ("ensemble", "Reads the served version, which the ensemble is compared with"),
    "Evaluator": ("ensemble", "Computes the ensemble's metrics on the test rows"),
    "ColumnImportance": ("ensemble", "Measures what each column is worth to the models"),
    "Blessing": ("ensemble", "Checks the rules that decide if the ensemble may be pushed"),
    "ServingValidator": ("deploy", "Tests the ensemble in a model server: answers, latency, memory"),
    "TFLiteConverter": ("deploy", "Converts the ensemble to TensorFlow Lite, and measures what it loses by that"),
    "Pusher": ("deploy", "Pushes the ensemble as a new version"),
}


def group(kind: str, upstream: Sequence[str]) -> str:
    """Return a node's group: that of its component, or a later one if an upstream node is in a later group.

    Airflow's views need groups that are in topological order. A node of an unknown component gets the group of its
    upstream nodes.

    Args:
        kind: the component's class name.
        upstream: the groups of the upstream nodes.
    """
    own = _KINDS[kind][0] if kind in _KINDS else GROUPS[0]
    return max(own, *upstream, key=GROUPS.index) if upstream else own


def of_node(node_id: str, kind: str) -> str:
    """Return one line about a node."""
    description = _KINDS[kind][1] if kind in _KINDS else kind
    name = node_id.partition(".")[2]
    return f"{description}: {name}" if name else description


def doc(config: Pipeline) -> str:
    """Describe a pipeline in Markdown: its problem, data, members and rules, and how to start it."""
    members = [
        f"| `{name}` | {member.epochs if member.kind == 'keras' else '-'}"
        f" | {', '.join(f'{k} {v}' for k, v in member.hyperparameters.items()) or '-'}"
        f" | {member.tuner.algorithm if member.tuner else '-'} |"
        for name, member in config.ensemble.members.items()
    ]
    rules = [f"- {_rule(rule)}" for rule in config.blessing.rules]
    lines = [
        f"# {config.name}",
        config.description,
        f"A {config.problem} problem: predicts `{config.label}`, evaluated by **{config.metric}**.",
        "## Data",
        _data(config),
        f"## Members, combined by {config.ensemble.combiner.rpartition(':')[2]}",
        "\n".join(["| member | epochs | hyperparameters | tuner |", "|---|---|---|---|", *members]),
        "## Rules",
        "\n".join(["- better than a constant prediction, and not worse than the served version", *rules]),
        "## How to start it",
        _start(config),
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def doc_of_any(name: str, description: str, nodes: Sequence[str]) -> str:
    """Describe a pipeline that was written in Python, in Markdown."""
    node_list = "\n".join(f"- {node}" for node in nodes)
    return "\n\n".join(part for part in (f"# {name}", description, "## Nodes", node_list) if part) + "\n"


def _data(config: Pipeline) -> str:
    if config.data.source is not None:
        source = f"Written by `{config.data.source.rpartition('/')[2]}`"
    else:
        source = f"`{config.data.csv or config.data.tfrecord or 'CSV files'}`"
    if config.spans is None:
        return f"{source}."
    every = f", one per {config.spans.every} since {config.spans.first}" if config.spans.every else ""
    window = f"the newest spans (window: {config.spans.window})" if config.spans.window else "all spans"
    return f"{source}, in spans{every}. A run uses {window}; the newest span is the test data."


def _rule(rule: RuleConfig) -> str:
    slices = f", for each {', '.join(rule.slices)}" if rule.slices else ""
    if rule.min is not None or rule.max is not None:
        bound = f"at least {rule.min:g}" if rule.min is not None else f"at most {rule.max:g}"
        return f"{rule.metric} {bound}{slices}"
    relation = f"better than {rule.better_than}" if rule.better_than else f"not worse than {rule.not_worse_than}"
    return f"{rule.metric} {relation} by {rule.by:g}{slices}"


def _start(config: Pipeline) -> str:
    sentences = ["Click *Trigger*. The form shows the values of the YAML; a change applies to that run only."]
    if config.spans is not None:
        sentences.append("A new span (`benison span add`) starts a run automatically.")
    if config.schedule is not None:
        sentences.append(
            f"`{config.name}_by_date` starts a run on the schedule `{config.schedule}`; use it for backfills too."
        )
    return " ".join(sentences)
