"""Months of flights on a real Airflow with real nodes: a backfill, a new month, and months with invalid data.

Only one row in four and one member are used, because most of the time goes into importing TensorFlow for each node.
"""

from __future__ import annotations

import csv
import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.integration.airflow_here import Here, Hook, eventually, running
from tests.integration.conftest import BENISON, CLONE

pytestmark = [pytest.mark.system, pytest.mark.soak, pytest.mark.timeout(7200)]

PATIENCE = 1800  # seconds for a run on a busy machine
KEPT = 4  # keep one row in so many
BACKFILLED, ADDED = (3, 4, 5), 6
# Spans never change, so each variant of the added month has its own number; a run uses the newest span.
CURRENCY, NULLS, SOUND = 6, 7, 8
Row = dict[str, str]


@dataclass(frozen=True)
class Months:
    """The flights as a user's project, on its own Airflow."""

    folder: Path
    source: Path
    here: Here

    def thinned(self, month: int, to: Path, changed: Callable[[Row], Row] = dict) -> Path:
        """Write a month with fewer rows."""
        _thin(self.source / f"{month}.csv", to, changed)
        return to

    def add(self, file: Path, number: int) -> subprocess.CompletedProcess[str]:
        """Run `benison span add`, which notifies this Airflow."""
        words = ("span", "add", "flights.yaml", str(file), "--number", str(number), "--root", str(self.here.root))
        # The variants of a month share most of their rows.
        return _benison(self.folder, self.here.environment, *words, "--allow-repeated")

    def asset_triggered(self) -> list[str]:
        """Return the runs that a new span started, oldest first."""
        runs = self.here.api.runs("flights")
        return [str(run["dag_run_id"]) for run in runs if run["run_type"] == "asset_triggered"]

    def run_of_added(self, file: Path, number: int) -> tuple[str, dict[str, str]]:
        """Add a span, wait for the run that it starts, and return the run's id and the states of its tasks."""
        before = self.asset_triggered()
        done = self.add(file, number)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "notified Airflow at" in done.stdout
        eventually(lambda: len(self.asset_triggered()) == len(before) + 1, PATIENCE)
        (run,) = set(self.asset_triggered()) - set(before)
        return run, self.here.ended("flights", run, PATIENCE)

    def after(self, task: str) -> set[str]:
        """Return every node downstream of a task, without Finish, which always runs."""
        downstream, reached = self.here.api.downstream("flights"), {task}
        while more := {later for node in reached for later in downstream[node]} - reached:
            reached |= more
        return reached - {task, "Finish"}

    def versions(self) -> set[str]:
        """Return the pushed versions."""
        return {path.name for path in (self.here.root / "serving/flights").glob("[0-9]*")}


