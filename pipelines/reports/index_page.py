"""The index of a ROOT: `ROOT/index.html` with its pipelines, runs and versions, and links to the runs' reports.

Each run, promotion and rollback brings it up to date. It is made of `run.json` and manifests only, without TFX and
TensorFlow. `benison ui` serves the same page with the progress of runs that are under way.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from benison.pipelines.drawings.drawing import Cell, Html, Part, Table, Text
from benison.pipelines.drawings.numbers import figure, seconds
from benison.pipelines.drawings.page import Section, page
from benison.pipelines.lineage import pushed_versions
from benison.pipelines.lineage.pushed_versions import PushedVersion
from benison.pipelines.records import runs
from benison.pipelines.reports import run_history
from benison.pipelines.reports.run_history import ComparedRun
from benison.serving.files import atomic_file, file_lock
from benison.serving.markup import element

FILE = "index.html"
REPORT = "report.html"
PROGRESS = "progress"  # id of the place where `benison ui` shows runs that are under way
_LOCK = ".index.lock"
_MOST_RUNS = 200  # of a ROOT; older ones are in `benison runs`
_MARKS = {"pushed": "good", "already_served": "good", "complete": "good", "failed": "bad", "invalid": "bad"}


def refresh(root: Path) -> None:
    """Write the index; if that fails, only print a warning to stderr, because a run or a promotion has succeeded.

    Args:
        root: ROOT.
    """
    try:
        with file_lock.hold(root / _LOCK):  # the last of several writers must have seen what all of them did
            atomic_file.write(root / FILE, html(root))
    except Exception as error:
        print(f"warning: {root / FILE} could not be written: {error}", file=sys.stderr)


def html(root: Path, *, script: str = "") -> str:
    """Return the index as one HTML file.

    Args:
        root: ROOT.
        script: the script that shows progress, where a server answers it; '' for a file.
    """
    history = run_history.compared(runs.history(root, _MOST_RUNS))
    versions = pushed_versions.read(root)
    sections = [
        *([Section("under-way", "Under way", [_progress()])] if script else []),
        Section("pipelines", "Pipelines", _pipelines(history, versions), "No pipeline has run in this folder yet."),
        Section("versions", "Versions", _versions(history, versions), "No version has been pushed yet."),
        Section("runs", "Runs", _runs(root, history, compare=bool(script)), "There are no runs yet."),
    ]
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    return page(
        f"Benison: {root.name}",
        sections,
        heading="Pipelines, versions and runs",
        footer=f"{root}, {now}.",
        script=script,
    )


def _progress() -> Html:
    return Html(element("div", element("p", "No run is under way.", class_="empty"), id=PROGRESS, aria_live="polite"))


def _pipelines(history: Sequence[ComparedRun], versions: Sequence[PushedVersion]) -> list[Part]:
    names = sorted({*(row.run.pipeline for row in history), *(version.name for version in versions)})
    last = {row.run.pipeline: row for row in history}
    served = {version.name: version for version in versions if version.served == "stable"}
    canary = {version.name: version for version in versions if version.served == "canary"}
    rows = []
    for name in names:
        row = last.get(name)
        rows.append([
            name,
            str(served[name].version.number) if name in served else "-",
            str(canary[name].version.number) if name in canary else "-",
            "-" if row is None else _outcome(row),
            "-" if row is None else _metric(row),
            "-" if row is None else _when(row.run),
        ])  # fmt: skip
    headers = ("pipeline", "served", "canary", "last run", "metric on test", "started")
    return [Table("Pipelines", headers, rows)] if rows else []


def _versions(history: Sequence[ComparedRun], versions: Sequence[PushedVersion]) -> list[Part]:
    pushed_by = {(row.run.pipeline, number): row.run for row in reversed(history) if (number := _pushed(row.run))}
    by_id = {row.run.id: row.run for row in history}
    rows = []
    for version in reversed(versions):
        manifest = version.version.manifest
        run = by_id.get(manifest.run) or pushed_by.get((version.name, version.version.number))
        value = manifest.metrics.get("ensemble", {}).get(manifest.metric)
        damaged = version.version.condition.is_damaged
        rows.append([
            version.id,
            Cell("damaged", mark="bad") if damaged else Cell(version.served, mark="strong"),
            f"{manifest.metric} {figure(value)}" if value is not None else "-",
            manifest.created.replace("T", " ")[:16],
            Cell(f"{manifest.bytes / 1e6:.1f} MB", manifest.bytes) if manifest.bytes is not None else "-",
            _link(run) if run else Cell(manifest.run or "-"),
        ])  # fmt: skip
    headers = ("version", "served as", "metric on test", "pushed (UTC)", "size", "run")
    return [Table("Versions", headers, rows)] if rows else []


def _runs(root: Path, history: Sequence[ComparedRun], *, compare: bool) -> list[Part]:
    rows = []
    before: dict[str, runs.Run] = {}
    for row in history:
        run, earlier = row.run, before.get(row.run.pipeline)
        address = f"compare/{quote(earlier.id)}/{quote(run.id)}" if compare and earlier else ""
        rows.append([
            _link(run),
            run.pipeline,
            _outcome(row),
            _metric(row),
            "-" if row.change is None else Cell(figure(round(row.change, 12) + 0.0, row.value, sign="+"), row.change),
            _when(run),
            Cell(seconds(run.seconds), run.seconds or 0.0),
            Cell("with the run before" if address else "", link=address),
        ])  # fmt: skip
        before[run.pipeline] = run
    headers = ("run", "pipeline", "outcome", "metric on test", "change", "started", "time", "compare")
    parts: list[Part] = [Table("Runs, newest first", headers, rows[::-1])] if rows else []
    if len(rows) == _MOST_RUNS:
        parts.append(Text(f"The newest {_MOST_RUNS} runs; `benison runs` lists all.", "note"))
    return parts


def _link(run: runs.Run) -> Cell:
    exists = (run.folder / REPORT).is_file()
    return Cell(run.id, link=f"runs/{quote(run.id)}/{REPORT}" if exists else "")


def _outcome(row: ComparedRun) -> Cell:
    text = row.outcome.replace("_", " ")
    return Cell(f"{text}: {row.why}" if row.why else text, mark=_MARKS.get(row.run.outcome, "warn"))


def _metric(row: ComparedRun) -> Cell:
    return Cell("-") if row.value is None else Cell(f"{row.metric} {figure(row.value)}", row.value)


def _when(run: runs.Run) -> Cell:
    return Cell(time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started)), run.started)


def _pushed(run: runs.Run) -> int | None:
    numbers = [output["properties"].get("pushed_version") for output in run.outputs("PushedModel")]
    return next((int(number) for number in numbers if number), None)
