"""Whole runs on data that teaches nothing, on rows that are there twice, and on leaks: none is blessed silently."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.conftest import Project, make

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]

SEEDS = range(20)
ROWS = 1500
Table = dict[str, Any]


def table(seed: int, signal: float, month: int = 1) -> Table:
    rng = np.random.default_rng((seed, month))
    x, z = rng.normal(size=(2, ROWS)).round(5)
    late = rng.random(ROWS) < 1 / (1 + np.exp(-signal * (x + z)))
    day = [f"2024-{month:02d}-{1 + i // 60:02d}T00:00:00Z" for i in range(ROWS)]
    return {"key": np.arange(ROWS) + ROWS * month, "t": np.array(day), "x": x, "z": z, "late": np.where(late, "y", "n")}


def picked(data: Table, rows: Any) -> Table:
    return {name: values[rows] for name, values in data.items()}


def write(file: Path, data: Table) -> Path:
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(data)
        writer.writerows(zip(*data.values(), strict=True))
    return file


LINEAR = "linear: {epochs: 15, hyperparameters: {learning_rate: 0.05}}"


def project(folder: Path, data: str, columns: str = "", members: str = LINEAR) -> Project:
    made = make(folder)
    (folder / "birds.yaml").write_text(f"""
name: birds
problem: binary
label: late
data: {{{data}}}
columns: {{key: ignore, t: ignore, x: number, z: number{columns}}}
ensemble: {{combiner: stacking, members: {{{members}}}}}
serving: {{budget: {{load_s: 600, p99_ms: 5000}}}}
""")
    return made


@pytest.mark.parametrize("seed", SEEDS)
def test_a_real_signal_is_blessed(tmp_path: Path, seed: int) -> None:
    birds = project(tmp_path / "birds", "csv: data.csv")
    write(birds.folder / "data.csv", table(seed, signal=2))
    done = birds.run()
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("signal", [0, 2], ids=["noise", "shuffled labels"])
@pytest.mark.parametrize("seed", SEEDS)
def test_noise_and_shuffled_labels_are_not_blessed(tmp_path: Path, seed: int, signal: float) -> None:
    data = table(seed, signal)
    data["late"] = np.random.default_rng(seed).permutation(data["late"])
    birds = project(tmp_path / "birds", "csv: data.csv", members=f"{LINEAR}, trees: {{kind: trees}}")
    write(birds.folder / "data.csv", data)
    done = birds.run()
    assert done.returncode == 3, done.stdout + done.stderr
    assert "is not significantly above the majority class's" in done.stdout


@pytest.mark.parametrize("share", [1.0, 0.1])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_rows_in_two_spans_are_not_blessed(tmp_path: Path, seed: int, share: float) -> None:
    first, second = table(seed, 0), table(seed, 0, month=2)
    rng = np.random.default_rng(seed)
    repeated = np.arange(ROWS) < share * ROWS
    mixed = {name: np.where(repeated, first[name], second[name]) for name in first}
    mixed = picked({**mixed, "key": second["key"]}, rng.permutation(ROWS))
    birds = project(tmp_path / "birds", "time: t", columns="}\nspans: {window: 2")
    for name, data in (("a.csv", first), ("b.csv", mixed)):
        added = birds.benison("span", "add", "birds.yaml", str(write(birds.folder / name, data)))
        assert added.returncode == 0, added.stderr
    done = birds.run()
    assert done.returncode == 1, done.stdout + done.stderr
    assert "OverlapCheck found invalid data" in done.stdout
    assert not birds.base.exists()


@pytest.mark.parametrize("exact", [True, False], ids=["copy", "coarse copy"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_leak_is_not_blessed(tmp_path: Path, seed: int, exact: bool) -> None:
    data = table(seed, 0)
    rng = np.random.default_rng(seed)
    leak = (data["late"] == "y").astype(float)
    if not exact:
        leak = (np.where(rng.random(ROWS) < 0.002, 1 - leak, leak) + rng.uniform(0, 0.9, ROWS)).round(4)
    birds = project(tmp_path / "birds", "csv: data.csv", columns=", leak: number")
    write(birds.folder / "data.csv", {**data, "leak": leak})
    done = birds.run()
    assert done.returncode == 1, done.stdout + done.stderr
    assert "LabelCheck found invalid data: column 'leak' alone predicts the label" in done.stdout
