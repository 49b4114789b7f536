"""The report of a run: `ROOT/runs/RUN/report.html`, one file that works without a network.

Every run gets one, however it ended. It is made of what is on disk, without TFX and TensorFlow, so `benison report`
can write it again.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from benison.pipelines.drawings import curves as draw_curves
from benison.pipelines.drawings import data as draw_data
from benison.pipelines.drawings import models as draw_models
from benison.pipelines.drawings import serving as draw_serving
from benison.pipelines.drawings import theme
from benison.pipelines.drawings import timeline as draw_timeline
from benison.pipelines.drawings import training as draw_training
from benison.pipelines.drawings.drawing import Cell, Chart, Code, Folded, Grid, Html, Part, Table, Text, prose
from benison.pipelines.drawings.numbers import count, figure, percent, seconds, short
from benison.pipelines.drawings.page import Section, page
from benison.pipelines.facts import (
    anomalies,
    blessing,
    compiled,
    data_warnings,
    drift,
    ensemble,
    importances,
    lite_model,
    schema,
    serving_trial,
    statistics,
    timeline,
    training,
)
from benison.pipelines.facts import scores as scores_facts
from benison.pipelines.facts.blessing import Blessing
from benison.pipelines.records import runs
from benison.pipelines.records.runs import Run
from benison.pipelines.reports import drift_without_spans, verdict
from benison.pipelines.running.workers import last_lines
from benison.serving.files import atomic_file
from benison.serving.markup import element
from benison.serving.visible_text import visible_line

FILE = "report.html"


def write(run: Run, root: Path) -> Path:
    """Write the report of a run into its folder.

    Args:
        run: the run, whose `run.json` is written.
        root: ROOT.

    Raises:
        OSError: the file cannot be written.
    """
    file = run.folder / FILE
    atomic_file.write(file, html(run, root))
    return file


def html(run: Run, root: Path) -> str:
    """Return the report as one HTML file."""
    subject = _Subject(run, root)
    sections = [_section(subject, *content) for content in _SECTIONS]
    started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.started))
    return page(
        f"{run.pipeline}, run of {started}",
        sections,
        heading=f"{run.pipeline}: run of {started}",
        footer=f"Run {run.id}. Written by `benison report {run.id}` at {time.strftime('%Y-%m-%d %H:%M:%S')}.",
    )


def content(name: str, run: Run, root: Path) -> Sequence[Part] | str:
    """Return the drawings of one section of the report; or, as text, why there are none.

    Args:
        name: the section's anchor, such as `slices`.
        run: the run.
        root: ROOT.
    """
    return {key: function for key, _, function in _SECTIONS}[name](_Subject(run, root))


class _Subject:
    """A run with what its artifacts say; each is read once."""

    def __init__(self, run: Run, root: Path) -> None:
        self.run = run
        self.root = root

    def folders(self, kind: str) -> list[Path]:
        """Return the folders of the artifacts of a type, in the order of the nodes."""
        return [Path(output["uri"]) for output in self.run.outputs(kind)]

    def models(self) -> dict[str, Path]:
        """Return the folders of the members' models, by member."""
        return {
            node.id.partition(".")[2]: Path(output["uri"])
            for node in self.run.nodes
            if node.id.startswith(("Trainer.", "Import."))
            for output in node.outputs.get("model", ())
        }

    @cached_property
    def before(self) -> Run | None:
        """The run of the pipeline before this one; of a run without changes, the one that it repeats."""
        return next(iter(self.earlier), None)

    @cached_property
    def earlier(self) -> list[Run]:
        """The runs of the pipeline before this one, the last one first."""
        return runs.earlier(self.root, self.run)

    @cached_property
    def blessing(self) -> blessing.Blessing | None:
        """The Blessing's record; None if the run ended before it."""
        for folder in self.folders("ModelBlessing"):
            if (found := blessing.read(folder)) is not None:
                return found
        return None

    @property
    def readable_blessing(self) -> Blessing | None:
        """The same; also None if it was pruned or is damaged, for what does not depend on it."""
        try:
            return self.blessing
        except (OSError, ValueError, KeyError):
            return None

    @cached_property
    def ensemble(self) -> ensemble.EnsembleReport | None:
        """The EnsembleBuilder's report; None if the run ended before it."""
        return next(filter(None, map(ensemble.read, self.folders("Model"))), None)

    @cached_property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """The parameters of the nodes."""
        return compiled.parameters(self.run.folder)

    @cached_property
    def drift(self) -> drift.Drift | None:
        """The drift against what the served version learnt from; None if nothing was served."""
        folders = self.folders("DriftReport")
        if folders:
            return drift.read(folders[-1])
        return None if self.run.window else drift_without_spans.measure(self.run, self.root, self.readable_blessing)

    @property
    def model_names(self) -> list[str]:
        """The names of all models, so that each has one colour."""
        if self.blessing is not None:
            return list(self.blessing.models)
        return [*self.models(), blessing.ENSEMBLE]

    def ended_before(self, kind: str, what: str = "") -> str:
        """Return why there is no artifact of a kind of node; '' if the pipeline has no such node."""
        nodes = [node for node in self.run.nodes if node.kind == kind]
        if not nodes and self.run.nodes:
            return ""
        if nodes and nodes[0].state == "skipped":
            return f"{nodes[0].id} was skipped: {nodes[0].reason or 'a node before it refused the model'}."
        if nodes and nodes[0].state in runs.FAILED_STATES:
            return f"{nodes[0].id} failed, see above."
        return f"The run ended before the {what or (nodes[0].id if nodes else kind)}."


