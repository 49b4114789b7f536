"""`init` and `run` on tables as strangers have them: blessed, refused by a named rule, or one line before training."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from benison.serving.versions import local
from tests.integration.conftest import BENISON
from tests.integration.model_server import signatures_alone
from tests.integration.nasty_tables import Table, drawn
from tests.integration.test_init import command

DONE, FAILED, NOT_BLESSED, INVALID = 0, 1, 3, 4
TRAINS = ("Trainer", "Tuner")
ROOMY = ("--set", "serving.budget.load_s=600", "--set", "serving.budget.p99_ms=5000")
ONE_MEMBER = ("--set", "ensemble.members={linear: {epochs: 3}}")
ALL_MEMBERS = tuple(
    word for key in ("deep.epochs", "trees.hyperparameters.trees") for word in ("--set", f"ensemble.members.{key}=3")
)


@pytest.mark.parametrize("number", [*range(10), *(pytest.param(n, marks=pytest.mark.soak) for n in range(10, 200))])
def test_a_strangers_table_ends_well(tmp_path: Path, number: int) -> None:
    table = drawn(number)
    members = ONE_MEMBER if number < 10 else ALL_MEMBERS
    assert not (fault := _fault(table, tmp_path, members)), f"{table}\n{fault}"


def _fault(table: Table, folder: Path, members: tuple[str, ...]) -> str:
    """Run a table from `init` to `predict`; return what is wrong with how it ended, or ''."""
    file = table.write(folder)
    started = command(BENISON, folder, "init", "odd", "--csv", file.name, "--label", table.label)
    if started.returncode != DONE:
        return _unclear(started, file.name)
    run = command(BENISON, folder, "run", "odd", *members, *ROOMY)
    if raw := [
        log for log in folder.glob(".benison/runs/*/*.log") if re.search("[\0-\x08\x0b-\x1f\x7f]", log.read_text())
    ]:
        return f"these logs would control a terminal: {raw}"
    if run.returncode == DONE:
        return _alone(folder) or _unasked(folder, file) or _not_repeated(folder, members)
    if run.returncode == NOT_BLESSED:
        return "" if "REFUSED" in run.stdout or "too few rows" in run.stdout else f"no rule is named\n{run.stdout}"
    if trained := _trained(folder):
        return f"exit {run.returncode} after training ({trained})\n{run.stdout}{run.stderr}"
    return _unclear(run, "")


def _unclear(done: subprocess.CompletedProcess[str], name: str) -> str:
    """Return why a failure is not clear, or ''."""
    text = done.stdout + done.stderr
    clear = done.returncode in (FAILED, INVALID, 2) and "Traceback" not in text and name in text
    return "" if clear else f"exit {done.returncode}, not clear\n{text}"


def _trained(folder: Path) -> str:
    """Return the nodes that trained, or ''."""
    (record,) = folder.glob(".benison/runs/*/run.json") or (None,)
    nodes: list[dict[str, Any]] = json.loads(record.read_text())["nodes"] if record else []
    return ", ".join(n["id"] for n in nodes if n["id"].startswith(TRAINS) and n["state"] in ("complete", "failed"))


def _alone(folder: Path) -> str:
    """Return why requests for the pushed version do not share runs, or ''; those with a free text may run alone."""
    columns = yaml.safe_load((folder / "odd.yaml").read_text())["columns"].values()
    if any(column == "text" or (isinstance(column, dict) and column["kind"] == "text") for column in columns):
        return ""
    (version,) = local.versions(folder / ".benison/serving/odd")
    return "".join(f"{name}: {reason}\n" for name, reason in signatures_alone(version.path).items())


def _unasked(folder: Path, file: Path) -> str:
    """Ask the pushed version about the file itself; return what is wrong with the answer, or ''."""
    asked = command(BENISON, folder, "predict", "odd", "--csv", file.name)
    text = asked.stdout + asked.stderr
    if asked.returncode != DONE or "Traceback" in text or "nan" in text.lower().split():
        return f"predict: exit {asked.returncode}\n{text}"
    if re.search(r"^column .*: (\d+) of \1 rows", asked.stderr, re.MULTILINE):
        return f"predict: the model knows no value of its own training data\n{asked.stderr}"
    return ""


def _not_repeated(folder: Path, members: tuple[str, ...]) -> str:
    """Run again; return what ran although nothing had changed, or ''."""
    again = command(BENISON, folder, "run", "odd", *members, *ROOMY)
    records = [json.loads(file.read_text()) for file in folder.glob(".benison/runs/*/run.json")]
    last = max(records, key=lambda record: record["id"])
    repeated = again.returncode == DONE and last["repeats"]
    return "" if repeated else f"the second run ran nodes\n{again.stdout}{again.stderr}"
