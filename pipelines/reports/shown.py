"""Drawings of a run for a notebook: the sections of its report, and artifacts that a report has no room for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from benison.pipelines.drawings import data as draw_data
from benison.pipelines.drawings import training as draw_training
from benison.pipelines.drawings.drawing import Cell, Html, Part, Table, Text
from benison.pipelines.facts import importances, schema, training
from benison.pipelines.lineage import verification
from benison.pipelines.lineage.search import Finder, Lineage
from benison.pipelines.records.runs import Run
from benison.pipelines.reports import lineage_tree, run_page
from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError
from benison.serving.markup import Markup, element, joined
from benison.serving.visible_text import visible_line

if TYPE_CHECKING:
    from rich.tree import Tree

_ROWS = 8
_LONGEST_LIST = 6  # numbers of a transformed feature that are shown


class Reader(Protocol):
    """Reads what only TensorFlow can read, in another process."""

    def first_rows(self, examples: Path, split: str, count: int, graph: Path | None = None) -> dict[str, Any]:
        """See `benison.pipelines.running.first_rows.read`."""

    def evaluation(self, folder: Path) -> list[dict[str, Any]]:
        """See `benison.pipelines.running.evaluations.read`."""


@dataclass(frozen=True)
class Kind:
    """Something that can be shown.

    Attributes:
        title: its heading.
        what: one line about it.
        types: the types of the artifacts that it is made from; one of them is enough.
        content: returns the drawings; or, as text, why there are none.
    """

    title: str
    what: str
    types: tuple[str, ...]
    content: Callable[[Run, Path, Reader], Sequence[Part] | str]


def find(name: str, run: Run) -> list[tuple[Kind, Run]]:
    """Return what a name stands for: a kind, or a node with all that its artifacts can show.

    Args:
        name: a key of `KINDS`, or the id of a node.
        run: the run to show.

    Raises:
        UsageError: there is no such name, or the run has none of the artifacts yet.
    """
    if node := next((node for node in run.nodes if node.id == name), None):
        only = replace(run, nodes=[node])
        types = {output["type"] for values in node.outputs.values() for output in values}
        kinds = [kind for key, kind in KINDS.items() if key not in _OF_RUNS and types & set(kind.types)]
        if not kinds:
            raise UsageError(f"{name}: nothing can be drawn of {', '.join(sorted(types)) or 'it: it has not run'}")
        # What a Transform makes of rows needs the examples, too.
        return [(kind, run if "TransformGraph" in kind.types else only) for kind in kinds]
    if name not in KINDS:
        names = [*KINDS, *(node.id for node in run.nodes)]
        hint = did_you_mean(name, names) or f"; there are {', '.join(names)}"
        raise UsageError(f"{name}: cannot be shown{hint}")
    kind = KINDS[name]
    if kind.types and not any(run.outputs(type_name) for type_name in kind.types):
        raise UsageError(f"{name}: no {' or '.join(kind.types)} yet; first run the node that writes it")
    return [(kind, run)]


def available(run: Run) -> list[tuple[str, Kind]]:
    """Return the kinds of which a run has something, with their keys."""
    there = {output["type"] for node in run.nodes for values in node.outputs.values() for output in values}
    return [(key, kind) for key, kind in KINDS.items() if (there & set(kind.types) if kind.types else run.nodes)]


def parts(kind: Kind, run: Run, root: Path, reader: Reader) -> Sequence[Part]:
    """Return the drawings of a kind; if there are none, a line that says why."""
    try:
        content = kind.content(run, root, reader)
    except FileNotFoundError as error:
        return [Text(f"What this shows no longer exists; it may have been pruned ({error.filename or error}).", "note")]
    return [Text(content, "note")] if isinstance(content, str) else content


def _examples(run: Run, root: Path, reader: Reader) -> Sequence[Part] | str:
    folder = _folders(run, "Examples")[0]
    tables = []
    for split in _splits(folder):
        rows = reader.first_rows(folder, split, _ROWS)["rows"]
        columns = sorted({name for row in rows for name in row})
        cells = [[_cell(row.get(name)) for name in columns] for row in rows]
        tables.append(Table(f"First rows of {split}", columns, cells))
    return tables


def _transform(run: Run, root: Path, reader: Reader) -> Sequence[Part] | str:
    (graph, *_), examples = _folders(run, "TransformGraph"), _folders(run, "Examples")
    if not examples:
        return "There are no examples to transform."
    split = "train" if "train" in _splits(examples[0]) else _splits(examples[0])[0]
    read = reader.first_rows(examples[0], split, _ROWS, graph)
    columns = sorted({name for row in read["rows"] for name in row})
    before = [[_cell(row.get(name)) for name in columns] for row in read["rows"]]
    features = sorted(read.get("transformed", {}))
    after = [[_cell(read["transformed"][name][n]) for name in features] for n in range(len(read["rows"]))]
    return [
        Table(f"Before: rows of {split}", columns, before),
        Table("After: the same rows as the members see them", features, after),
    ]


def _folders(run: Run, kind: str) -> list[Path]:
    return [Path(output["uri"]) for output in run.outputs(kind)]


def _splits(folder: Path) -> list[str]:
    order = ("train", "valid", "blend", "test")
    names = [path.name.removeprefix("Split-") for path in folder.glob("Split-*")]
    if not names:
        raise FileNotFoundError(folder)
    return sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))


def _cell(value: Any) -> Cell:
    if isinstance(value, list):
        if len(value) == 1:
            return _cell(value[0])
        more = ", …" if len(value) > _LONGEST_LIST else ""
        return Cell(", ".join(_cell(v).text for v in value[:_LONGEST_LIST]) + more)
    if value is None:
        return Cell("missing", mark="muted")
    if isinstance(value, float):
        return Cell(f"{value:.4g}", value)
    return Cell(str(value), float(value)) if isinstance(value, int) else Cell(str(value))


def _schema(run: Run, root: Path, reader: Reader) -> Sequence[Part]:
    return [draw_data.schema(schema.read(folder)) for folder in _folders(run, "Schema")[:1]]


def _label(run: Run, root: Path, reader: Reader) -> Sequence[Part] | str:
    charts = [draw_data.label_alone(importances.of_label(folder)) for folder in _folders(run, "LabelReport")[:1]]
    return [chart for chart in charts if chart] or "No column alone says anything about the label."


def _tuning(run: Run, root: Path, reader: Reader) -> Sequence[Part]:
    shown: list[Part] = []
    for node in run.nodes:
        for output in node.outputs.get("tuner_results", ()):
            search = training.search(Path(output["uri"]))
            shown.append(draw_training.trials(search, node.id))
            if search.trials and search.trials[0].history:
                shown += draw_training.history(search.trials[0].history, f"the best trial of {node.id}")
    return shown


def _evaluation(run: Run, root: Path, reader: Reader) -> Sequence[Part] | str:
    tables: list[Part] = []
    for folder in _folders(run, "ModelEvaluation")[:1]:
        rows = reader.evaluation(folder)
        metrics = list(dict.fromkeys(name for row in rows for name in row if name != "slice"))
        cells = [[Cell(row["slice"]), *(_cell(row.get(name)) for name in metrics)] for row in rows]
        tables.append(Table("TFMA's metrics on test, by slice", ["slice", *metrics], cells))
    return tables


def _lineage(run: Run, root: Path, reader: Reader) -> Sequence[Part] | str:
    found = Finder(root).find(run.id)
    graph = found.graph if isinstance(found, Lineage) else None
    checked = verification.raw_files(graph) if graph else []
    tree = lineage_tree.of(found, root, checked)
    return [Html(element("div", _branch(tree), class_="tree"))]


def _branch(tree: Tree) -> Markup:
    label = element("span", visible_line(str(tree.label)))
    return joined(
        label, element("ul", [element("li", _branch(child)) for child in tree.children]) if tree.children else None
    )


def _of_report(name: str) -> Callable[[Run, Path, Reader], Sequence[Part] | str]:
    return lambda run, root, reader: run_page.content(name, run, root)


KINDS: Mapping[str, Kind] = {
    "examples": Kind("Examples", "the first rows of each split", ("Examples",), _examples),
    "statistics": Kind("Data", "columns and distributions by split", ("ExampleStatistics",), _of_report("data")),
    "schema": Kind("Schema", "types, presence and domains", ("Schema",), _schema),
    "anomalies": Kind(
        "Anomalies",
        "what does not fit the schema, with its rows",
        ("ExampleAnomalies", "DataVerdict"),
        _of_report("anomalies"),
    ),
    "label": Kind("Label", "how well each column alone predicts the label", ("LabelReport",), _label),
    "transform": Kind("Transform", "rows before and after Transform", ("TransformGraph",), _transform),
    "tuning": Kind("Tuning", "the trials of each Tuner, best first", ("TunerResults",), _tuning),
    "training": Kind("Training", "training curves and trials", ("Model", "TunerResults"), _of_report("training")),
    "weights": Kind("Ensemble", "weights, gains and correlations of the members", ("Model",), _of_report("ensemble")),
    "importances": Kind(
        "Columns that matter",
        "by permutation, and of members of trees",
        ("ColumnImportance", "Model", "LabelReport"),
        _of_report("columns"),
    ),
    "curves": Kind(
        "Quality of the scores", "ROC, calibration, confusion or residuals", ("ModelScores",), _of_report("curves")
    ),
    "evaluation": Kind("Evaluation", "TFMA's metrics by slice", ("ModelEvaluation",), _evaluation),
    "verdicts": Kind("Rules", "each rule with its figures", ("ModelBlessing",), _of_report("rules")),
    "models": Kind(
        "Models", "metrics of members, ensemble and served version", ("ModelBlessing",), _of_report("models")
    ),
    "slices": Kind("Slices", "metrics by slice, worst first", ("ModelBlessing",), _of_report("slices")),
    "serving": Kind("Serving", "answers and cost on a model server", ("InfraBlessing",), _of_report("serving")),
    "versions": Kind("Versions", "the pushed versions", ("PushedModel",), _of_report("versions")),
    "lineage": Kind("Lineage", "from the raw files to the version", (), _lineage),
    "time": Kind("Time", "when each node ran", (), _of_report("timeline")),
}
_OF_RUNS = frozenset({"time", "lineage", "importances"})
