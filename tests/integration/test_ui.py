"""The index of a ROOT, two runs compared, and `benison ui`, which serves both and the progress of runs, and no more."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benison.pipelines.records import locks, runs
from benison.pipelines.reports import compare, index_page
from tests.integration.conftest import BENISON, Project


@pytest.fixture(scope="module")
def project(pushed: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project with a second run, which failed: its name is a stranger's, and it has other numbers."""
    project = pushed.copy(tmp_path_factory.mktemp("two") / "runs of birds")
    first = project.root / "runs" / project.first_run()["id"]
    second = shutil.copytree(first, first.with_name(f"{first.name}-b"))
    record = json.loads((second / runs.FILE).read_text())
    record |= {"id": second.name, "folder": str(second), "started": record["started"] + 60, "outcome": "failed"}
    record["sets"] = {"seed": "8"}
    trainer = next(node for node in record["nodes"] if node["id"] == "Trainer.deep")
    trainer |= {"state": "failed", "reason": "<img src=x onerror=alert(1)>", "seconds": 1.0}
    (second / runs.FILE).write_text(json.dumps(record))
    index_page.refresh(project.root)
    return project


def ids(project: Project) -> tuple[str, str]:
    first, second = sorted((run.id for run in runs.history(project.root)), key=len)
    return first, second


def test_the_index_lists_pipelines_runs_and_versions_with_their_reports(project: Project) -> None:
    first, second = ids(project)
    (number,) = project.versions()
    page = (project.root / index_page.FILE).read_text()
    assert f"birds/{number}" in page
    assert "accuracy 0.9" in page
    assert f'href="runs/{first}/report.html"' in page or not (project.root / "runs" / first / "report.html").is_file()
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "<img" not in page
    assert page.index(second) < page.index(f">{first}<", page.index('id="runs"'))  # newest first
    assert "under-way" not in page


def test_promotions_and_rollbacks_bring_the_index_up_to_date(pushed: Project, tmp_path: Path) -> None:
    project = pushed.copy(tmp_path / "copy")
    (number,) = project.versions()
    (project.root / index_page.FILE).unlink(missing_ok=True)
    done = project.benison("promote", "birds", number)
    assert done.returncode == 0, done.stderr
    assert f"birds/{number}" in (project.root / index_page.FILE).read_text()
    done = project.benison("rollback", "birds", "--republish", "--to", number)
    assert done.returncode == 0, done.stderr
    page = (project.root / index_page.FILE).read_text()
    assert [f"birds/{version}" in page for version in project.versions()] == [True, True]


