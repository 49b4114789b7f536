"""Trackers of runs: TensorBoard and MLflow with real servers, Weights & Biases offline, and a tracker that is down."""

from __future__ import annotations

import csv
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from benison.pipelines import config_file
from benison.pipelines.records import runs
from benison.pipelines.tracking import outbox, sending
from benison.serving.predict import predict
from benison.serving.versions import local
from tests.integration.conftest import Project
from tests.integration.model_server import free_port
from tests.waiting import eventually


@contextmanager
def _tensorboard(project: Project) -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen(
        project.command("tensorboard", "birds", "--port", str(port)),
        cwd=project.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


def test_tensorboard_shows_the_losses_of_each_member_and_trial_under_their_nodes(pushed: Project) -> None:
    run = pushed.last_run()["id"]
    names = {"Trainer.linear", "Trainer.quadratic", "Trainer.deep", "Tuner.deep/0", "Tuner.deep/1"}
    expected = {f"{run}/{name}/{part}" for name in names for part in ("train", "validation")}
    with _tensorboard(pushed) as url:
        tags: dict[str, Any] = {}

        def is_shown() -> bool:
            with suppress(OSError):
                tags.update(_get(f"{url}/data/plugin/scalars/tags"))
            return set(tags) >= expected

        eventually(is_shown, 120, lambda: tags)
        assert set(tags) == expected
        assert {tag for of_run in tags.values() for tag in of_run} == {"epoch_loss"}
        points = _get(f"{url}/data/plugin/scalars/scalars?run={run}/Trainer.linear/train&tag=epoch_loss")
    losses = [value for _, _, value in points]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["other"], "no run of other in .* has event files: a Trainer writes them"),
        (["birds", "--run", "birds-1"], "has no run of birds with this id"),
    ],
)
def test_a_run_without_event_files_is_refused(pushed: Project, words: list[str], error: str) -> None:
    refused = pushed.benison("tensorboard", *words)
    assert refused.returncode == 2
    assert re.search(error, refused.stderr)


@pytest.fixture
def tracked(pushed: Project, tmp_path: Path) -> Project:
    """Return a copy of the project, to promote and roll back in."""
    return pushed.copy(tmp_path / "own")


def _track(project: Project, settings: str) -> sending.Sent:
    """Set the trackers, and tell them about the last run."""
    yaml = project.folder / "birds.yaml"
    yaml.write_text(f"{yaml.read_text().partition('tracking:')[0]}tracking: {settings}\n")
    run = runs.read(project.root / "runs" / project.last_run()["id"] / "run.json")
    return sending.after_run(project.root, run, config_file.load(yaml))


def test_a_damaged_event_is_told_once_and_holds_up_no_other(tracked: Project) -> None:
    folder = tracked.root / "tracking" / "outbox"
    folder.mkdir(parents=True)
    (folder / "000-mlflow-x.json").write_text('{"kind":"run"')
    (warning,) = _track(tracked, "{mlflow: 'http://127.0.0.1:9'}").warnings
    assert "refused/000-mlflow-x.json was damaged in the outbox and is not sent" in warning
    assert _waiting(tracked) == ["run"]
    (warning,) = sending.send(tracked.root, config_file.load(tracked.folder / "birds.yaml")).warnings
    assert "was damaged" not in warning


def _waiting(project: Project) -> list[str]:
    return [event["kind"] for _, _, event in outbox.waiting(project.root, "birds")]


@contextmanager
def _mlflow(folder: Path, port: int) -> Iterator[str]:
    """Run MLflow's own server."""
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    command = [str(Path(sys.executable).with_name("mlflow")), *words]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}"

    def is_up() -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5):
            return True
        return False

    try:
        eventually(is_up, 180, (folder / "log").read_text)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its workers, too; nothing of it is needed later
        process.wait(60)


_LOAD = """
import sys
import mlflow, pandas
mlflow.set_tracking_uri(sys.argv[1])
rows = pandas.read_csv(sys.argv[2]).head(20)
print(mlflow.pyfunc.load_model("models:/birds@stable").predict(rows).to_json(orient="records"))
"""