_Content = Callable[[_Subject], "Sequence[Part] | str"]


def _section(subject: _Subject, name: str, title: str, content: _Content) -> Section:
    """Return a section; if something is gone or damaged, the section says so and the others are not affected."""
    try:
        parts = content(subject)
    except FileNotFoundError as error:
        parts = f"What this section shows no longer exists; it may have been pruned ({error.filename or error})."
    except Exception as error:
        parts = f"This section could not be made: {type(error).__name__}: {error}"
    return Section(name, title, [], parts) if isinstance(parts, str) else Section(name, title, parts)


def _summary(subject: _Subject) -> Sequence[Part]:
    run = subject.run
    blessed = subject.readable_blessing
    sentence, mark = verdict.sentence(run, blessed)
    parts: list[Part] = [Html(element("p", prose(sentence), class_=f"verdict {mark}".strip()))]
    parts += [Text(f"Warning: {warning}", "warn") for warning in data_warnings.of_run(run)]
    for node in run.failed_nodes:
        if node.state == "failed" and (lines := last_lines(Path(node.log), node.reason)):
            parts.append(Html(element("pre", visible_lines(lines), tabindex="0", aria_label=f"The log of {node.id}")))
        parts.append(Text(f"The full log of {node.id}: {node.log}", "note"))
    parts.append(_key_facts(subject, blessed))
    return parts


def visible_lines(lines: Sequence[str]) -> str:
    """Return lines of a log as they can be shown."""
    return "\n".join(visible_line(line) for line in lines)


def _key_facts(subject: _Subject, blessed: blessing.Blessing | None) -> Html:
    run = subject.run
    measured = run.measured() or {}
    value, previous = measured.get("value"), _value_before(subject, str(measured.get("name", "")))
    change = ""
    if value is not None and previous is not None:
        change = f" ({figure(value - previous, value, sign='+')})" if value != previous else " (unchanged)"
    cached = sum(node.state == "cached" for node in run.nodes)
    shown = {
        f"{measured.get('name', 'metric')} on test": f"{figure(value)}{change}" if value is not None else "",
        "problem": blessed.problem if blessed else "",
        "spans": ", ".join(map(str, run.window)),
        "compared with": _baseline(blessed),
        "took": seconds(run.seconds),
        "nodes": f"{len(run.nodes)}, {cached} of them cached" if cached else str(len(run.nodes)),
        "set": ", ".join(f"{key}={value}" for key, value in run.sets.items()),
    }
    items = [
        part
        for name, text in shown.items()
        if text and text != "-"
        for part in [element("div", element("dt", visible_line(name)), element("dd", visible_line(text)))]
    ]
    return Html(element("dl", items))


def _value_before(subject: _Subject, metric: str) -> float | None:
    """Return the metric's value in the last run before this one that measured it, as `benison runs` does."""
    measured = (run.measured() or {} for run in subject.earlier)
    return next((found.get("value") for found in measured if found.get("name") == metric), None)


def _baseline(blessed: blessing.Blessing | None) -> str:
    version = blessed.baseline.get("version") if blessed else None
    return f"version {version}" if version else ""


def _rules(subject: _Subject) -> Sequence[Part] | str:
    if subject.blessing is None:
        return subject.ended_before("Blessing")
    return draw_models.rules(subject.blessing)


def _models(subject: _Subject) -> Sequence[Part] | str:
    found = subject.blessing
    if found is None:
        return subject.ended_before("Blessing")
    gains = draw_models.gains(found)
    charts: list[Part] = [draw_models.metric_bars(found), *([gains] if gains else [])]
    parts: list[Part] = [Grid(charts), draw_models.metrics(found)]
    if why := found.baseline.get("why_not"):
        parts.append(Text(f"Not compared with a served version: {why}.", "note"))
    if interval := found.interval:
        held = interval.get("coverage")
        on_test = "" if held is None else f"; on test it holds {percent(held)} of the labels"
        width = f"± {short(interval['half_width'])}, from {count(interval['rows'])} rows"
        parts.append(Text(f"The {interval['level']:.0%} interval of an answer is {width}{on_test}."))
    return parts