def test_an_index_that_cannot_be_written_is_one_warning(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    index_page.refresh(project.root / "no" / "such")
    assert len(capsys.readouterr().err.splitlines()) <= 1


def test_two_runs_are_compared_with_paired_intervals(project: Project, tmp_path: Path) -> None:
    first, second = ids(project)
    done = project.benison("compare", first, second, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["parameters"] == [{"name": "--set seed", "before": "", "now": "8"}]
    assert [(each["name"], each["equal"]) for each in found["data"]] == [("penguins.csv", True)]
    accuracy = next(each for each in found["metrics"] if each["name"] == "accuracy")
    assert (accuracy["gain"], accuracy["low"], accuracy["high"]) == (0.0, 0.0, 0.0)
    trainer = next(each for each in found["nodes"] if each["node"] == "Trainer.deep")
    assert (trainer["state_now"], trainer["now"]) == ("failed", 1.0)
    assert {each["name"] for each in found["slices"]} >= {"island=Dream"}
    done = project.benison("compare", first, second, "-o", str(tmp_path / "two.html"))
    assert done.returncode == 0, done.stderr
    assert "--set seed" in (tmp_path / "two.html").read_text()
    done = project.benison("compare", first, "brids")
    assert (done.returncode, "did you mean 'birds'" in done.stderr) == (2, True)


def test_without_scores_of_both_runs_there_are_no_intervals(pushed: Project, tmp_path: Path) -> None:
    project = pushed.copy(tmp_path / "copy")
    shutil.rmtree(project.root / "artifacts/birds/EnsembleScores")
    run = runs.history(project.root)[-1]
    found = compare.plain(compare.Comparison(project.root, run, run))
    assert [each["equal"] for each in found["data"]] == [True]
    assert {each["gain"] for each in found["metrics"]} == {None}
    assert any("no intervals" in note for note in found["notes"])


def test_files_without_a_recorded_hash_are_not_said_to_be_equal(pushed: Project, tmp_path: Path) -> None:
    project = pushed.copy(tmp_path / "copy")
    (run,) = runs.history(project.root)
    for output in run.outputs("Examples"):
        output["properties"].pop("contents", None)  # as of an earlier release
    run.save()
    compared = compare.Comparison(project.root, run, run)
    assert [each["equal"] for each in compare.plain(compared)["data"]] == [None]
    assert "unknown" in compare.html(compared)


# --- benison ui -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ui:
    process: subprocess.Popen[str]
    port: int

    def get(self, path: str, host: str = "localhost", method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("Host", host)
        connection.endheaders()
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, text


@pytest.fixture(scope="module")
def ui(project: Project) -> Iterator[Ui]:
    process = subprocess.Popen(
        [str(BENISON), "ui", "--port", "0"],
        cwd=project.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "http://127.0.0.1:" in line, line
    yield Ui(process, int(line.split("http://127.0.0.1:")[1].split("/")[0]))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")


def test_the_ui_serves_index_reports_and_comparisons(ui: Ui, project: Project) -> None:
    first, second = ids(project)
    status, page = ui.get("/")
    assert status == 200
    assert 'id="progress"' in page
    assert f'href="compare/{first}/{second}"' in page
    status, page = ui.get(f"/compare/{first}/{second}")
    assert (status, "--set seed" in page) == (200, True)
    report = project.root / "runs" / first / "report.html"
    assert ui.get(f"/runs/{first}/report.html")[0] == (200 if report.is_file() else 404)
    assert ui.get("/", method="HEAD") == (200, "")


@pytest.mark.parametrize(
    "path",
    [
        "/runs/../metadata.sqlite",
        "/runs/..%2f..%2fbirds.yaml/report.html",
        "/runs/%2e%2e/report.html",
        "/runs/../../report.html",
        "/metadata.sqlite",
        "/runs/",
        "/compare/a/b",
        "/compare/../..",
        "//etc/passwd",
        "/%00",
    ],
)
def test_the_ui_serves_no_other_file(ui: Ui, path: str) -> None:
    assert ui.get(path)[0] == 404


def test_the_ui_answers_only_for_this_machine_and_only_reads(ui: Ui) -> None:
    assert ui.get("/", host="evil.example")[0] == 421
    assert ui.get("/progress.json", host="evil.example:80")[0] == 421
    assert ui.get("/", host="127.0.0.1:8600")[0] == 200
    assert ui.get("/", method="POST")[0] == 501
    with socket.create_connection(("127.0.0.1", ui.port)) as connection:
        assert connection.getpeername()[0] == "127.0.0.1"


def test_the_ui_shows_the_progress_of_a_run_that_is_under_way(ui: Ui, project: Project) -> None:
    assert json.loads(ui.get("/progress.json")[1]) == []
    with locks.pipeline_lock(project.root, "geese", "geese-1"):
        folder = project.root / "runs" / "geese-1"
        nodes: list[Any] = [runs.NodeRun("A", "A", "a", "complete"), runs.NodeRun("B", "B", "b", "running")]
        folder.mkdir()
        runs.Run("geese-1", "geese", folder, 1.0, nodes=nodes).save()
        (shown,) = json.loads(ui.get("/progress.json")[1])
        shutil.rmtree(folder)
    assert (shown["id"], shown["done"], shown["nodes"], shown["running"]) == ("geese-1", 1, 2, ["B"])


def test_a_port_that_is_taken_is_one_clear_line(ui: Ui, project: Project) -> None:
    done = project.benison("ui", "--port", str(ui.port))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"--port {ui.port}: 127.0.0.1:{ui.port}: Address already in use" in done.stderr
