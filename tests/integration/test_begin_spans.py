"""Begin of a pipeline with spans: dates mean spans, and the earlier ones of the window are ingested first."""

from __future__ import annotations

import json

import pytest

from tests.integration.conftest import make
from tests.integration.scheduler import Answered, Scheduler


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scheduler, Answered]:
    project = make(tmp_path_factory.mktemp("spans") / "birds")
    yaml = project.folder / "birds.yaml"
    data = (
        'data: {missing: ["", NA], time: year}\nspans: {window: 2, first: 2007-01, every: month}\nschedule: "@monthly"'
    )
    yaml.write_text(yaml.read_text().replace('data: {csv: penguins.csv, missing: ["", NA]}', data))
    header, *rows = project.csv.read_text().splitlines()
    for number in range(3):
        file = project.folder / f"{number}.csv"
        file.write_text("\n".join([header, *rows[number::3]]) + "\n")
        assert project.benison("span", "add", "birds.yaml", str(file)).returncode == 0
    done = project.benison("compile", "birds.yaml", "--config-only", "-o", "manifests")
    assert done.returncode == 0, done.stderr
    scheduler = Scheduler(project.folder / "manifests/birds.json", project.root, "birds-1")
    return scheduler, scheduler.begin('span="2007-03-01T00:00:00+00:00"', "cache=false")


def test_a_logical_date_is_the_newest_span_of_the_window(begun: tuple[Scheduler, Answered]) -> None:
    scheduler, answered = begun
    assert answered.code == 0, answered.printed
    assert answered.answer["window"] == [2, 3]
    assert scheduler.run_json()["window"] == [2, 3]


def test_the_earlier_spans_are_ingested_by_begin(begun: tuple[Scheduler, Answered]) -> None:
    states = begun[0].states()
    earlier = {name: state for name, state in states.items() if name.endswith("[2]")}
    assert {"CsvExampleGen[2]", "AnomalyGate[2]"} < set(earlier)
    assert set(earlier.values()) == {"complete"}
    assert {state for name, state in states.items() if name not in earlier} == {"waiting"}


def test_what_ingests_them_is_logged_live_and_by_node(begun: tuple[Scheduler, Answered]) -> None:
    scheduler, answered = begun
    assert "CsvExampleGen[2] complete" in answered.printed
    assert (scheduler.folder / "CsvExampleGen[2].log").read_text().strip()


def test_the_tasks_are_the_manifests(begun: tuple[Scheduler, Answered]) -> None:
    scheduler, _ = begun
    own = [name for name in scheduler.states() if not name.endswith("[2]")]
    assert own == [node["id"] for node in scheduler.nodes]
    manifest = json.loads(scheduler.manifest.read_text())
    assert manifest["spans"] == {"first": "2007-01", "every": "month", "first_number": 1}
    assert manifest["schedule"] == "@monthly"
    assert manifest["assets"] == {"model": "benison://birds/model", "spans": "benison://birds/spans"}


def test_a_span_that_has_not_landed_is_refused_without_a_retry(begun: tuple[Scheduler, Answered]) -> None:
    scheduler, _ = begun
    scheduler.finish()  # another run waits for this one
    refused = Scheduler(scheduler.manifest, scheduler.root, "birds-2").begin("span=2008-01")
    assert refused.code == 2
    assert "there is no span 13; the spans are 1, 2, 3" in refused.answer["reason"]
    assert json.loads((scheduler.root / "runs/birds-2/run.json").read_text())["outcome"] == "failed"


def test_a_graph_that_changed_since_is_refused(begun: tuple[Scheduler, Answered]) -> None:
    scheduler, _ = begun
    manifest = json.loads(scheduler.manifest.read_text())
    manifest["nodes"] = manifest["nodes"][:-1]
    other = scheduler.manifest.with_name("changed.json")
    other.write_text(json.dumps(manifest))
    refused = Scheduler(other, scheduler.root, "birds-3").begin()
    assert refused.code == 2
    assert "its nodes changed since it was compiled (Pusher); compile it again" in refused.answer["reason"]