def _slices(subject: _Subject) -> Sequence[Part] | str:
    if subject.blessing is None:
        return subject.ended_before("Blessing")
    return draw_models.slices(subject.blessing) or "The pipeline has no `slices`."


def _curves(subject: _Subject) -> Sequence[Part] | str:
    folders = subject.folders("ModelScores")
    scores = scores_facts.read(folders)
    if scores is None:
        return subject.ended_before("Scorer", "Scorer")
    found = subject.blessing
    judgement = subject.parameters.get("Blessing", {}).get("judgement") or {}
    label = next((p["label"] for p in subject.parameters.values() if isinstance(p.get("label"), str)), "label")
    parts = draw_curves.of_scores(
        scores,
        subject.model_names,
        positive=found.positive if found else "",
        threshold=found.threshold if found else None,
        costs=judgement.get("costs") if isinstance(judgement, dict) else None,
        label=label,
    )
    small = [part for part in parts if isinstance(part, Chart) and part.small]
    return [Grid(small), *(part for part in parts if part not in small)]


def _ensemble(subject: _Subject) -> Sequence[Part] | str:
    found = subject.ensemble
    if found is None:
        return subject.ended_before("EnsembleBuilder")
    charts = draw_models.contributions(found, subject.blessing)
    correlations = draw_models.correlations(found)
    dropped = draw_models.dropped(found)
    where = "blend" if found.split == "blend" else "the training data, out of fold"
    kept = sum(c.kept for c in found.contributions)
    scaled = "" if found.temperature is None else f"; its temperature is {found.temperature:.3g}"
    members = "member" if kept == 1 else "members"
    text = (
        f"A {found.combiner.replace('_', ' ')} of {kept} {members}, from {count(found.rows)} rows of {where}{scaled}."
    )
    return [Text(text), Grid([*charts, *([correlations] if correlations else [])]), *([dropped] if dropped else [])]


def _importances(subject: _Subject) -> Sequence[Part] | str:
    charts: list[Part] = []
    for folder in subject.folders("ColumnImportance")[:1]:
        chart = draw_data.permutation(importances.by_permutation(folder), subject.model_names)
        charts += [chart] if chart else []
    colors = theme.model_colors(subject.model_names)
    of_trees: list[Part] = []
    for member, folder in subject.models().items():
        chart = draw_data.importances(importances.of_trees(folder), member, colors.get(member, theme.ACCENT))
        of_trees += [chart] if chart else []
    for folder in subject.folders("LabelReport")[:1]:
        chart = draw_data.label_alone(importances.of_label(folder))
        of_trees += [chart] if chart else []
    return [*charts, *([Grid(of_trees)] if of_trees else [])]


def _data(subject: _Subject) -> Sequence[Part] | str:
    folders = subject.folders("ExampleStatistics")
    if not folders:
        return subject.ended_before("StatisticsGen")
    split = _by_span(subject.run) or statistics.read(folders[-1])
    moved = subject.drift
    earlier = moved.earlier() if moved else {}
    drifted = [c.column for c in moved.columns if c.drifted] if moved else []
    label = [importances.of_label(folder).label for folder in subject.folders("LabelReport")[:1]]
    parts: list[Part] = []
    if moved is not None:
        parts += draw_data.drift(moved) or [Text(f"Drift was not measured: {moved.why_not}.", "note")]
    parts += [draw_data.columns(split), *draw_data.distributions(split, [*label, *drifted], earlier)]
    for folder in subject.folders("Schema")[:1]:
        parts.append(Folded("Schema", [draw_data.schema(schema.read(folder))]))
    return parts


def _by_span(run: Run) -> statistics.Statistics:
    """Return the statistics of the spans of the window, oldest first; empty for a pipeline without spans."""
    nodes = [node for node in run.nodes if node.kind == "StatisticsGen" and node.outputs]
    if not run.window or len(nodes) != len(run.window):
        return {}
    of_span: dict[str, Mapping[str, statistics.Column]] = {}
    for span in run.window:
        node = next((n for n in nodes if n.id.endswith(f"[{span}]")), nodes[-1])
        ((_, (output, *_)), *_) = node.outputs.items()
        of_span[f"span {span}"] = next(iter(statistics.read(Path(output["uri"])).values()))
    return of_span


def _anomalies(subject: _Subject) -> Sequence[Part] | str:
    verdicts, checked = subject.folders("DataVerdict"), subject.folders("ExampleAnomalies")
    if verdicts:
        found = [a for folder in verdicts for a in anomalies.read_verdict(folder)]
    elif checked:
        found = [a for folder in checked for a in anomalies.read_validation(folder)]
    else:
        return subject.ended_before("ExampleValidator")
    parts: list[Part] = [draw_data.anomalies(found)] if found else []
    parts += [Text(n.reason, "bad") for n in subject.run.nodes if n.state == "invalid"]
    return parts or "No anomalies: the data fits the schema."


