"""The penguins on a real Airflow: from the form in a browser to a served version, and from the command line."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import sqlite3
import subprocess
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.integration import model_server
from tests.integration.airflow_birds import PATIENCE, compiled
from tests.integration.airflow_here import Here, eventually
from tests.integration.conftest import Project

pytestmark = [pytest.mark.system, pytest.mark.timeout(3600)]

FIELD = "ensemble.members.deep.epochs"


@pytest.fixture(scope="module")
def project(here: Here, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return compiled(here, tmp_path_factory.mktemp("project") / "birds", "birds")


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the screenshots: BENISON_SCREENSHOTS, else a temporary one."""
    folder = Path(os.environ.get("BENISON_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def page(here: Here, browser: Browser) -> Page:
    """Open Airflow's pages, signed in."""
    expect.set_options(timeout=60_000)
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(here.api.url)
    page.locator("input[name=username]").fill("admin")
    page.locator("input[name=password]").fill(here.password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_text("Dags", exact=True).first.wait_for()
    return page


@dataclass(frozen=True)
class Triggered:
    """A finished run that the form started."""

    run: str
    states: dict[str, str]


@pytest.fixture(scope="module")
def triggered(here: Here, project: Project, page: Page, screenshots: Path) -> Triggered:
    page.goto(f"{here.api.url}/dags/birds")
    page.get_by_role("button", name="Trigger").first.click()
    field = page.locator(f'input[name="element_{FIELD}"]')
    expect(field).to_have_value("12")
    expect(page.get_by_role("dialog")).to_contain_text("Member deep, epochs: the maximum number of epochs")
    field.fill("9")
    field.blur()
    page.screenshot(path=screenshots / "airflow-form.png")
    page.get_by_role("dialog").get_by_role("button", name="Trigger").last.click()
    page.wait_for_url("**/dags/birds/runs/*")
    run = page.url.rpartition("/runs/")[2]
    return Triggered(run, here.ended("birds", run, PATIENCE))


def test_every_task_of_a_run_from_the_form_is_green(
    here: Here, triggered: Triggered, page: Page, screenshots: Path
) -> None:
    nodes = {node["id"] for node in json.loads((here.manifests / "birds.json").read_text())["nodes"]}
    assert triggered.states == dict.fromkeys(nodes | {"Begin", "Finish"}, "success")
    page.goto(f"{here.api.url}/dags/birds/runs/{triggered.run}")
    expect(page.get_by_text("Success").first).to_be_visible()
    page.screenshot(path=screenshots / "airflow-run.png")


def test_the_log_in_the_browser_shows_the_nodes_own_output(
    here: Here, triggered: Triggered, page: Page, screenshots: Path
) -> None:
    page.goto(f"{here.api.url}/dags/birds/runs/{triggered.run}/tasks/Trainer.deep")
    expect(page.get_by_text(re.compile(r"\d folds of \d+ rows; best rounds")).first).to_be_visible()
    page.screenshot(path=screenshots / "airflow-log.png")


def test_the_forms_value_is_in_ml_metadata(here: Here, triggered: Triggered) -> None:
    query = "SELECT string_value FROM ExecutionProperty WHERE name = 'custom_config' AND string_value LIKE '%:deep%'"
    with closing(sqlite3.connect(here.root / "metadata.sqlite")) as store:
        recipes = [json.loads(text).get("recipe", {}) for (text,) in store.execute(query)]
    assert 9 in [recipe.get("epochs") for recipe in recipes]


def test_the_blessings_xcom_has_metrics_rules_and_verdicts(here: Here, triggered: Triggered) -> None:
    report = here.api.result("birds", triggered.run, "Blessing")["report"]
    assert set(report["metrics"]) >= {"linear", "deep", "ensemble"}
    assert report["verdicts"]


def test_the_asset_event_names_the_version_that_a_server_now_answers_with(
    here: Here, triggered: Triggered, page: Page, screenshots: Path, tmp_path: Path
) -> None:
    (event,) = here.api.events("benison://birds/model")
    pushed = event["extra"]
    assert Path(pushed["manifest"]).is_file()
    assert pushed["metrics"]["accuracy"] >= 0.8
    flags = ("--model_name=birds", f"--model_base_path={here.root / 'serving/birds'}")
    with model_server.running(tmp_path, *flags) as server:
        eventually(lambda: server.states("birds") == {str(pushed["version"]): "AVAILABLE"})
    page.goto(f"{here.api.url}/assets")
    page.get_by_role("link", name="benison://birds/model").click()
    expect(page.get_by_text("1 Asset Event")).to_be_visible()
    page.screenshot(path=screenshots / "airflow-asset.png")


def on_airflow(here: Here, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    from tests.integration.conftest import BENISON

    kept = {name: value for name, value in os.environ.items() if not name.startswith("BENISON_")}
    command = [str(BENISON), "run", *words, "--on", "airflow", "--root", str(here.root)]
    environment = {**kept, **here.environment, "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("bird",), "no DAG 'bird'; did you mean 'birds'?"),
        (("birds", "--param", "ensemble.members.deep.epoch=3"), "no such field in the form; did you mean"),
        (("birds", "--param", "seed=seven"), "seed: got 'seven', expected integer as in JSON"),
        (("birds", "--param", "seed=-1"), "-1 is less than the minimum of 0"),
    ],
)
def test_a_wrong_command_starts_nothing_on_airflow(
    here: Here, project: Project, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    done = on_airflow(here, tmp_path, *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr


def test_shuffled_labels_end_green_with_the_push_skipped_and_the_command_line_says_why(
    here: Here, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project = compiled(here, tmp_path_factory.mktemp("shuffled") / "noise", "noise")
    with project.csv.open() as file:
        header, *rows = csv.reader(file)
    column = header.index("species")
    labels = [row[column] for row in rows]
    random.Random(1).shuffle(labels)
    for row, label in zip(rows, labels, strict=True):
        row[column] = label
    with project.csv.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    done = on_airflow(here, project.folder, "noise", "--param", f"{FIELD}=2")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "Blessing not blessed" in done.stdout
    assert "Pusher skipped" in done.stdout
    assert "not blessed: nothing was pushed" in done.stdout
    (run,) = here.api.runs("noise")
    assert run["state"] == "success"
    assert here.api.events("benison://noise/model") == []
    verdicts = [event["extra"] for event in here.api.events("benison://noise/verdict")]
    assert ["accuracy" in verdict["reason"] for verdict in verdicts if not verdict["blessed"]] == [True]
