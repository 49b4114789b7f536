"""Two runs side by side: parameters, data, metrics with paired intervals, slices and the nodes' times."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benison.pipelines.drawings.drawing import Cell, Part, Table, Text
from benison.pipelines.drawings.numbers import figure, seconds, with_interval
from benison.pipelines.drawings.page import Section, page
from benison.pipelines.facts import blessing, compiled, scores
from benison.pipelines.lineage import graph
from benison.pipelines.lineage.verification import UNKNOWN
from benison.pipelines.records import runs
from benison.pipelines.reports.tables import DataTable
from benison.serving.close_names import did_you_mean
from benison.serving.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from benison.pipelines.records.runs import Run

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """A thing of both runs.

    Attributes:
        name: what it is.
        before: of the first run, as text; '' if it has none.
        now: of the second run.
    """

    name: str
    before: str
    now: str


@dataclass(frozen=True)
class MetricDifference:
    """A metric of both runs' ensembles on `test`.

    Attributes:
        name: the metric.
        before: of the first run; None where it is undefined.
        now: of the second run.
        gain: how much better the second run is, positive if better; None if both did not predict the same rows.
        low: lower end of the gain's paired interval.
        high: upper end.
    """

    name: str
    before: float | None
    now: float | None
    gain: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class SliceDifference:
    """The pipeline's metric on the rows of a slice, in both runs, with the number of rows."""

    name: str
    before: float | None
    now: float | None
    rows_before: int | None
    rows_now: int | None


class Comparison:
    """Two runs; what each table needs is read when it is asked for."""

    def __init__(self, root: Path, before: Run, now: Run) -> None:
        self.before = before
        self.now = now
        self._root = root
        self.notes: list[str] = []

    @cached_property
    def parameters(self) -> list[Difference]:
        """The values of `--set`, and the nodes' parameters, that differ."""
        sets = {**dict.fromkeys(self.now.sets, ""), **self.before.sets}
        different = [
            Difference(f"--set {key}", str(self.before.sets.get(key, "")), str(self.now.sets.get(key, "")))
            for key in sets
            if self.before.sets.get(key) != self.now.sets.get(key)
        ]
        changes = compiled.changes(self._compiled(self.before), self._compiled(self.now))
        return [*different, *(Difference(change.name, change.before, change.now) for change in changes)]

    @cached_property
    def data(self) -> list[Difference]:
        """The raw files of both runs, with their hashes; equal ones too."""
        before, now = (self._files(run) for run in (self.before, self.now))
        return [Difference(name, before.get(name, ""), now.get(name, "")) for name in {**before, **now}]

    @cached_property
    def metrics(self) -> list[MetricDifference]:
        """The metrics of both ensembles on `test`, with paired intervals if both predicted the same rows."""
        first, second = self._blessings
        if first is None or second is None:
            self.notes.append("one of the runs measured no metrics, or its Blessing was removed")
            return []
        before, now = first.metrics.get(blessing.ENSEMBLE, {}), second.metrics.get(blessing.ENSEMBLE, {})
        gains = self._gains(first, second, [name for name in before if name in now])
        return [
            MetricDifference(name, before.get(name), now.get(name), *gains.get(name, (None, None, None)))
            for name in {**before, **now}
        ]

    @cached_property
    def slices(self) -> list[SliceDifference]:
        """The pipeline's metric by slice, where one of the runs has it."""
        first, second = self._blessings
        if first is None or second is None or first.metric != second.metric:
            return []
        before, now = ({cut.name: cut for cut in found.slices} for found in (first, second))
        rows = []
        for name in {**before, **now}:
            old, new = before.get(name), now.get(name)
            values = [None if cut is None else cut.values.get(blessing.ENSEMBLE) for cut in (old, new)]
            rows.append(
                SliceDifference(name, values[0], values[1], old.rows if old else None, new.rows if new else None)
            )
        return rows

    @cached_property
    def times(self) -> list[tuple[str, float | None, float | None, str, str]]:
        """By node: its seconds and its state in both runs."""
        before, now = ({node.id: node for node in run.nodes} for run in (self.before, self.now))
        rows = []
        for name in {**before, **now}:
            old, new = before.get(name), now.get(name)
            rows.append((
                name,
                old.seconds if old else None,
                new.seconds if new else None,
                old.state if old else "",
                new.state if new else "",
            ))  # fmt: skip
        return rows

    @cached_property
    def _blessings(self) -> tuple[blessing.Blessing | None, blessing.Blessing | None]:
        return self._blessing(self.before), self._blessing(self.now)

    def _blessing(self, run: Run) -> blessing.Blessing | None:
        for artifact in self._graph(run).outputs("ModelBlessing"):
            try:
                if (found := blessing.read(artifact.path)) is not None:
                    return found
            except (OSError, ValueError, KeyError):
                continue
        return None

    def _graph(self, run: Run) -> graph.RunGraph:
        return graph.of_run(self._root, run)

    def _compiled(self, run: Run) -> Path:
        return self._root / "runs" / run.repeats if run.repeats else run.folder

    def _files(self, run: Run) -> dict[str, str]:
        files = {}
        for file in self._graph(run).files:
            span = "" if file.span is None else f"span {file.span}: "
            files[f"{span}{Path(file.recorded).name}"] = file.sha256[:12] or UNKNOWN
        return files

    def _gains(
        self, first: blessing.Blessing, second: blessing.Blessing, names: Sequence[str]
    ) -> dict[str, tuple[float | None, float | None, float | None]]:
        """Return gain and interval by metric; empty if both runs did not predict the same rows."""
        from benison.components.evaluate import bootstrap
        from benison.components.evaluate.metrics import Decision, metrics_for
        from benison.components.evaluate.verdicts import finite_interval_or_none
        from benison.serving.errors import BenisonError

        try:
            before, now = (self._scores(run) for run in (self.before, self.now))
        except (OSError, ValueError, KeyError):
            before = now = None
        if before is None or now is None:
            self.notes.append("the scores of one run were removed, so differences have no intervals")
            return {}
        outputs = [each.outputs.get(blessing.ENSEMBLE) for each in (before, now)]
        if outputs[0] is None or outputs[1] is None or not _same_rows(before, now):
            self.notes.append("the runs did not predict the same rows of test, so differences have no intervals")
            return {}
        known = metrics_for(second.problem, Decision(second.threshold))
        gains: dict[str, tuple[float | None, float | None, float | None]] = {}
        for name in names:
            if name not in known or first.threshold != second.threshold:
                continue
            try:
                gain, ends = bootstrap.paired_difference(
                    known[name], now.labels, outputs[1], outputs[0], _CONFIDENCE, weights=now.weights
                )
            except BenisonError:  # undefined for these rows
                continue
            low, high = finite_interval_or_none(ends) or (None, None)
            gains[name] = (gain, low, high)
        return gains

    def _scores(self, run: Run) -> scores.Scores | None:
        folders = [a.path for a in self._graph(run).outputs("ModelScores") if a.node == "EnsembleScores"]
        return scores.read(folders)


