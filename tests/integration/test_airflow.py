"""On a real Airflow, a task has the result of its node, and no process outlives its task."""

from __future__ import annotations

import html
import json
import os
import shutil
import signal
import stat
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from benison.pipelines.records import locks, runs
from benison.serving.errors import UsageError
from tests.integration.airflow_bad import bad_ones
from tests.integration.airflow_here import ACTS, CLONE, Here, Hook, Mailbox, alive, eventually, running, write

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]


def test_a_run_that_goes_well_is_green_and_says_what_was_pushed(here: Here) -> None:
    run, states = here.act("acts_well")
    assert states == dict.fromkeys(("Begin", "Acts", "After", "Pusher", "Finish"), "success")
    (event,) = [event for event in here.api.events("benison://acts_well/model") if event["source_run_id"] == run]
    assert event["source_task_id"] == "Pusher"
    assert event["extra"] == {"version": 7, "path": "/versions/7", "metrics": {"accuracy": 0.9}}
    assert "this is node Acts, attempt 1" in here.api.log("acts_well", run, "Acts")


def test_a_step_sees_the_forms_values_and_no_setting_of_airflows(here: Here) -> None:
    run = here.api.trigger("acts_well", conf={"seed": 11})
    here.ended("acts_well", run)
    begun = json.loads(here.acted("acts_well", run, "begin").read_text())
    assert "--param=seed=11" in begun["argv"]
    assert begun["argv"][begun["argv"].index("--manifest") + 1] == str(here.manifests / "acts_well.json")
    seen = begun["environment"]
    assert seen["BENISON_ROOT"] == str(here.root)
    assert [name for name in seen if "AIRFLOW" in name or name in ("PYTHONPATH", "VIRTUAL_ENV")] == []


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"seed": -1}, "Invalid input for param seed: -1 is less than the minimum of 0"),
        ({"seed": "many"}, "Invalid input for param seed: 'many' is not of type 'integer'"),
    ],
)
def test_a_value_that_the_form_does_not_allow_starts_nothing(here: Here, conf: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        here.api.trigger("acts_well", conf=conf)


def test_invalid_data_is_red_without_a_retry_and_nothing_downstream_runs(here: Here, hook: Hook) -> None:
    run, states = here.act("acts_invalid")
    assert states == {"Begin": "success", "Invalid": "failed", "After": "upstream_failed", "Finish": "failed"}
    assert here.api.tasks("acts_invalid", run)["Finish"]["try_number"] == 1
    assert here.api.run("acts_invalid", run)["state"] == "failed"
    assert here.api.tasks("acts_invalid", run)["Invalid"]["try_number"] == 1
    assert here.api.result("acts_invalid", run, "Invalid")["reason"] == "column 'fare': 17 % of the rows are missing"
    assert "column 'fare': 17 % of the rows are missing" in here.api.log("acts_invalid", run, "Invalid")
    eventually(lambda: hook.about("acts_invalid", run) == [("invalid", "Invalid")])


def test_an_e_mail_and_a_slack_message_are_sent_too(here: Here, hook: Hook, mailbox: Mailbox) -> None:
    run, _ = here.act("acts_told")
    eventually(lambda: mailbox.messages and hook.slack)
    (message,), (slack,) = mailbox.messages, hook.slack
    text = "acts_told, Invalid: invalid: column 'fare': 17 % of the rows are missing"
    assert (message["To"], message["Subject"]) == ("ml@example.org", text)
    log = f"/dags/acts_told/runs/{run}/tasks/Invalid"
    content = html.unescape(message.get_body().get_content())
    assert text in content
    assert log in urllib.parse.unquote(content)
    assert slack["channel"] == "#models"
    assert slack["text"].startswith(f"{text}\n")
    assert log in urllib.parse.unquote(slack["text"])


def test_a_failure_that_may_be_the_machines_is_retried(here: Here, hook: Hook) -> None:
    run, states = here.act("acts_once")
    assert set(states.values()) == {"success"}
    assert here.api.tasks("acts_once", run)["FailsOnce"]["try_number"] == 2
    assert hook.about("acts_once", run) == []


def test_a_refused_model_is_green_its_push_skipped_and_the_reason_sent(here: Here, hook: Hook) -> None:
    run, states = here.act("acts_refused")
    assert states == {
        **{"Begin": "success", "Refuses": "success", "Pusher": "skipped", "After": "skipped", "Finish": "success"}
    }
    assert here.api.run("acts_refused", run)["state"] == "success"
    (event,) = here.api.events("benison://acts_refused/verdict")
    assert event["source_task_id"] == "Finish"
    assert event["extra"] | {"run": ""} == {
        "blessed": False,
        "reason": "accuracy 0.31 is below 0.8",
        "run": "",
        "metrics": {"ensemble": {"accuracy": 0.31}},
    }
    assert here.api.events("benison://acts_refused/model") == []
    reason = here.api.result("acts_refused", run, "Pusher")["reason"]
    assert reason.startswith("Refuses refused the model: accuracy 0.31 is below 0.8; see its log, http")
    assert urllib.parse.unquote(reason).endswith(
        f"/dags/acts_refused/runs/{run}/tasks/Refuses, and its XCom `return_value`"
    )
    assert reason in here.api.log("acts_refused", run, "Pusher")
    assert "a node that it depends on was skipped" in here.api.log("acts_refused", run, "After")
    assert "not blessed: accuracy 0.31 is below 0.8" in here.api.log("acts_refused", run, "Refuses")
    assert hook.about("acts_refused", run) == [("not_blessed", "Refuses")]


def test_a_push_that_is_refused_is_skipped_with_the_reason_and_emits_no_event(here: Here) -> None:
    run, states = here.act("acts_not_pushed")
    assert states == {"Begin": "success", "PushesNothing": "skipped", "After": "skipped", "Finish": "success"}
    assert here.api.run("acts_not_pushed", run)["state"] == "success"
    assert here.api.events("benison://acts_not_pushed/model") == []
    reason = "not pushed: version 8 is served now, and the run compared its candidate with version 7: run again"
    assert here.api.result("acts_not_pushed", run, "PushesNothing")["reason"] == reason
    assert reason in here.api.log("acts_not_pushed", run, "PushesNothing")


def test_a_new_span_starts_the_pipeline(here: Here) -> None:
    here.api.post_event("benison://acts_spans/spans", {"span": 4})
    eventually(lambda: [run["run_type"] for run in here.api.runs("acts_spans")] == ["asset_triggered"])
    (run,) = here.api.runs("acts_spans")
    assert set(here.ended("acts_spans", run["dag_run_id"]).values()) == {"success"}


def test_a_backfill_by_airflows_own_command_runs_each_month_with_its_span(here: Here) -> None:
    here.airflow("dags", "unpause", "acts_spans_by_date")
    words = ("--dag-id", "acts_spans_by_date", "--from-date", "2013-03-01", "--to-date", "2013-05-01")
    here.create_backfill(*words)
    months = ["2013-03-01", "2013-04-01", "2013-05-01"]
    expected_runs = [f"by_date__{month}" for month in months]

    def done() -> bool:
        states = {run["dag_run_id"]: run["state"] for run in here.api.runs("acts_spans")}
        return [states.get(run) for run in expected_runs] == ["success"] * 3

    eventually(done, 300)
    for run, month in zip(expected_runs, months, strict=True):
        begun = json.loads(here.acted("acts_spans", run, "begin").read_text())
        assert f'--param=span="{month}"' in begun["argv"]
    backfilled = [run for run in here.api.runs("acts_spans_by_date") if run["run_type"] == "backfill"]
    eventually(lambda: {run["state"] for run in backfilled} <= {"success", "running"})
    assert len(backfilled) == 3


def _sleeping(here: Here, dag: str) -> tuple[str, list[int]]:
    """Start a run whose node sleeps, with children in its group and in other sessions; one child ignores SIGTERM."""
    run = here.api.trigger(dag)
    processes = json.loads(here.acted(dag, run, "processes").read_text())
    assert alive(processes) == processes
    return run, processes


def test_a_task_that_takes_too_long_ends_with_all_that_it_started(here: Here, hook: Hook) -> None:
    run, processes = _sleeping(here, "acts_late")
    assert here.ended("acts_late", run) == {"Begin": "success", "Sleeps": "failed", "Finish": "failed"}
    assert alive(processes) == []
    eventually(lambda: hook.about("acts_late", run) == [("failed", "Sleeps")])


def test_a_run_that_is_marked_as_failed_ends_failed(here: Here) -> None:
    run, processes = _sleeping(here, "acts_sleeps")
    here.ask("PATCH", f"dags/acts_sleeps/dagRuns/{run}", {"state": "failed"})
    states = here.ended("acts_sleeps", run)
    assert states == {"Begin": "success", "Sleeps": "failed", "After": "skipped", "Finish": "failed"}
    assert here.api.run("acts_sleeps", run)["state"] == "failed"
    eventually(lambda: alive(processes) == [])


def test_the_run_of_a_date_fails_with_the_run_that_it_waits_for(here: Here) -> None:
    """The pipeline's DAG is paused until its run is marked as failed."""

    def states(dag: str) -> dict[str, str]:
        return {run["dag_run_id"]: run["state"] for run in here.api.runs(dag)}

    here.ask("PATCH", "dags/acts_spans_by_date?update_mask=is_paused", {"is_paused": False})
    # Its timetable starts a run of the last month, and only one run at a time.
    eventually(lambda: (found := set(states("acts_spans_by_date").values())) and found <= {"success", "failed"}, 120)
    here.ask("PATCH", "dags/acts_spans?update_mask=is_paused", {"is_paused": True})
    asked = {"dag_run_id": "by-hand", "logical_date": "2013-08-15T00:00:00Z", "conf": {}}
    here.ask("POST", "dags/acts_spans_by_date/dagRuns", asked)
    run = "by_date__2013-07-01"
    eventually(lambda: states("acts_spans").get(run) == "queued")
    here.ask("PATCH", f"dags/acts_spans/dagRuns/{run}", {"state": "failed"})
    here.ask("PATCH", "dags/acts_spans?update_mask=is_paused", {"is_paused": False})
    here.ended("acts_spans", run)
    assert states("acts_spans")[run] == "failed"
    assert here.ended("acts_spans_by_date", "by-hand") == {"run": "failed"}


def _failed(here: Here) -> tuple[str, Path]:
    """Run a pipeline whose first node fails, then repair it; return the run and its run.json."""
    run, states = here.act("acts_fails")
    assert states == {"Begin": "success", "Fails": "failed", "After": "upstream_failed", "Finish": "failed"}
    begun = here.acted("acts_fails", run, "begin")
    (begun.parent / "repaired").touch()
    file = here.root / "runs" / begun.parent.name / runs.FILE
    assert runs.read(file).outcome == "failed"
    return run, file


def test_after_clearing_only_the_failed_tasks_the_run_has_its_outcome(here: Here) -> None:
    run, file = _failed(here)
    here.ask("POST", "dags/acts_fails/clearTaskInstances", {"dry_run": False, "dag_run_id": run, "only_failed": True})
    assert set(here.ended("acts_fails", run).values()) == {"success"}
    assert runs.read(file).outcome == "complete"
    assert not locks.is_under_way(here.root, "acts_fails", file.parent.name)


def test_after_clearing_one_task_alone_the_run_has_its_outcome(here: Here) -> None:
    run, file = _failed(here)
    body = {"dry_run": False, "dag_run_id": run, "task_ids": ["Fails"], "only_failed": False}
    here.ask("POST", "dags/acts_fails/clearTaskInstances", body)
    eventually(lambda: here.api.tasks("acts_fails", run)["Fails"]["state"] == "success")
    states = here.ended("acts_fails", run)
    assert states == {"Begin": "success", "Fails": "success", "After": "upstream_failed", "Finish": "failed"}
    eventually(lambda: runs.read(file).outcome == "interrupted")
    assert {node.id: node.state for node in runs.read(file).nodes} == {"Fails": "complete", "After": "not_run"}


def test_a_running_task_that_is_cleared_ends_and_runs_again(here: Here) -> None:
    run, processes = _sleeping(here, "acts_sleeps")  # its pool does not exist, so it runs in the default pool
    eventually(lambda: "this is node Sleeps, attempt 1" in here.api.log("acts_sleeps", run, "Sleeps"))
    log = here.api.log("acts_sleeps", run, "Sleeps")
    assert log.count("this is node Sleeps, attempt 1") == 1
    assert "Could not read" not in log, "the log of a running task comes from the log server"
    here.api.clear("acts_sleeps", run, "Sleeps")
    states = here.ended("acts_sleeps", run)
    assert set(states.values()) == {"success"}
    eventually(lambda: alive(processes) == [])
    assert here.acted("acts_sleeps", run, "nodeSleeps2").exists()


def test_a_task_killed_by_the_kernel_leaves_nothing_and_is_tried_again(here: Here) -> None:
    run, processes = _sleeping(here, "acts_sleeps")
    guard = _parent(processes[0])
    os.kill(_parent(guard), signal.SIGKILL)  # Airflow's process for the task
    eventually(lambda: alive([guard, *processes]) == [])
    assert set(here.ended("acts_sleeps", run).values()) == {"success"}


def _parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_plain_airflow_takes_the_files_and_the_manifests_alone(tmp_path: Path) -> None:
    """Copy the files of dags/ into the DAG folder of another Airflow, with the manifests beside them."""
    shutil.copytree(CLONE / "dags", tmp_path / "dags", ignore=shutil.ignore_patterns("manifests", "__pycache__"))
    write(tmp_path / "dags/manifests", ACTS[0])
    manifests = tmp_path / "dags/manifests"
    with running(tmp_path, manifests, tmp_path / "root", {}, tmp_path / "dags") as second:
        _, states = second.act("acts_well")
        assert set(states.values()) == {"success"}


def test_bad_pipelines_of_each_kind_are_import_errors_and_the_good_ones_work(here: Here) -> None:
    run, processes = _sleeping(here, "acts_sleeps")
    with bad_ones(here):
        assert {dag["dag_id"] for dag in here.api.dags()} >= {entry["name"] for entry in ACTS}
        for dag in ("acts_well", "acts_spans"):
            assert set(here.act(dag)[1].values()) == {"success"}
        with pytest.raises(
            UsageError, match=r"Airflow cannot use the pipeline bad_cron: .*bad_cron\.json: schedule: got"
        ):
            here.api.trigger("bad_cron")
        with pytest.raises(UsageError, match=r"Airflow cannot use the pipeline stray_older: .*got manifest format 2"):
            here.api.trigger("stray_older")
        assert alive(processes) == processes  # the run that was under way
    here.api.clear("acts_sleeps", run, "Sleeps")
    assert set(here.ended("acts_sleeps", run).values()) == {"success"}
    eventually(lambda: here.api.import_errors() == {}, 180)


def test_a_huge_number_in_the_form_starts_nothing_and_airflow_lives(here: Here) -> None:
    with pytest.raises(UsageError, match="Invalid input for param seed: 100000000000000000000 is greater than the max"):
        here.api.trigger("acts_well", conf={"seed": 10**20})
    assert set(here.act("acts_well")[1].values()) == {"success"}


def test_airflows_own_command_line_uses_its_settings_and_its_files_are_not_for_others(here: Here) -> None:
    assert "acts_well" in here.airflow("dags", "list", "--output", "plain")
    here.act("acts_well")
    paths = [here.root / "airflow", *(here.root / "airflow").rglob("*")]
    kinds = {path.suffix for path in paths}
    assert {".log", ".sqlite", ".json"} <= kinds
    own = [path for path in paths if here.manifests not in (path, *path.parents)]
    assert [path for path in own if path.lstat().st_mode & 0o027 and not path.is_symlink()] == []
    mask = os.umask(0o022)
    os.umask(mask)
    notes = [path for path in here.root.glob("acts/*/*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in notes} == {0o666 & ~mask}, "nodes keep the user's umask"