@pytest.mark.system  # MLflow's server takes some 20 s of processor time
def test_mlflow_has_each_run_once_and_its_alias_is_the_stable_version(tracked: Project, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    (first,) = tracked.versions()
    port, run = free_port(), tracked.last_run()["id"]
    settings = f"{{mlflow: 'http://bob:hidden@127.0.0.1:{port}', experiment: zoo}}"
    assert "1 event waits" in _track(tracked, settings).warnings[0]
    back = tracked.benison("rollback", "birds.yaml", "--to", first, "--republish", "--why", "as a trial")
    assert back.returncode == 0, back.stdout + back.stderr
    assert "2 events wait" in back.stderr
    assert _waiting(tracked) == ["run", "label"]
    second = tracked.versions()[-1]

    with _mlflow(tmp_path, port) as url:
        sent = tracked.benison("track", "birds.yaml")
        assert (sent.returncode, sent.stdout) == (0, "2 events sent\n"), sent.stderr
        client = MlflowClient(url, url)
        experiment = client.get_experiment_by_name("zoo").experiment_id
        (logged,) = client.search_runs([experiment])
        assert logged.info.run_name == logged.data.tags["benison.run"] == run
        assert logged.data.tags["benison.outcome"] == "pushed"
        assert logged.data.tags["verdict.better_than_majority"].startswith("passed: ")
        assert logged.data.params["ensemble.members.deep.epochs"] == "12"
        blessing = next(node for node in tracked.last_run()["nodes"] if node["id"] == "Blessing")["outputs"]
        metrics = json.loads((Path(blessing["blessing"][0]["uri"]) / "blessing.json").read_text())["metrics"]
        assert logged.data.metrics["ensemble/accuracy"] == pytest.approx(metrics["ensemble"]["accuracy"])
        assert logged.data.metrics["deep/log_loss"] == pytest.approx(metrics["deep"]["log_loss"])
        files = {file.path for file in client.list_artifacts(logged.info.run_id)}
        assert files >= {"blessing.json", "pipeline.yaml"}

        def stable() -> str:
            version = client.get_model_version_by_alias("birds", "stable")
            assert version.source.endswith(f"/model-{version.tags['benison.version']}")
            return str(version.tags["benison.version"])

        assert stable() == second
        loaded = subprocess.run(
            [sys.executable, "-c", _LOAD, url, tracked.csv], capture_output=True, text=True, timeout=240
        )
        assert loaded.returncode == 0, loaded.stderr
        answers = json.loads(loaded.stdout)
        rows = list(csv.DictReader(tracked.csv.read_text().splitlines()))[:20]
        version = local.find(tracked.base, int(second))
        assert version is not None
        expected = predict(version, rows)
        assert [answer.pop("decision") for answer in answers] == [each.decision for each in expected]
        assert answers == [pytest.approx(each.output, abs=1e-6) for each in expected]
        back = tracked.benison("rollback", "birds.yaml", "--to", first)
        assert (back.returncode, back.stderr) == (0, "")
        assert stable() == first
        assert tracked.benison("promote", "birds.yaml", second).returncode == 0
        assert stable() == second

        assert _track(tracked, settings).warnings == ()
        assert len(client.search_runs([experiment])) == 1
        assert len(client.search_model_versions("name = 'birds'")) == 2
        assert stable() == second, "an old event moves no alias"
        assert _waiting(tracked) == []


def test_a_tracker_that_is_down_costs_one_warning_and_shows_no_secret(tracked: Project) -> None:
    settings = f"{{mlflow: 'http://bob:hidden@127.0.0.1:{free_port()}/?token=hidden'}}"
    for count in ("1 event waits", "2 events wait"):
        (warning,) = _track(tracked, settings).warnings
        assert count in warning
        assert "Connection refused" in warning
        assert "hidden" not in warning
    missed = tracked.benison("track", "birds.yaml")
    assert (missed.returncode, missed.stdout) == (1, "0 events sent\n")
    assert "hidden" not in missed.stderr
    assert not [
        file for file in outbox.folder(tracked.root).rglob("*") if file.is_file() and b"hidden" in file.read_bytes()
    ]


def test_a_tracker_that_answers_and_then_hangs_holds_up_neither_the_run_nor_another_tracker(tracked: Project) -> None:
    end = threading.Event()

    class Hanging(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/health":
                end.wait(120)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hanging) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            sent = _track(tracked, f"{{mlflow: 'http://127.0.0.1:{server.server_port}', wandb: offline}}")
        finally:
            end.set()
            server.shutdown()
    (warning,) = sent.warnings
    assert "no answer within 8 s; 1 event waits" in warning
    assert (sent.count, [tracker for tracker, *_ in outbox.waiting(tracked.root, "birds")]) == (1, ["mlflow"])


def test_wandb_has_a_run_of_each_event_in_its_files(tracked: Project) -> None:
    assert _track(tracked, "{wandb: offline}") == sending.Sent(1)
    assert _track(tracked, "{wandb: offline}") == sending.Sent(1)
    (folder,) = (outbox.folder(tracked.root) / "wandb").glob("offline-run-*")
    run = tracked.last_run()["id"]
    assert folder.name.endswith(run)
    (record,) = folder.glob("*.wandb")
    content = record.read_bytes()
    for text in (run, "ensemble/accuracy", "ensemble.members.deep.epochs", "verdict.better_than_majority"):
        assert text.encode() in content
    assert _waiting(tracked) == []


def test_without_trackers_nothing_is_written_and_there_is_nothing_to_send(tracked: Project) -> None:
    assert _track(tracked, "{}") == sending.Sent()
    assert not outbox.folder(tracked.root).exists()
    refused = tracked.benison("track", "birds.yaml")
    assert refused.returncode == 2
    assert "there is no tracker in its YAML" in refused.stderr
