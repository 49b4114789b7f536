"""From a CSV to a blessed ensemble that answers: what the command line promises, on the real chain."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pytest

from benison.pipelines import config_file
from benison.pipelines.records import runs
from benison.pipelines.running import run_lineage, unchanged
from tests.integration import fork_server
from tests.integration.conftest import Project, make
from tests.integration.leaking import WARNING, add_rings

MEMBERS = ("linear", "quadratic", "deep")
ONE_MEMBER = ("--set", "ensemble.members={linear: {epochs: 20, hyperparameters: {learning_rate: 0.03}}}")
AFTER_DEEP = {
    "Tuner.deep",
    "Trainer.deep",
    "MemberScores",
    "EnsembleBuilder",
    "Baseline",
    "EnsembleScores",
    "ColumnImportance",
    "Evaluator",
    "Blessing",
    "ServingValidator",
}


@pytest.fixture
def kept(original: Project) -> Iterator[Project]:
    """Return the project to run again; its files get their content and times back after the test."""
    files = {file: (file.read_bytes(), file.stat()) for file in original.folder.iterdir() if file.is_file()}
    yield original
    for file, (content, stat) in files.items():
        file.write_bytes(content)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_the_first_run_pushes_a_blessed_ensemble_of_three_members(pushed: Project) -> None:
    run = pushed.last_run()
    assert run["outcome"] == "pushed"
    assert {node["state"] for node in run["nodes"]} == {"complete"}
    (examples,) = next(node for node in run["nodes"] if node["id"] == "CsvExampleGen")["outputs"]["examples"]
    assert [Path(file).name for file in json.loads(examples["properties"]["files"])] == ["penguins.csv"]
    (version,) = pushed.versions()
    manifest = json.loads((pushed.base / version / "manifest.json").read_text())
    assert manifest["members"] == list(MEMBERS)
    assert set(manifest["metrics"]) == {*MEMBERS, "ensemble"}
    assert {name.partition("=")[0] for name in manifest["slices"]} == {"island"}
    assert [v["rule"] for v in manifest["verdicts"]] == [
        "better_than_majority",
        "not_worse_than_served",
        "accuracy >= 0.8",
        "accuracy not worse than best_member",
    ]


def test_evaluator_and_scores_agree(pushed: Project) -> None:
    import pandas as pd

    from benison.pipelines.running import evaluations

    run = pushed.last_run()
    outputs = {node["id"]: node["outputs"] for node in run["nodes"]}
    blessing = json.loads((Path(outputs["Blessing"]["blessing"][0]["uri"]) / "blessing.json").read_text())
    table = pd.DataFrame(evaluations.read(Path(outputs["Evaluator"]["evaluation"][0]["uri"]))).set_index("slice")
    assert set(table.index) == {"all", *blessing["slices"]}
    cuts = {**blessing["slices"], "all": {"rows": table.loc["all", "example_count"], "metrics": blessing["metrics"]}}
    for name, cut in cuts.items():
        assert table.loc[name, "example_count"] == cut["rows"]
        assert table.loc[name, "sparse_categorical_accuracy"] == pytest.approx(
            cut["metrics"]["ensemble"]["accuracy"], abs=1e-6
        )
        assert set(cut["metrics"]) >= {*MEMBERS, "ensemble"}


def test_each_member_and_trial_leaves_its_losses_and_event_files(pushed: Project) -> None:
    outputs = {node["id"]: node["outputs"] for node in pushed.last_run()["nodes"]}
    for name, epochs in zip(MEMBERS, (30, 20, 12), strict=True):
        history = json.loads((Path(outputs[f"Trainer.{name}"]["model"][0]["uri"]) / "history.json").read_text())
        assert history["unit"] == "epoch"
        assert set(history["metrics"]) == {"loss", "val_loss"}, "val_loss is the mean of the folds"
        assert 1 <= history["best"] + 1 <= epochs
        assert {len(values) for values in history["metrics"].values()} <= set(range(1, epochs + 1))
        assert list(Path(outputs[f"Trainer.{name}"]["model_run"][0]["uri"]).glob("train/events.*"))
    results = Path(outputs["Tuner.deep"]["tuner_results"][0]["uri"])
    trials = json.loads((results / "tuner_results.json").read_text())
    assert {file.stem for file in (results / "histories").iterdir()} == {trial["trial_id"] for trial in trials}


def test_no_row_is_in_two_splits(pushed: Project) -> None:
    import tensorflow as tf

    run = pushed.last_run()
    (examples,) = next(n["outputs"]["examples"] for n in run["nodes"] if n["id"] == "CsvExampleGen")
    rows = {}
    for split in ("train", "valid", "blend", "test"):
        files = [str(file) for file in Path(examples["uri"]).glob(f"Split-{split}/*")]
        rows[split] = [record.numpy() for record in tf.data.TFRecordDataset(files, compression_type="GZIP")]
        assert rows[split]
    assert sum(map(len, rows.values())) == 344
    sets = [set(records) for records in rows.values()]
    assert len(set.union(*sets)) == sum(map(len, sets))


def test_with_nothing_changed_all_is_cached_and_the_candidate_is_served_already(kept: Project) -> None:
    before = kept.versions()
    for file in (kept.csv, kept.models):
        file.touch()
    again = kept.run()
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"already served as version {before[0]}" in again.stdout
    assert "nothing is served" not in again.stdout
    assert "what each member adds to the ensemble:" in again.stdout
    assert {id for id, state in kept.states().items() if state != "cached"} == {"Pusher"}
    assert kept.versions() == before
    assert kept.last_run()["repeats"], "it ran nodes"
    assert f"report: {kept.root}/runs/{kept.last_run()['id']}/report.html" in again.stdout
    assert "nothing since" in kept.benison("runs", "birds").stdout


def _differs(project: Project) -> str:
    """Return what differs from the last whole run, as the next run finds out."""
    config = config_file.load(project.folder / "birds.yaml")
    return unchanged.Comparison(config, project.root, None).difference()


def _in_metadata(project: Project, run_id: str) -> dict[str, tuple[str, list[tuple[str, int, str]], list[str]]]:
    """Return state, inputs and outputs, and contexts of a run's executions in ML Metadata, by node."""
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    store = run_lineage.open_store(project.root)
    lineage = run_lineage.read(store, runs.read(project.root / "runs" / run_id / "run.json"))
    return {
        entry.node: (
            mlmd.Execution.State.Name(entry.execution.last_known_state),
            sorted((e.type, e.artifact_id, str(e.path)) for e in entry.events),
            sorted(c.name for c in entry.contexts if c.type != "pipeline_run"),
        )
        for entry in lineage.entries
    }