def _same_rows(before: scores.Scores, now: scores.Scores) -> bool:
    """Return True if both have the same rows, as far as labels and weights tell."""
    import numpy as np

    if before.classes != now.classes or not np.array_equal(before.labels, now.labels):
        return False
    if before.weights is None or now.weights is None:
        return before.weights is now.weights
    return bool(np.array_equal(before.weights, now.weights))


def find(root: Path, name: str) -> Run:
    """Return a run by its id, or the last run of a pipeline by its name.

    Raises:
        UsageError: there is none; the message suggests a close name.
    """
    history = runs.history(root)
    same = [run for run in history if name in (run.id, run.pipeline)]
    if same:
        return same[-1]
    names = [*(run.id for run in history), *{run.pipeline for run in history}]
    raise UsageError(
        f"{name}: no run or pipeline in {root / 'runs'}{did_you_mean(name, names)}; `benison runs` lists them"
    )


def plain(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as plain data for JSON."""
    return {
        "before": comparison.before.id,
        "now": comparison.now.id,
        "parameters": [asdict(each) for each in comparison.parameters],
        "data": [{**asdict(each), "equal": _is_equal(each.before, each.now)} for each in comparison.data],
        "metrics": [asdict(each) for each in comparison.metrics],
        "slices": [asdict(each) for each in comparison.slices],
        "nodes": [
            {"node": name, "before": before, "now": now, "state_before": old, "state_now": new}
            for name, before, now, old, new in comparison.times
        ],
        "notes": list(dict.fromkeys(comparison.notes)),
    }


def show(comparison: Comparison, console: Console) -> None:
    """Print the comparison as tables."""
    for title, headers, rows in _tables(comparison):
        if rows:
            table = DataTable(*headers)
            for row in rows:
                table.add_row(*(cell.text if isinstance(cell, Cell) else str(cell) for cell in row))
            console.print(f"\n[bold]{title}[/]")
            console.print(table)
    for note in dict.fromkeys(comparison.notes):
        console.print(f"note: {note}", highlight=False, markup=False)


def html(comparison: Comparison) -> str:
    """Return the comparison as one HTML file."""
    before, now = comparison.before, comparison.now
    summary: list[Part] = [Text(_sentence(comparison), "verdict")]
    sections = [Section("summary", "Summary", summary)]
    for title, headers, rows in _tables(comparison):
        empty = (
            f"No difference in {title.lower()}."
            if title == "Parameters"
            else f"There are no {title.lower()} to compare."
        )
        parts: list[Part] = [Table(title, headers, rows)] if rows else []
        sections.append(Section(title.lower().replace(" ", "-"), title, parts, empty))
    summary += [Text(note, "note") for note in dict.fromkeys(comparison.notes)]
    return page(
        f"{before.id} and {now.id}",
        sections,
        heading=f"{now.pipeline}: two runs compared",
        footer=f"{before.id} and {now.id}. Written by `benison compare` at {time.strftime('%Y-%m-%d %H:%M:%S')}.",
    )


def _tables(comparison: Comparison) -> list[tuple[str, Sequence[str], Sequence[Sequence[object]]]]:
    old, new = "before", "now"
    parameters = [[each.name, each.before, each.now] for each in comparison.parameters]
    data = [
        [each.name, each.before or "-", each.now or "-", _sameness(each.before, each.now)] for each in comparison.data
    ]
    metrics = [
        [
            each.name,
            figure(each.before, *_known(each.now)),
            figure(each.now, *_known(each.before)),
            _gain(each),
        ]
        for each in comparison.metrics
    ]
    slices = [
        [each.name, each.rows_before, each.rows_now, figure(each.before), figure(each.now)]
        for each in comparison.slices
    ]
    times = [
        [name, Cell(seconds(before), before or 0.0), Cell(seconds(now), now or 0.0), was, is_now]
        for name, before, now, was, is_now in comparison.times
    ]
    runs_ = [
        [
            Cell(run.id),
            run.outcome.replace("_", " "),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started)),
            seconds(run.seconds),
            ", ".join(map(str, run.window)) or "-",
        ]
        for run in (comparison.before, comparison.now)
    ]
    gain = f"gain ({_CONFIDENCE:.0%} interval)"
    return [
        ("Runs", ("run", "outcome", "started", "time", "spans"), runs_),
        ("Metrics", ("metric of the ensemble", old, new, gain), metrics),
        ("Slices", ("slice", "rows before", "rows now", old, new), slices),
        ("Parameters", ("parameter", old, new), parameters),
        ("Data", ("file", f"sha256 {old}", f"sha256 {new}", "content"), data),
        ("Times", ("node", old, new, "state before", "state now"), times),
    ]


def _known(value: float | None) -> tuple[float, ...]:
    return () if value is None else (value,)


def _gain(each: MetricDifference) -> Cell:
    text = with_interval(each.gain, each.low, each.high)
    if each.low is not None and each.high is not None and each.low * each.high > 0:
        return Cell(text, each.gain, "good" if each.low > 0 else "bad")
    return Cell(text, each.gain)


def _sameness(before: str, now: str) -> Cell:
    if not before or not now:
        return Cell("new" if now else "left out", mark="warn")
    is_equal = _is_equal(before, now)
    if is_equal is None:
        return Cell("unknown", mark="muted")
    return Cell("equal", mark="muted") if is_equal else Cell("changed", mark="warn")


def _is_equal(before: str, now: str) -> bool | None:
    """Return whether two hashes are equal; None if one was not recorded."""
    return None if UNKNOWN in (before, now) else before == now


def _sentence(comparison: Comparison) -> str:
    """Return the most important difference in one sentence."""
    metric = (comparison.now.measured() or {}).get("name")
    found = next((each for each in comparison.metrics if each.name == metric), None)
    if found is None or found.before is None or found.now is None:
        return f"{comparison.before.outcome.replace('_', ' ')}, then {comparison.now.outcome.replace('_', ' ')}."
    text = f"{found.name} on test: {figure(found.before, found.now)} before, {figure(found.now, found.before)} now"
    if found.gain is None or found.low is None or found.high is None:
        return f"{text}."
    is_clear = found.low * found.high > 0
    meaning = ("better" if found.low > 0 else "worse") if is_clear else "no clear difference on these rows"
    return f"{text}; {meaning}."


def as_json(comparison: Comparison) -> str:
    """Return the comparison as JSON."""
    return json.dumps(plain(comparison), indent=2, ensure_ascii=False)