def _thin(source: Path, to: Path, changed: Callable[[Row], Row]) -> None:
    with source.open(newline="") as whole, to.open("w", newline="") as thin:
        reader = csv.DictReader(whole)
        writer = csv.DictWriter(thin, reader.fieldnames or [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(changed(row) for number, row in enumerate(reader) if number % KEPT == 0)


def _in_another_currency(row: Row) -> Row:
    """Multiply the values of one source by a factor, as another currency or unit would."""
    return {**row, "distance": f"{int(row['distance']) * 110}"} if row["origin"] == "JFK" else row


def _benison(folder: Path, more: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BENISON_")}
    environment = {**kept, **more, "COLUMNS": "200"}
    return subprocess.run(
        [str(BENISON), *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory, hook: Hook) -> Iterator[Months]:
    from benison.pipelines.flights.source import write

    folder, source = tmp_path_factory.mktemp("flights"), tmp_path_factory.mktemp("source")
    write(source)
    (folder / "months").mkdir()
    for month in BACKFILLED:
        _thin(source / f"{month}.csv", folder / f"months/{month}.csv", dict)
    shutil.copytree(CLONE / "configs/schemas", folder / "schemas")
    config = yaml.safe_load((CLONE / "configs/flights.yaml").read_text())
    del config["data"]["source"]
    config["data"]["csv"] = "months/{SPAN}.csv"
    config["spans"]["window"] = 1
    config["slices"] = ["origin"]
    linear = {**config["ensemble"]["members"]["linear"], "epochs": 2, "batch_size": 64}
    config["ensemble"] = {"members": {"linear": linear}}
    config["blessing"] = {"resamples": 200}
    config["serving"] = {"budget": {"load_s": 600, "p99_ms": 5000}}  # latency does not matter here
    (folder / "flights.yaml").write_text(yaml.safe_dump(config))
    manifests, root = folder / "manifests", folder / "root"
    done = _benison(folder, {}, "compile", "flights.yaml", "--config-only", "-o", str(manifests), "--root", str(root))
    assert done.returncode == 0, done.stderr
    with running(folder, manifests, root, {"BENISON_NOTIFY": hook.url}) as here:
        yield Months(folder, source, here)


def test_a_backfill_goes_month_by_month_and_the_older_months_are_stored_and_not_promoted(months: Months) -> None:
    here = months.here
    here.airflow("dags", "unpause", "flights_by_date")
    words = ("--dag-id", "flights_by_date", "--from-date", "2013-03-01", "--to-date", "2013-05-01")
    # The newest month first, so that the others are older than what is served.
    here.create_backfill(*words, "--run-backwards", "--max-active-runs", "1")
    runs = [f"by_date__2013-{month:02}-01" for month in reversed(BACKFILLED)]
    for run in runs:
        eventually(lambda run=run: run in {dag_run["dag_run_id"] for dag_run in here.api.runs("flights")}, PATIENCE)  # type: ignore[misc]
        assert set(here.ended("flights", run, PATIENCE).values()) == {"success"}
    times = [(dag_run["start_date"], dag_run["end_date"]) for dag_run in (here.api.run("flights", run) for run in runs)]
    assert all(ended <= started for (_, ended), (started, _) in itertools.pairwise(times))
    newest, *older = (here.api.result("flights", run, "Pusher")["report"] for run in runs)
    assert newest["promoted"]
    assert newest["spans"] == [5]
    events = {event["source_run_id"]: event["extra"] for event in here.api.events("benison://flights/model")}
    for month, run, report in zip((4, 3), runs[1:], older, strict=True):
        reason = f"its newest span is {month}, and version {newest['version']}, which is served, was trained on span 5"
        assert (report["promoted"], report["not_promoted"]) == (False, reason)
        assert events[run]["not_promoted"] == reason
        assert f"not promoted: {reason}" in here.api.log("flights", run, "Pusher")
    assert months.versions() == {str(report["version"]) for report in (newest, *older)}

    def states() -> set[str]:
        return {dag_run["state"] for dag_run in here.api.runs("flights_by_date") if dag_run["run_type"] == "backfill"}

    eventually(lambda: states() == {"success"})


@pytest.mark.parametrize(
    ("number", "changed", "kind", "column"),
    [
        pytest.param(CURRENCY, _in_another_currency, "drift", "distance", id="currency"),
        pytest.param(NULLS, lambda row: {**row, "dest_lat": "NA"}, "presence", "dest_lat", id="nulls"),
    ],
)
def test_a_corrupted_month_is_red_at_the_gate_and_nothing_comes_after_it(
    months: Months, hook: Hook, tmp_path: Path, number: int, changed: Callable[[Row], Row], kind: str, column: str
) -> None:
    here, before, red = months.here, months.versions(), "AnomalyGate"
    run, states = months.run_of_added(months.thinned(ADDED, tmp_path / "corrupted.csv", changed), number)
    assert states[red] == "failed"
    assert here.api.run("flights", run)["state"] == "failed"
    assert here.api.tasks("flights", run)[red]["try_number"] == 1
    after = months.after(red)
    assert {"SpanWindow", "Transform", "Trainer.linear", "Blessing", "Pusher"} < after
    assert {states[task] for task in after} == {"upstream_failed"}
    anomaly = f"{column!r} ({kind})"
    assert anomaly in here.api.result("flights", run, red)["reason"]
    assert anomaly in here.api.log("flights", run, red)
    eventually(lambda: hook.about("flights", run) == [("invalid", red)])
    assert months.versions() == before


def test_a_new_month_starts_a_run(months: Months, tmp_path: Path) -> None:
    before = months.versions()
    run, states = months.run_of_added(months.thinned(ADDED, tmp_path / "june.csv"), SOUND)
    assert set(states.values()) == {"success"}
    report = months.here.api.result("flights", run, "Pusher")["report"]
    assert report["promoted"]
    assert report["version"] not in before
    (event,) = [event for event in months.here.api.events("benison://flights/model") if event["source_run_id"] == run]
    assert event["extra"]["version"] == report["version"]
