"""LocalRunner runs any `tfx.dsl.Pipeline`, as TFX's LocalDagRunner does, and records the result of every node."""

from __future__ import annotations

import importlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from benison.pipelines import node, runner
from benison.pipelines.compilation.compiled import Compiled, Node, compile_to
from benison.pipelines.config import Pipeline
from benison.pipelines.records import lineage, runs
from benison.pipelines.runner import LocalRunner
from benison.pipelines.running import code_trial
from benison.pipelines.running.workers import WorkerDied
from benison.serving.errors import DataError, NodeFailed, UsageError
from tests.integration import fork_server
from tests.integration.split_records import split_records

HANDWRITTEN = Path(__file__).parent / "handwritten"
MARK = "BENISON_TEST_PROCESSES"  # in the environment of all processes that these tests start
HALF = "half"


@pytest.fixture(scope="module")
def mark() -> Iterator[str]:
    """Return the mark that the processes of these tests carry in their environment."""
    with pytest.MonkeyPatch.context() as patch:
        value = uuid.uuid4().hex
        patch.setenv(MARK, value)
        yield value


@pytest.fixture(scope="module")
def troubles() -> Iterator[Any]:
    """Import the components that fail, as a user's module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HANDWRITTEN)
        yield importlib.import_module("troubles")


@pytest.fixture(autouse=True)
def no_process_is_left(mark: str) -> Iterator[None]:
    """Check after each test that no process is left."""
    yield
    assert _processes(mark) == []


def _processes(mark: str) -> list[str]:
    """Return the command lines of the processes with a mark in their environment, whatever their parent is."""
    command_lines = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if fork_server.environment_of(int(folder.name)).get(MARK) == mark:
                command_lines.append((folder / "cmdline").read_text())
        except OSError:  # the process has ended
            continue
    return command_lines


@dataclass(frozen=True)
class Records:
    """The records of a pipeline in ML Metadata: states of executions by node, and artifacts by node and key."""

    states: dict[str, list[str]]
    uris: dict[tuple[str, str], str]


def _records(store: Path, pipeline: str) -> Records:
    from ml_metadata import metadata_store
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    handle = metadata_store.MetadataStore(
        mlmd.ConnectionConfig(sqlite=mlmd.SqliteMetadataSourceConfig(filename_uri=str(store), connection_mode=1))
    )
    states: dict[str, list[str]] = {}
    uris = {}
    for context in handle.get_contexts_by_type("node"):
        name = context.name.removeprefix(f"{pipeline}.")
        for execution in sorted(handle.get_executions_by_context(context.id), key=lambda execution: execution.id):
            states.setdefault(name, []).append(mlmd.Execution.State.Name(execution.last_known_state))
            for event in handle.get_events_by_execution_ids([execution.id]):
                if event.type == mlmd.Event.OUTPUT and execution.last_known_state == mlmd.Execution.COMPLETE:
                    (artifact,) = handle.get_artifacts_by_id([event.artifact_id])
                    uris[name, event.path.steps[0].key] = artifact.uri
    return Records(states, uris)


@dataclass(frozen=True)
class Both:
    """A pipeline after one run by TFX and three by Benison, the last with a changed component."""

    tfx: Records
    benison: Records
    runs: list[runs.Run]


@pytest.fixture(scope="module")
def both(mark: str, tmp_path_factory: pytest.TempPathFactory) -> Both:
    folder = tmp_path_factory.mktemp("both")
    data = folder / "data"
    data.mkdir()
    draw = random.Random(1)
    rows = [f"{draw.uniform(0, 10):.3f},{draw.choice(['red', 'green', 'blue'])},{n % 2}" for n in range(200)]
    (data / "rows.csv").write_text("\n".join(["x,colour,y", *rows]) + "\n")
    started = []
    for name in ("tfx", "benison"):
        script = shutil.copytree(HANDWRITTEN, folder / f"{name}_src") / "my_pipeline.py"
        command = [sys.executable, str(script), name, str(data), str(folder / name)]
        with (folder / f"{name}.log").open("w") as log:
            # In another folder than the script's, whose modules Python must find.
            started.append(subprocess.Popen(command, cwd=data, stdout=log, stderr=subprocess.STDOUT))
    for name, process in zip(("tfx", "benison"), started, strict=True):
        assert process.wait(300) == 0, (folder / f"{name}.log").read_text()
    tfx, benison = (_records(folder / name / "own.sqlite", "handwritten") for name in ("tfx", "benison"))
    return Both(tfx, benison, runs.history(folder / "benison"))


def _states(run: runs.Run) -> dict[str, str]:
    return {node.id: node.state for node in run.nodes}


def test_a_handwritten_pipeline_ends_with_the_same_nodes_in_the_same_states_as_by_tfx(both: Both) -> None:
    first = {name: states[:1] for name, states in both.benison.states.items()}
    assert first == both.tfx.states
    shown = {name: [state.upper()] for name, state in _states(both.runs[0]).items() if state != "skipped"}
    # It finds no artifact, and the Trainer needs none: TFX records a failure and goes on.
    assert (both.tfx.states["LatestBest"], shown["LatestBest"]) == (["FAILED"], ["COMPLETE"])
    assert {**shown, "LatestBest": ["FAILED"]} == both.tfx.states


def test_what_a_cond_switches_off_and_what_depends_on_it_is_skipped_and_no_failure(both: Both) -> None:
    reasons = {node.id: node.reason for node in both.runs[0].nodes if node.state == "skipped"}
    assert reasons == {
        "TooMany": "its condition does not hold",
        "Read": "a node that it depends on was skipped",
    }
    assert both.runs[0].outcome == "complete"


@pytest.mark.parametrize(
    "output", [("CsvExampleGen", "examples"), ("Transform", "transformed_examples")], ids="{0[0]}".format
)
def test_splits_and_sets_of_records_are_the_same_as_by_tfx(both: Both, output: tuple[str, str]) -> None:
    by_benison, by_tfx = split_records(Path(both.benison.uris[output])), split_records(Path(both.tfx.uris[output]))
    assert set(by_benison) == {"train", "eval"}
    assert sum(map(len, by_benison.values())) == 200
    assert by_benison == by_tfx


def test_all_outputs_are_there_that_tfx_leaves(both: Both) -> None:
    assert set(both.benison.uris) == set(both.tfx.uris)
    # Transform names the files of its cache after the paths of its inputs.
    for key in set(both.tfx.uris) - {("Transform", "updated_analyzer_cache")}:
        uri = both.tfx.uris[key]
        assert _files(Path(both.benison.uris[key])) == _files(Path(uri)), key


def _files(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}


def test_in_a_second_run_all_that_computes_is_cached(both: Both) -> None:
    states = _states(both.runs[1])
    # A Resolver is never cached; it only looks up the latest artifact.
    assert {name for name, state in states.items() if state == "complete"} == {
        "LatestSchema",
        "LatestBest",
        "LatestBlessed",
    }
    assert {name for name, state in states.items() if state == "skipped"} == {"TooMany", "Read"}
    assert set(states.values()) == {"complete", "skipped", "cached"}


def test_an_edit_in_a_components_body_or_in_a_file_that_it_reads_runs_it_again_and_leaves_the_rest_cached(
    both: Both,
) -> None:
    assert _states(both.runs[2]) == _states(both.runs[1]) | {"Many": "complete", "Surroundings": "complete"}
    assert Path(both.benison.uris["Many", "message"]).read_text() == "200 rows in all"


def test_a_node_finds_in_its_process_what_it_finds_by_tfx(both: Both) -> None:
    found = {}
    for name, records in (("tfx", both.tfx), ("benison", both.benison)):
        found[name] = json.loads(Path(records.uris["Surroundings", "message"]).read_text())
        for variable in (
            "PYTHONPATH",
            "PYTHONUNBUFFERED",
            "TF_CPP_MIN_LOG_LEVEL",
            "TF_ENABLE_ONEDNN_OPTS",
            "KERAS_BACKEND",
            "TMPDIR",
        ):
            found[name]["environment"].pop(variable, None)  # Benison sets these for its workers
    assert found["tfx"]["environment"]["TF_USE_LEGACY_KERAS"] == "1"
    assert found["tfx"]["tf.keras"] == "keras"
    assert found["benison"].pop("environment") == found["tfx"].pop("environment")
    assert found["benison"] == found["tfx"]


def test_a_node_finds_nothing_that_an_earlier_node_in_its_process_has_changed(
    troubles: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")  # as TFT does in this process, whose `tf.keras` is Keras 3
    found = {}
    for name, first in (("disturbed", troubles.Disturbs()), ("fine", troubles.Fine())):
        nodes = [troubles.Finds(before=first.outputs["message"]).with_id(f"{name}{n}") for n in (1, 2)]
        run = LocalRunner(tmp_path / name, workers=1).run(_pipeline(tmp_path / name, "process", first, *nodes))
        for finds in run.nodes[1:]:
            found[finds.id] = json.loads(Path(finds.outputs["message"][0]["uri"]).read_text())
            del found[finds.id]["found"]["environment"]["TMPDIR"]  # of the run
    assert found["disturbed1"]["found"] == found["disturbed2"]["found"] == found["fine1"]["found"]
    assert found["fine1"]["found"]["tf.keras"] == "keras"
    assert len({number for node in found.values() for number in node["numbers"]}) == 4 * 3


def _pipeline(root: Path, name: str, *components: Any, store: Path | None = None) -> Any:
    from tfx.orchestration import metadata
    from tfx.orchestration.pipeline import Pipeline

    return Pipeline(
        pipeline_name=name,
        pipeline_root=str(root / "artifacts" / name),
        components=list(components),
        enable_cache=True,
        metadata_connection_config=metadata.sqlite_metadata_connection_config(str(store)) if store else None,
    )


def _last(root: Path) -> dict[str, Any]:
    """Return the newest run.json."""
    newest = runs.history(root)[-1]
    return dict(json.loads((newest.folder / runs.FILE).read_text()))


def test_what_depends_on_a_skipped_node_from_outside_the_cond_is_skipped_too(troubles: Any, tmp_path: Path) -> None:
    from tfx.dsl.experimental.conditionals.conditional import Cond

    fine = troubles.Fine()
    with Cond(fine.outputs["message"].future().value == "bad"):
        off = troubles.After(before=fine.outputs["message"]).with_id("Off")
    outside = troubles.After(before=off.outputs["message"]).with_id("Outside")
    run = LocalRunner(tmp_path).run(_pipeline(tmp_path, "cond", fine, off, outside))
    assert _states(run) == {"Fine": "complete", "Off": "skipped", "Outside": "skipped"}
    assert run.outcome == "complete"
    assert set(_records(tmp_path / "metadata.sqlite", "cond").states) == {"Fine"}


def test_a_node_whose_inputs_do_not_resolve_is_a_failure(troubles: Any, tmp_path: Path) -> None:
    from tfx.dsl.components.common.resolver import Resolver
    from tfx.dsl.input_resolution.strategies.latest_blessed_model_strategy import LatestBlessedModelStrategy
    from tfx.types.channel import Channel
    from tfx.types.standard_artifacts import Model, ModelBlessing

    blessed = Resolver(
        strategy_class=LatestBlessedModelStrategy,
        model=Channel(type=Model),
        model_blessing=Channel(type=ModelBlessing),
    ).with_id("LatestBlessed")
    needs = troubles.NeedsModel(model=blessed.outputs["model"])
    after = troubles.After(before=needs.outputs["message"])
    with pytest.raises(
        NodeFailed,
        match=r"^NeedsModel: InsufficientInputError: .*inputs\[model\] has min_count = 1 but only got 0 artifacts",
    ):
        LocalRunner(tmp_path).run(_pipeline(tmp_path, "needy", blessed, needs, after))
    last = _last(tmp_path)
    assert last["outcome"] == "failed"
    assert [node["state"] for node in last["nodes"]] == ["complete", "failed", "not_run"]
    assert _records(tmp_path / "metadata.sqlite", "needy").states == {
        "LatestBlessed": ["COMPLETE"],
        "NeedsModel": ["FAILED"],
    }


def test_a_result_of_code_that_was_edited_while_it_ran_is_not_taken_for_that_of_the_old_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "edited_helper.py"
    (tmp_path / "edited.py").write_text(
        """
