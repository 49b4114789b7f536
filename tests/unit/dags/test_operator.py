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
