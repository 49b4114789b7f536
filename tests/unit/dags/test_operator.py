"""The operator's handling of environments, exit codes and run ids."""

from __future__ import annotations

import pytest

from tests.unit.dags.in_airflow import InAirflow

pytestmark = pytest.mark.system


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (1, "AirflowException", "Trainer: the disk is full"),
        (2, "AirflowFailException", "Trainer: the disk is full"),
        (4, "InvalidData", "Trainer: the disk is full"),
        (137, "AirflowException", "Trainer: ended by SIGKILL"),
    ],
)
def test_an_exit_code_decides_whether_a_retry_makes_sense(
    in_airflow: InAirflow, code: int, kind: str, message: str
) -> None:
    script = f"""
from benison_operator import failure
error = failure("Trainer", {code}, "the disk is full")
result = [type(error).__name__, str(error)]
"""
    assert in_airflow(script) == [kind, message]


def test_a_step_gets_benisons_settings_and_none_of_airflows(in_airflow: InAirflow) -> None:
    environment = {
        **{"HOME": "/home/x", "LC_ALL": "C", "BENISON_ROOT": "/r", "BENISON_METADATA": "postgresql://", "MINE": "1"},
        **{"AIRFLOW__CORE__FERNET_KEY": "hush", "BENISON_AIRFLOW_PASSWORD": "hush", "BENISON_AIRFLOW_DB": "hush"},
        **{"PYTHONPATH": "/a", "VIRTUAL_ENV": "/v", "AWS_SECRET": "hush", "BENISON_KEEP": "MINE, OTHER"},
        **{"PATH": "/bin", "BENISON_PYTHON": "/opt/benison/bin/python"},
    }
    kept = in_airflow(f"from benison_operator import scrubbed; result = scrubbed({environment!r})")
    assert "hush" not in kept.values()
    assert sorted(set(environment) & set(kept)) == sorted(
        ["BENISON_KEEP", "BENISON_METADATA", "BENISON_PYTHON", "BENISON_ROOT", "HOME", "LC_ALL", "MINE", "PATH"]
    )
    assert kept["PATH"] == "/opt/benison/bin:/bin"


def test_every_run_of_airflows_has_a_folder_of_its_own(in_airflow: InAirflow) -> None:
    runs = ["manual__2026-01-01T00:00:00+00:00", "manual__2026-01-01T00:00:00-00:00", "a/../b", "birds-1"]
    named = in_airflow(f"from benison_operator import run_of; result = [run_of('birds', r) for r in {runs!r}]")
    assert len(set(named)) == 4
    assert named[3] == "birds-1"
    assert all(name.startswith("birds-") and not set(name) & set("/:+") for name in named)


def test_the_longest_run_ids_that_airflow_takes_have_folders_of_their_own_too(in_airflow: InAirflow) -> None:
    pipeline = "p" * 100
    runs = ["x" * 250, "x" * 249 + "y", f"{pipeline}-{'x' * 149}", "by_date__2013-03-01T0600"]
    named = in_airflow(f"from benison_operator import run_of; result = [run_of({pipeline!r}, r) for r in {runs!r}]")
    assert len(set(named)) == 4
    assert max(map(len, named)) <= 170
    assert named[3].startswith(f"{pipeline}-{runs[3]}-")


@pytest.mark.parametrize("answer", ["", "no JSON", "[1]", '{"states": 1}'])
def test_an_invalid_answer_counts_as_a_failure(in_airflow: InAirflow, answer: str) -> None:
    code = f"from benison_operator import result_of; result = result_of({answer!r})['state']"
    assert in_airflow(code) == "failed"


def test_a_setting_that_is_missing_is_named_with_what_it_is(in_airflow: InAirflow) -> None:
    code = """
from benison_operator import required
try:
    required("BENISON_PYTHON")
except Exception as error:
    result = [type(error).__name__, str(error)]
"""
    kind, message = in_airflow(code)
    assert kind == "AirflowFailException"
    assert message.startswith("BENISON_PYTHON is not set where this task runs; expected TFX's interpreter")


# A task's context: the states of the run's tasks in Airflow, and their results.
CONTEXT = """
from types import SimpleNamespace
from airflow.sdk import Asset
from benison_operator import BenisonNodeOperator
verdict = Asset("benison://p/verdict")
finish = BenisonNodeOperator(task_id="Finish", step="finish", pipeline="p", manifest="m", verdict=verdict, judges=["Blessing", "ServingValidator"])
extra = {}
def context(states, results):
    ti = SimpleNamespace(
        dag_id="p", run_id="r", task_id="Finish", try_number=1, max_tries=0, log_url="http://a/dags/p/runs/r/tasks/Finish",
        get_task_states=lambda **_: {"r": states}, xcom_pull=lambda task_ids: results.get(task_ids),
        xcom_push=lambda **_: None,
    )
    return {"ti": ti, "dag_run": SimpleNamespace(run_id="p-r"), "outlet_events": {verdict: SimpleNamespace(extra=extra)}}
"""
DONE = {"state": "complete"}
METRICS = {"report": {"metrics": {"ensemble": {"auc": 0.9}}}}