def _of_run(project: Project, run_id: str) -> set[int]:
    store = run_lineage.open_store(project.root)
    context = store.get_context_by_type_and_name("pipeline_run", run_id)
    assert context.custom_properties["benison_cache"].int_value == 1
    return {artifact.id for artifact in store.get_artifacts_by_context(context.id)}


def test_a_run_without_changes_writes_into_ml_metadata_what_a_cached_run_writes(kept: Project) -> None:
    repeated = kept.last_run()
    assert repeated["outcome"] == "already_served"
    before, now = (_in_metadata(kept, run) for run in (repeated["repeats"], repeated["id"]))
    pushed_before, pushed = before.pop("Pusher"), now.pop("Pusher")
    assert {state for state, *_ in now.values()} == {"CACHED"}
    assert {node: rest for node, (_, *rest) in now.items()} == {node: rest for node, (_, *rest) in before.items()}
    assert pushed[0] == "COMPLETE"
    (own,) = _of_run(kept, repeated["id"]) - _of_run(kept, repeated["repeats"])
    (output,) = next(node["outputs"]["pushed_model"] for node in repeated["nodes"] if node["id"] == "Pusher")
    artifact = run_lineage.open_store(kept.root).get_artifacts_by_id([own])[0]
    assert (artifact.uri, artifact.type) == (output["uri"], "PushedModel")
    assert len(pushed[1]) == len(pushed_before[1])
    assert _of_run(kept, repeated["repeats"]) - _of_run(kept, repeated["id"]) <= {a for _, a, _ in pushed_before[1]}