from pathlib import Path

import edited_helper
from tfx.dsl.component.experimental.annotations import OutputArtifact
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import String


@component
def Says(message: OutputArtifact[String]):
    message.value = edited_helper.WORD
    Path(edited_helper.__file__).write_text("WORD = 'new'")
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    for _ in range(2):
        helper.write_text("WORD = 'old'")
        says = importlib.import_module("edited").Says()
        run = LocalRunner(tmp_path / "root", workers=1).run(_pipeline(tmp_path, "edited", says))
        assert _states(run) == {"Says": "complete"}


@pytest.mark.parametrize("own", [False, True], ids=["store of ROOT", "store of its own"])
def test_a_killed_worker_fails_its_node_and_the_next_run_clears_up(troubles: Any, tmp_path: Path, own: bool) -> None:
    def pipeline() -> Any:
        fine = troubles.Fine()
        deadly = troubles.Deadly(before=fine.outputs["message"], cure=str(tmp_path / "cure"))
        uses = troubles.UsesModel(model=deadly.outputs["model"])
        return _pipeline(tmp_path, "deadly", fine, deadly, uses, store=store if own else None)

    store = tmp_path / ("own.sqlite" if own else "metadata.sqlite")
    with pytest.raises(NodeFailed, match=r"^Deadly: the process was killed by SIGKILL"):
        LocalRunner(tmp_path).run(pipeline())
    last = _last(tmp_path)
    assert last["outcome"] == "failed"
    assert {node["id"]: node["state"] for node in last["nodes"]} == {
        "Fine": "complete", "Deadly": "failed", "UsesModel": "not_run",
    }  # fmt: skip
    assert "SIGKILL" in last["nodes"][1]["reason"]
    (half,) = (tmp_path / "artifacts" / "deadly").glob(f"Deadly/model/*/{HALF}")
    assert _records(store, "deadly").states["Deadly"] == ["RUNNING"]
    temporary = tmp_path / "artifacts/deadly/Deadly/.system/executor_execution" / half.parent.name
    assert temporary.is_dir()

    if own:  # executions of another ROOT may be alive
        ir = node.load_ir(Path(last["folder"]) / "pipeline.json", "another", {})
        assert lineage.abandon_unfinished(ir, tmp_path / "another") == 0

    (tmp_path / "cure").touch()
    assert _states(LocalRunner(tmp_path).run(pipeline())) == {
        "Fine": "cached", "Deadly": "complete", "UsesModel": "complete",
    }  # fmt: skip
    assert _records(store, "deadly").states["Deadly"] == ["CANCELED", "COMPLETE"]
    assert not half.parent.exists()
    assert not temporary.exists()