@pytest.mark.parametrize(
    ("states", "results", "failed"),
    [
        ({"A": "success", "B": "success"}, {"A": DONE, "B": DONE}, False),
        ({"A": "success", "B": "skipped"}, {"A": DONE, "B": {"state": "skipped"}}, False),
        ({"A": "failed", "B": "upstream_failed"}, {}, True),
        ({"A": "success", "B": "skipped"}, {"A": DONE}, True),  # the run was marked as failed between two tasks
        ({"A": "success", "B": "skipped"}, {}, True),  # A was marked as successful, and then the run as failed
        ({"A": "success", "B": "success"}, {"A": DONE}, False),  # B was marked as successful
    ],
)
def test_a_run_ends_failed_if_a_task_failed_or_it_was_marked_as_failed(
    in_airflow: InAirflow, states: dict[str, str], results: dict[str, object], failed: bool
) -> None:
    script = f"""{CONTEXT}
try:
    finish._conclude({{"state": "complete", "reason": ""}}, context({{"Begin": "success", "Finish": "running"}} | {states}, {results}))
    result = False
except Exception as error:
    result = type(error).__name__ == "RunFailed"
"""
    assert in_airflow(script) is failed


def test_a_cleared_run_that_is_marked_as_failed_before_it_begins_again_ends_failed(in_airflow: InAirflow) -> None:
    """The record and the results of its tasks are still those of its first attempt."""
    script = f"""{CONTEXT}
import os
os.environ.update(BENISON_PYTHON="python", BENISON_ROOT="/r")
finish._run = lambda *_: (0, '{{"state": "complete", "reason": ""}}')
states = {{"Begin": "skipped", "A": "skipped", "Finish": "running"}}
try:
    finish.execute(context(states, {{"Begin": {DONE}, "A": {DONE}}}) | {{"params": {{}}}})
    result = ""
except Exception as error:
    result = str(error)
"""
    assert in_airflow(script) == "Finish: the run has failed: it did not begin"


@pytest.mark.parametrize(
    ("states", "runs"),
    [
        ({"A": "success", "B": "skipped", "Finish": "success"}, False),  # Begin alone was cleared
        ({"A": "failed", "B": "upstream_failed", "Finish": "failed"}, False),
        ({"A": "success", "B": "skipped", "Finish": ""}, True),  # Finish was cleared too
        ({"A": "", "B": "", "Finish": ""}, True),
        ({"A": "upstream_failed", "B": "upstream_failed", "Finish": "failed"}, True),  # Begin had failed
    ],
)
def test_begin_keeps_the_record_of_a_run_if_no_other_task_runs_after_it(
    in_airflow: InAirflow, states: dict[str, str], runs: bool
) -> None:
    script = f"""{CONTEXT}
import os
os.environ.update(BENISON_PYTHON="python", BENISON_ROOT="/r")
begin = BenisonNodeOperator(task_id="Begin", step="begin", pipeline="p", manifest="m")
commands = []
begin._run = lambda *words: commands.append(words) or (0, '{{"state": "complete", "outputs": {{}}, "reason": ""}}')
answer = begin.execute(context({{"Begin": "running"}} | {states}, {{}}) | {{"params": {{}}}})
result = [len(commands), answer]
"""
    count, answer = in_airflow(script)
    assert count == runs
    assert answer == {"state": "complete", "outputs": {}, "reason": "", "folder": "/r/runs/p-r"}


@pytest.mark.parametrize(
    ("blessing", "validator", "blessed", "reason"),
    [
        (DONE | METRICS, DONE, True, ""),
        (DONE | METRICS, {"state": "not_blessed", "reason": "too slow"}, False, "too slow"),
        (
            {"state": "not_blessed", "reason": "auc 0.5"} | METRICS,
            {"state": "skipped", "reason": "x"},
            False,
            "auc 0.5",
        ),
    ],
)
def test_the_verdict_of_a_run_is_that_of_all_its_judges_with_the_metrics(
    in_airflow: InAirflow, blessing: dict[str, object], validator: dict[str, object], blessed: bool, reason: str
) -> None:
    results = {"Blessing": blessing, "ServingValidator": validator}
    states = {"Begin": "success", "Finish": "running", "Blessing": "success", "ServingValidator": "success"}
    script = f"""{CONTEXT}
finish._conclude({{"state": "complete"}}, context({states}, {results}))
result = extra
"""
    verdict = {"blessed": blessed, "reason": reason, "run": "p-r", "metrics": {"ensemble": {"auc": 0.9}}}
    assert in_airflow(script) == verdict


@pytest.mark.parametrize(
    ("state", "kind"),
    [("running", "AirflowRescheduleException"), ("restarting", "AirflowException"), ("failed", "AirflowException")],
)
def test_a_task_that_airflow_ends_while_it_shuts_down_starts_again_without_a_retry(
    in_airflow: InAirflow, state: str, kind: str
) -> None:
    script = f"{CONTEXT}result = type(finish._end_of_killed(context({{'Finish': {state!r}}}, {{}}))).__name__"
    assert in_airflow(script) == kind