def test_a_run_without_changes_imports_no_tensorflow_and_starts_no_process(kept: Project) -> None:
    script = f"""
import pathlib, subprocess, sys
def refuse(*_, **__): raise AssertionError("a process was started")
subprocess.Popen = refuse
from benison.pipelines import config_file, runner
config = config_file.load(pathlib.Path({str(kept.folder / "birds.yaml")!r}))
run = runner.LocalRunner({str(kept.root)!r}).run_config(config)
print(run.outcome, bool(run.repeats), (run.folder / "report.html").stat().st_size > 800_000)
print([name for name in ("tensorflow", "tfx", "apache_beam") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "already_served True True\n[]\n", done.stderr


def _output(project: Project, node: str, name: str) -> Path:
    outputs = next(n["outputs"] for n in project.last_run()["nodes"] if n["id"] == node)
    return Path(outputs[name][0]["uri"])


def _cut(file: Path) -> Callable[[], object]:
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    return partial(file.write_bytes, content)


def _cut_the_artifact(project: Project) -> Callable[[], object]:
    return _cut(_output(project, "Trainer.linear", "model") / "Format-Serving/saved_model.pb")


def _remove_the_artifact(project: Project) -> Callable[[], object]:
    scores = _output(project, "MemberScores", "scores")
    scores.rename(scores.with_name("aside"))
    return partial(scores.with_name("aside").rename, scores)


def _edit_metadata(statement: str) -> Callable[[Project], Callable[[], object]]:
    def edit(project: Project) -> Callable[[], object]:
        file = project.root / "metadata.sqlite"
        content = file.read_bytes()
        with contextlib.closing(sqlite3.connect(file)) as database, database:
            assert database.execute(statement).rowcount
        return partial(file.write_bytes, content)

    return edit


def _damage_the_served_version(project: Project) -> Callable[[], object]:
    return _cut(project.base / project.versions()[-1] / "saved_model.pb")


def _serve_another_version(project: Project) -> Callable[[], object]:
    models, number = project.root / "serving/models.config", project.versions()[-1]
    content, other = models.read_text(), project.base / str(int(number) + 1)
    shutil.copytree(project.base / number, other)
    models.write_text(content.replace(number, other.name))

    def undo() -> None:
        models.write_text(content)
        shutil.rmtree(other)

    return undo


def _lose_the_record_of_the_run(project: Project) -> Callable[[], object]:
    file = project.root / "runs" / project.last_run()["id"] / "run.json"
    content = file.read_text()
    file.write_text(content.replace('"already_served"', '"interrupted"', 1))
    return partial(file.write_text, content)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (_cut_the_artifact, "outputs of Trainer.linear"),
        (_remove_the_artifact, "outputs of MemberScores"),
        (_edit_metadata("UPDATE Artifact SET state = 4 WHERE id = 1"), "entries in ML Metadata"),
        (_edit_metadata("UPDATE ExecutionProperty SET string_value = 'x' WHERE name = 'label'"), "entries in ML"),
        (_edit_metadata("DELETE FROM Event WHERE execution_id = (SELECT max(id) FROM Execution)"), "entries in ML"),
        (_edit_metadata("DELETE FROM Execution WHERE id = 1"), "Execution 1, which Association names, is missing"),
        (_damage_the_served_version, "damaged"),
        (_serve_another_version, "served.number"),
        (_lose_the_record_of_the_run, "the folder of run"),
    ],
)
def test_a_run_is_not_called_unchanged_after_a_change_in_root(
    kept: Project, change: Callable[[Project], Callable[[], object]], named: str
) -> None:
    assert _differs(kept) == ""
    undo = change(kept)
    try:
        assert named in _differs(kept)
    finally:
        undo()
    assert _differs(kept) == ""


def test_of_an_interrupted_run_the_data_that_it_read_is_compared(kept: Project) -> None:
    config = config_file.load(kept.folder / "birds.yaml")
    run = runs.read(kept.root / "runs" / kept.first_run()["id"] / runs.FILE)
    record, rows = (run.folder / "inputs.json").read_text(), kept.csv.read_text()
    inputs = json.loads(record)
    del inputs["data"]  # which is written when the nodes have ended
    try:
        (run.folder / "inputs.json").write_text(json.dumps(inputs))
        kept.csv.write_text(f"{rows}Adelie,Dream,40,18,190,3500,male,2009\n")
        changed = unchanged.Comparison(config, kept.root, None).changed_since(run)
    finally:
        (run.folder / "inputs.json").write_text(record)
        kept.csv.write_text(rows)
    assert [name for name in changed if not name.startswith("served")] == ["data.0"]


def test_five_predictions_are_answered_one_with_missing_values(original: Project) -> None:
    rows = [
        "island,bill_length_mm,bill_depth_mm,flipper_length_mm,body_mass_g,sex,year",
        "Torgersen,39.1,18.7,181,3750,male,2007",
        "Biscoe,46.1,13.2,211,4500,female,2007",
        "Dream,46.5,17.9,192,3500,female,2007",
        "Torgersen,NA,NA,193,3450,NA,2007",
        "Biscoe,50.0,16.3,230,5700,male,2007",
    ]
    (original.folder / "rows.csv").write_text("\n".join(rows) + "\n")
    answered = original.benison("predict", "birds", "--csv", "rows.csv", "--members")
    assert answered.returncode == 0, answered.stderr
    lines = answered.stdout.splitlines()[-6:]
    assert lines[0].split() == ["row", "ensemble", *MEMBERS]
    assert [line.split()[1] for line in lines[1:]] == ["Adelie", "Gentoo", "Chinstrap", "Adelie", "Gentoo"]

    options = ("--csv", "rows.csv", "--members", "--output", "answers.csv", "--key", "island")
    written = original.benison("predict", "birds", *options)
    assert written.returncode == 0, written.stderr
    assert written.stdout.splitlines()[-1] == "5 predictions written to answers.csv"
    with (original.folder / "answers.csv").open(newline="") as stream:
        answers = list(csv.DictReader(stream))
    assert [answer["prediction"] for answer in answers] == ["Adelie", "Gentoo", "Chinstrap", "Adelie", "Gentoo"]
    assert answers[1]["island"] == "Biscoe"
    assert sum(float(answers[0][f"probability {name}"]) for name in ("Adelie", "Chinstrap", "Gentoo")) == pytest.approx(
        1
    )
    assert f"{MEMBERS[0]} prediction" in answers[0]

    (original.folder / "rows.json").write_text(json.dumps([{"island": "Biscoe", "body_mass_g": "heavy"}]))
    refused = original.benison("predict", "birds", "--json", "rows.json")
    assert refused.returncode == 1
    assert "column 'body_mass_g': got 'heavy'" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_one_edit_in_a_members_function_runs_what_it_is_made_into_and_nothing_else(kept: Project) -> None:
    before = kept.versions()
    edited = kept.models.read_text().replace('activation="relu"', 'activation="elu"')
    assert edited != kept.models.read_text()
    kept.models.write_text(edited)
    done = kept.run()
    ran = {id for id, state in kept.states().items() if state != "cached"}
    assert ran - {"Pusher"} == AFTER_DEEP
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(kept.versions()) == len(before) + 1


def test_shuffled_labels_of_the_same_size_and_time_run_every_node_and_are_not_blessed(kept: Project) -> None:
    import random

    before = kept.versions()
    stat = kept.csv.stat()
    header, *rows = kept.csv.read_text().splitlines()
    labels = [row.partition(",")[0] for row in rows]
    random.Random(1).shuffle(labels)
    shuffled = [f"{label},{row.partition(',')[2]}" for label, row in zip(labels, rows, strict=True)]
    kept.csv.write_text("\n".join([header, *shuffled]) + "\n")
    os.utime(kept.csv, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert kept.csv.stat().st_size == stat.st_size

    done = kept.run(*ONE_MEMBER)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "REFUSED better_than_majority" in done.stdout
    states = kept.states()
    assert states.pop("Blessing") == "not_blessed"
    assert states.pop("ServingValidator") == "skipped"
    assert states.pop("Pusher") == "skipped"
    assert {id for id, state in states.items() if state != "complete"} <= {"SchemaGen", "AnomalyGate"}
    assert kept.versions() == before


@dataclass(frozen=True)
class Continued:
    """A project with an accepted leak whose first run got Ctrl-C, and whose second run went on.

    Attributes:
        project: the project.
        left: the children of the first run that were alive after it.
        code: the exit code of the first run.
        errors: what the first run wrote to stderr.
        first: the outcome of the first run.
        pushed: whether the first run pushed something.
        second: the second run, which resumed the first one.
    """

    project: Project
    left: list[psutil.Process]
    code: int
    errors: bytes
    first: str
    pushed: bool
    second: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def continued(tmp_path_factory: pytest.TempPathFactory) -> Continued:
    project = make(tmp_path_factory.mktemp("continued") / "own")
    add_rings(project)
    with (project.folder / "birds.yaml").open("a") as yaml:
        yaml.write("validation: {severity: {leak: warn}}\n")
    with fork_server.bypassed():
        process = subprocess.Popen(
            project.command("run", "birds.yaml", *ONE_MEMBER),
            cwd=project.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Tests that a shell has started in the background ignore Ctrl-C, and so would their children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    children = []
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        children = psutil.Process(process.pid).children(recursive=True)
        if list(project.root.glob("artifacts/birds/Transform/transform_graph/*")):
            break
        time.sleep(0.1)
    assert children
    process.send_signal(signal.SIGINT)
    _, left = psutil.wait_procs([*children], timeout=15)  # a busy machine
    _, errors = process.communicate(timeout=30)
    first, pushed = project.last_run(), project.base.exists()
    second = project.run("--resume", first["id"])
    return Continued(project, left, process.returncode, errors, first["outcome"], pushed, second)


def test_ctrl_c_leaves_no_process_and_nothing_half_done(continued: Continued) -> None:
    assert not continued.left
    assert continued.code == 130
    assert b"Traceback" not in continued.errors
    assert continued.first == "interrupted"
    assert not continued.pushed


def test_after_ctrl_c_the_run_is_resumed_with_its_parameters(continued: Continued) -> None:
    assert continued.second.returncode == 0, continued.second.stdout + continued.second.stderr
    first, second = continued.project.first_run(), continued.project.last_run()
    assert second["sets"] == first["sets"] == dict([ONE_MEMBER[1].split("=", 1)])
    assert second["part"] == {"resume": first["id"]}
    assert f"from run {first['id']}: CsvExampleGen, " in continued.second.stdout
    states = continued.project.states()
    assert [states[n] for n in ("CsvExampleGen", "StatisticsGen", "ExampleValidator", "AnomalyGate")] == ["cached"] * 4
    executions = {path.name for path in continued.project.root.glob("artifacts/birds/Transform/transform_graph/*")}
    assert len(executions) == 1, "the half-written output of the interrupted Transform is gone"


def test_a_leak_that_is_accepted_is_named_at_the_end_in_the_report_and_by_the_version(continued: Continued) -> None:
    project = continued.project
    assert f"warning: {WARNING}" in continued.second.stdout
    (check,) = [node for node in project.last_run()["nodes"] if node["id"] == "LabelCheck"]
    (output,) = check["outputs"]["report"]
    assert json.loads(output["properties"]["warnings"]) == [WARNING]
    report = json.loads(Path(output["uri"], "label.json").read_text())
    assert report["suspicious"] == ["ring"]
    assert report["columns"]["ring"] == 1
    assert max(value for name, value in report["columns"].items() if name != "ring") < 0.99
    (version,) = project.versions()
    manifest = json.loads((project.base / version / "manifest.json").read_text())
    verdicts = {verdict["rule"]: verdict["reason"] for verdict in manifest["verdicts"]}
    assert verdicts["suspicious column ring"] == f"{WARNING} (accepted)"


def test_a_node_runs_alone_on_outputs_of_earlier_runs_and_never_on_outdated_ones(continued: Continued) -> None:
    project = continued.project
    whole = project.last_run()["id"]
    done = project.run("--only", "MemberScores", *ONE_MEMBER)
    assert done.returncode == 0, done.stdout + done.stderr
    partial_run = project.last_run()
    states = {node["id"]: (node["state"], node["origin"]) for node in partial_run["nodes"]}
    assert states.pop("MemberScores") == ("complete", "")
    assert {state for state, _ in states.values()} == {"cached"}
    assert states["Trainer.linear"][1] == whole
    assert "EnsembleBuilder" not in states
    assert f"from run {whole}: " in done.stdout
    assert "nothing was pushed (--only MemberScores); the served version stays" in done.stdout
    assert "complete, --only MemberScores" in project.benison("runs", "birds").stdout
    assert _differs(project), "a partial run is no whole run"

    content = project.models.read_text()
    linear = "layers.Concatenate()(list(inputs.values()))"
    assert f"return {linear}" in content
    project.models.write_text(content.replace(f"return {linear}", f"return layers.Activation('tanh')({linear})"))
    refused = project.run("--from", "MemberScores", *ONE_MEMBER)
    project.models.write_text(content)
    assert refused.returncode == 2
    assert "Trainer.linear: its outputs cannot be taken from run" in refused.stderr
    assert "(code of " in refused.stderr