def _training(subject: _Subject) -> Sequence[Part] | str:
    parts: list[Part] = []
    charts: list[Part] = []
    for member, folder in subject.models().items():
        history = training.of_model(folder)
        if history is not None:
            charts += draw_training.history(history, member)
    if charts:
        parts.append(Grid(charts))
    models = {member: training.foreign(folder) for member, folder in subject.models().items()}
    if foreign := {member: model for member, model in models.items() if model is not None}:
        parts.append(draw_training.foreign(foreign))
    for node in subject.run.nodes:
        for output in node.outputs.get("tuner_results", ()):
            parts.append(draw_training.trials(training.search(Path(output["uri"])), node.id))
    if not parts and not subject.models():
        return subject.ended_before("Trainer", "Trainers")
    return parts


def _serving(subject: _Subject) -> Sequence[Part] | str:
    folders = subject.folders("InfraBlessing")
    if not folders:
        return subject.ended_before("ServingValidator")
    lite = subject.folders("LiteModel")
    return [
        *draw_serving.trial(serving_trial.read(folders[-1])),
        *(draw_serving.lite(lite_model.read(lite[-1])) if lite else []),
    ]


def _timeline(subject: _Subject) -> Sequence[Part] | str:
    run = subject.run
    if not run.nodes:
        return "The run ended before its pipeline was compiled."
    parts = draw_timeline.timeline(timeline.of_run(run))
    if run.repeats:
        return [Text(f"Nothing had changed since run {run.repeats}, so all results are from it."), *parts]
    return parts


def _changes(subject: _Subject) -> Sequence[Part] | str:
    run, before = subject.run, subject.before
    if run.repeats:
        return f"Nothing had changed since run {run.repeats}."
    if before is None:
        return "This is the first run of the pipeline."
    link = element("a", before.id, href=f"../{before.id}/{FILE}")
    parts: list[Part] = [Html(element("p", "Compared with run ", link, f", which ended as {before.outcome}."))]
    if run.changed is not None:
        parts.append(Text(f"Changed: {', '.join(run.changed) or 'nothing'}."))
    found = compiled.changes(before.folder, run.folder)
    if found:
        rows = [[c.name, Cell(c.before or "-"), Cell(c.now or "-")] for c in found]
        parts.append(Table("Parameters that changed", ["parameter", "before", "now"], rows))
    elif subject.parameters:
        parts.append(Text("No parameter of a node has changed.", "note"))
    return parts


def _versions(subject: _Subject) -> Sequence[Part] | str:
    from benison.pipelines.made_from import package_versions
    from benison.serving.promotion import labels
    from benison.serving.versions import local

    run = subject.run
    base = subject.root / "serving" / run.pipeline
    pushed: Mapping[str, Any] = next((output["properties"] for output in run.outputs("PushedModel")), {})
    option = "" if subject.root == Path(".benison").absolute() else f" --root {shlex.quote(str(subject.root))}"
    parts: list[Part] = []
    if base.is_dir():
        served = labels.served(base, damaged=True)
        rows = [
            [
                Cell(str(v.number), v.number, "strong" if str(v.number) == str(pushed.get("pushed_version")) else ""),
                "served" if served and served.number == v.number else "",
                v.manifest.created or "",
                ", ".join(map(str, v.manifest.spans)) or "-",
            ]
            for v in reversed(local.all_versions(base))
        ]
        note = "As it was when this report was written. The version of this run is in bold."
        parts.append(Table("Versions", ["version", "state", "created", "spans"], rows, note=note, most=10))
        if len(rows) > 1 and pushed:
            command = f"benison rollback {shlex.quote(run.pipeline)}{option}"
            parts += [Text("To serve the version before again:"), Code(command)]
    packages = package_versions()
    table = Table("Packages", ["package", "version"], [[name, version] for name, version in packages.items()])
    return [*parts, Folded("Packages with which this report was written", [table])]


_SECTIONS: Sequence[tuple[str, str, _Content]] = (
    ("verdict", "Verdict", _summary),
    ("rules", "Rules", _rules),
    ("models", "Models", _models),
    ("slices", "Slices", _slices),
    ("curves", "Quality of the scores", _curves),
    ("ensemble", "Ensemble", _ensemble),
    ("columns", "Columns that matter", _importances),
    ("data", "Data", _data),
    ("anomalies", "Anomalies", _anomalies),
    ("training", "Training", _training),
    ("serving", "Serving", _serving),
    ("timeline", "Time", _timeline),
    ("changes", "Changes since the last run", _changes),
    ("versions", "Versions", _versions),
)