def _command(ir: Path, name: str, root: Path, run_id: str) -> tuple[int, dict[str, Any], str]:
    """Run a node by its command line; return the exit code, the last line of stdout, and stderr."""
    words = ["--ir", str(ir), "--node", name, "--run-id", run_id, "--root", str(root)]
    environment = {**os.environ, "PYTHONPATH": str(HANDWRITTEN)}
    done = subprocess.run(
        [sys.executable, "-m", "benison.pipelines.node", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.parametrize(
    ("component", "error", "state", "reason", "code"),
    [
        (
            "Raises",
            NodeFailed,
            "failed",
            "ValueError: first line (tests/integration/handwritten/troubles.py, line 93)",
            1,
        ),
        ("Invalid", DataError, "invalid", "rows.csv, line 3: not a number", 4),
        ("Exits", NodeFailed, "failed", "SystemExit: 0 (tests/integration/handwritten/troubles.py, line 104)", 1),
    ],
)
def test_a_component_that_fails_says_why(
    troubles: Any, tmp_path: Path, component: str, error: type[Exception], state: str, reason: str, code: int
) -> None:
    pipeline = _pipeline(tmp_path, "failing", getattr(troubles, component)())
    with pytest.raises(error) as raised:
        LocalRunner(tmp_path).run(pipeline)
    last = _last(tmp_path)
    assert last["outcome"] == state
    (failed,) = last["nodes"]
    assert (failed["state"], failed["reason"]) == (state, reason)
    assert str(raised.value) == f"{component}: {reason} (log: {failed['log']})"
    log = Path(failed["log"]).read_text()
    assert "Traceback (most recent call last)" in log
    assert "troubles.py" in log
    assert [f.name for f in tmp_path.glob(f"artifacts/failing/*/model/*/{HALF}")] == []

    exit_code, result, stderr = _command(Path(last["folder"]) / "pipeline.json", component, tmp_path, "by-hand")
    assert (exit_code, result) == (code, {"state": state, "outputs": {}, "reason": reason, "origin": ""})
    assert "Traceback (most recent call last)" in stderr
    assert _records(tmp_path / "metadata.sqlite", "failing").states == {component: ["FAILED", "FAILED"]}


def test_nodes_run_one_by_one_in_processes_of_their_own(troubles: Any, tmp_path: Path) -> None:
    fine = troubles.Fine()
    after = troubles.After(before=fine.outputs["message"])
    ir = compile_to(_pipeline(tmp_path, "single", fine, after), tmp_path / "single.json").ir
    calls = [("Fine", "one"), ("After", "one"), ("Fine", "two")]
    answers = [_command(ir, name, tmp_path, run_id) for name, run_id in calls]
    assert [code for code, _, _ in answers] == [0, 0, 0]
    assert [result["state"] for _, result, _ in answers] == ["complete", "complete", "cached"]
    (first,), (again,) = (answers[n][1]["outputs"]["message"] for n in (0, 2))
    assert first == again
    assert (first["type"], Path(first["uri"]).read_text()) == ("String", "fine")


def test_a_pipeline_inside_a_pipeline_is_refused(troubles: Any, tmp_path: Path) -> None:
    inner = _pipeline(tmp_path, "inner", troubles.Fine())
    with pytest.raises(UsageError, match=r"^pipeline outer: it has a pipeline inside \(inner\)"):
        compile_to(_pipeline(tmp_path, "outer", inner), tmp_path / "outer.json")


def test_a_node_that_cannot_even_start_still_ends_with_a_line_of_json(tmp_path: Path) -> None:
    code, result, _ = _command(tmp_path / "no.json", "Fine", tmp_path, "one")
    assert (code, result["state"]) == (1, "failed")
    assert result["reason"].startswith("FileNotFoundError: ")


def test_a_second_run_of_a_pipeline_is_refused_and_another_pipeline_is_not(troubles: Any, tmp_path: Path) -> None:
    go = tmp_path / "go"
    waits = _pipeline(tmp_path, "waits", troubles.Waits(file=str(go)))
    first = threading.Thread(target=LocalRunner(tmp_path).run, args=[waits])
    first.start()
    try:
        while not (tmp_path / "go.begun").exists() and first.is_alive():
            time.sleep(0.05)
        (running,) = runs.history(tmp_path)
        with pytest.raises(UsageError, match=f"run {running.id} of pipeline waits is under way"):
            LocalRunner(tmp_path).run(waits)
        other = LocalRunner(tmp_path).run(_pipeline(tmp_path, "other", troubles.Fine()))
        assert other.outcome == "complete"
    finally:
        go.touch()
        first.join()
    assert {run.pipeline: run.outcome for run in runs.history(tmp_path)} == {"waits": "complete", "other": "complete"}


class FragileWorker:
    """Replaces a worker process; the first one dies after its first node, between two requests."""

    instances: ClassVar[list[FragileWorker]] = []

    def __init__(self, temporary: Path) -> None:
        assert temporary.is_dir()
        self.requests: list[dict[str, Any]] = []
        self.instances.append(self)

    def send(self, **request: Any) -> None:
        if self is self.instances[0] and any(earlier["operation"] == "run" for earlier in self.requests):
            raise WorkerDied("the worker process was killed by SIGKILL")
        self.requests.append(request)

    def receive(self) -> dict[str, Any]:
        if self.requests[-1]["operation"] == "run":
            return {"state": "complete", "outputs": {}, "reason": "", "origin": ""}
        ir = Path("pipeline.json")
        nodes = (Node("A", (), "A", "A", ir), Node("B", ("A",), "B", "B", ir))
        return {"compiled": Compiled("fragile", ir, nodes).to_json()}

    def end(self) -> None:
        pass

    def signal(self, number: int) -> None:
        pass

    def wait(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def fragile(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setattr(FragileWorker, "instances", [])
    monkeypatch.setattr(runner, "Worker", FragileWorker)
    monkeypatch.setattr(runner, "first_ready", lambda workers: workers[0])
    monkeypatch.setattr(code_trial, "try_code", lambda *_: "")  # this pipeline has no code
    return Pipeline.model_construct(name="fragile", schema_path=Path("fragile.pbtxt"))


def test_a_worker_that_dies_between_two_nodes_is_replaced(fragile: Pipeline, tmp_path: Path) -> None:
    assert _states(LocalRunner(tmp_path, workers=1).run_config(fragile)) == {"A": "complete", "B": "complete"}
    assert [request.get("node") for request in FragileWorker.instances[1].requests] == ["B"]


class SlowWorker(FragileWorker):
    """Replaces a worker process that does not die; each one but the first is never ready."""

    instances: ClassVar[list[FragileWorker]] = []

    def send(self, **request: Any) -> None:
        self.requests.append(request)


def test_a_worker_that_is_not_ready_takes_no_node(
    fragile: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SlowWorker, "instances", [])
    monkeypatch.setattr(runner, "Worker", SlowWorker)
    assert _states(LocalRunner(tmp_path, workers=2).run_config(fragile)) == {"A": "complete", "B": "complete"}
    first, second = SlowWorker.instances
    assert [request["node"] for request in first.requests if request["operation"] == "run"] == ["A", "B"]
    assert [request["operation"] for request in second.requests] == ["warm_up"]


def test_a_worker_that_is_ready_takes_the_next_node(
    fragile: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SlowWorker, "instances", [])
    monkeypatch.setattr(runner, "Worker", SlowWorker)
    monkeypatch.setattr(runner, "first_ready", lambda workers: workers[-1])
    nodes = (Node("A", (), "A", "A", Path("pipeline.json")), Node("B", (), "B", "B", Path("pipeline.json")))
    compiled = Compiled("fragile", Path("pipeline.json"), nodes)
    monkeypatch.setattr(Compiled, "from_json", lambda data: compiled)
    assert _states(LocalRunner(tmp_path, workers=2).run_config(fragile)) == {"A": "complete", "B": "complete"}
    assert [
        [request["node"] for request in worker.requests if request["operation"] == "run"]
        for worker in SlowWorker.instances
    ] == [["A"], ["B"]]


def test_a_run_that_something_else_breaks_off_has_failed(fragile: Pipeline, tmp_path: Path) -> None:
    def observer(run: runs.Run) -> None:
        if "complete" in _states(run).values():
            raise RuntimeError("the terminal is gone")

    with pytest.raises(RuntimeError, match="the terminal is gone"):
        LocalRunner(tmp_path, observer=observer, workers=1).run_config(fragile)
    last = _last(tmp_path)
    assert (last["outcome"], [node["state"] for node in last["nodes"]]) == ("failed", ["complete", "not_run"])


SCRIPT = """
import sys
from pathlib import Path
from tfx.dsl.component.experimental.annotations import OutputArtifact
from tfx.dsl.component.experimental.decorators import component
from tfx.orchestration.pipeline import Pipeline
from tfx.types.standard_artifacts import String
from benison.pipelines.runner import LocalRunner
from benison.serving.errors import BenisonError

@component
def Hello(message: OutputArtifact[String]):
    message.value = "hello"

def main(root):
    pipeline = Pipeline(pipeline_name="script", pipeline_root=f"{root}/artifacts", components=[Hello()])
    try:
        print(LocalRunner(root).run(pipeline).nodes[0].state)
    except BenisonError as error:
        sys.exit(str(error))
"""


def _script(tmp_path: Path, name: str, end: str) -> subprocess.CompletedProcess[str]:
    """Run a script that defines its own component, in another folder; without a name, Python reads it from stdin."""
    text = f"{SCRIPT}\n{end}({str(tmp_path / 'root')!r})\n"
    if name:
        (tmp_path / name).write_text(text)
    return subprocess.run(
        [sys.executable, tmp_path / name] if name else [sys.executable, "-W", "ignore", "-"],
        input=text,
        cwd=Path("/"),
        capture_output=True,
        text=True,
        timeout=120,
    )


GUARDED, UNGUARDED = "if __name__ == '__main__': main", "main"


def test_a_component_may_stand_in_the_script_that_runs_it(tmp_path: Path) -> None:
    done = _script(tmp_path, "hello.py", GUARDED)
    assert (done.returncode, done.stdout) == (0, "complete\n"), done.stderr
    (message,) = _last(tmp_path / "root")["nodes"][0]["outputs"]["message"]
    assert Path(message["uri"]).read_text() == "hello"


@pytest.mark.parametrize(
    ("name", "end", "message"),
    [
        ("hello.py", UNGUARDED, 'put the call of the runner under `if __name__ == "__main__":`'),
        ("hello.v2.py", GUARDED, "which cannot be imported as 'hello.v2'"),
        ("", GUARDED, "component 'Hello' is defined in a notebook or shell"),
    ],
    ids=["no guard", "no module's name", "no file"],
)
def test_a_component_that_a_worker_cannot_import_is_refused_with_the_remedy(
    tmp_path: Path, name: str, end: str, message: str
) -> None:
    done = _script(tmp_path, name, end)
    assert done.returncode == 1
    assert message in done.stderr
