"""No Python needed: `benison init`, `run` and `eject` on files that nobody prepared."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.integration.conftest import BENISON, CLONE

BLESSED, REFUSED, FAILED = 0, 3, 1


def iris(file: Path) -> None:
    _toy("iris", file)


def _toy(name: str, file: Path) -> None:
    """A data set that comes with scikit-learn, as pandas writes it."""
    from sklearn import datasets

    getattr(datasets, f"load_{name}")(as_frame=True).frame.to_csv(file, index=False)


def reviews(file: Path) -> None:
    """Free text, in which a few words decide."""
    chance = random.Random(1)
    words = {"up": "lovely superb delicious friendly warm", "down": "dreadful rude cold awful stale"}
    filler = [
        "the",
        "food",
        "was",
        "served",
        "at",
        "a",
        "table",
        "near",
        "the",
        "window",
        "and",
        "we",
        "came",
        "with",
        "friends",
        "on",
        "a",
        "rainy",
        "day",
    ]
    with file.open("w", newline="", encoding="utf-8-sig") as stream:
        table = csv.writer(stream)
        table.writerow(["review", "stars"])
        for _ in range(300):
            stars = chance.choice(["up", "down"])
            said = chance.choices(filler, k=9) + chance.choices(words[stars].split(), k=2)
            chance.shuffle(said)
            table.writerow([" ".join(said[:5]) + ", " + " ".join(said[5:]) + ".", stars])


def orders(file: Path) -> None:
    """Dates, ids, a string of many values, a constant, missing values; semicolons and Latin-1, as a spreadsheet does."""
    chance = random.Random(2)
    with file.open("w", newline="", encoding="latin-1") as stream:
        table = csv.writer(stream, delimiter=";")
        table.writerow(["order_id", "placed (d/m/y)", "customer", "Ort", "amount", "currency", "urgent", "late"])
        for i in range(500):
            day = date(2023, 1, 1) + timedelta(days=chance.randrange(600))
            amount, urgent = round(chance.lognormvariate(3, 1), 2), chance.choice(["low", "high"])
            late = (day.weekday() >= 5) * 1.5 + (urgent == "high") + (amount > 40) + chance.gauss(0, 0.5) > 1.6
            table.writerow(
                [
                    f"{i * 7919 % 100003:06}-{chance.randrange(10**6)}",
                    day.strftime("%d/%m/%Y") if chance.random() > 0.05 else "n/a",
                    f"c{chance.randrange(150):04}",
                    chance.choice(["Zürich", "Genève", "Bern"]),
                    amount if chance.random() > 0.1 else "?",
                    "CHF",
                    urgent,
                    "yes" if late else "no",
                ]
            )


def command(benison: Path, folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`benison …` in a folder, as a user types it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BENISON_")}
    return subprocess.run(
        [str(benison), *words],
        cwd=folder,
        env={**kept, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.parametrize(
    ("name", "write", "label", "guessed"),
    [("iris", iris, "target", "multiclass"), ("reviews", reviews, "stars", "binary")],
)
def test_init_and_run_end_with_a_served_ensemble(
    tmp_path: Path, name: str, write: Callable[[Path], None], label: str, guessed: str
) -> None:
    write(tmp_path / "rows.csv")
    started = command(BENISON, tmp_path, "init", name, "--csv", "rows.csv", "--label", label)
    assert started.returncode == 0, started.stderr
    assert f"label '{label}': {guessed}" in started.stdout
    run = command(BENISON, tmp_path, "run", name)
    assert run.returncode == BLESSED, run.stdout + run.stderr
    asked = command(BENISON, tmp_path, "predict", name, "--csv", "rows.csv", "--members")
    assert asked.returncode == 0, asked.stderr
    assert all(member in asked.stdout for member in ("linear", "deep", "wide_deep"))


@pytest.mark.soak
@pytest.mark.parametrize(
    ("name", "label", "ends"),
    [
        ("iris", "target", {BLESSED}),
        ("wine", "target", {BLESSED}),
        ("breast_cancer", "target", {BLESSED}),
        ("diabetes", "target", {BLESSED}),
        ("linnerud", "Weight", {BLESSED, REFUSED}),  # 20 rows: three to judge by
    ],
)
def test_the_toy_data_sets_need_no_edit(tmp_path: Path, name: str, label: str, ends: set[int]) -> None:
    _toy(name, tmp_path / "rows.csv")
    assert command(BENISON, tmp_path, "init", name, "--csv", "rows.csv", "--label", label).returncode == 0
    run = command(BENISON, tmp_path, "run", name)
    assert run.returncode in ends, run.stdout + run.stderr
    if run.returncode == REFUSED:
        assert "refused" in run.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Benison from its wheel in an environment of its own, and what finds its dependencies: they are not installed again.

    Python ignores .pth files on PYTHONPATH, so the clone's editable install stays out of it.
    """
    folder = tmp_path_factory.mktemp("wheel")
    uv = [sys.executable, str(CLONE / ".ci/bootstrap.py"), "uv"]
    for words in (
        ["build", "--quiet", "--wheel", "--out-dir", str(folder / "dist"), str(CLONE)],
        ["venv", "--quiet", "--python", sys.executable, str(folder / "venv")],
    ):
        subprocess.run([*uv, *words], check=True, cwd=CLONE, capture_output=True, timeout=300)
    (wheel,) = (folder / "dist").glob("*.whl")
    install = ["pip", "install", "--quiet", "--no-deps", "--python", str(folder / "venv/bin/python"), str(wheel)]
    subprocess.run([*uv, *install], check=True, cwd=folder, capture_output=True, timeout=300)
    return folder / "venv/bin/benison", {"PYTHONPATH": sysconfig.get_path("purelib")}


def test_the_wheel_runs_beside_a_package_named_pipelines_and_ejects_into_it(
    tmp_path: Path, installed: tuple[Path, dict[str, str]]
) -> None:
    benison, environment = installed
    orders(tmp_path / "orders.csv")
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines/__init__.py").write_text("raise ImportError('this is not Benison')\n")

    started = command(benison, tmp_path, "init", "orders", "--csv", "orders.csv", "--label", "late", **environment)
    assert started.returncode == 0, started.stderr
    assert "left out: order_id, currency" in started.stdout
    run = command(benison, tmp_path, "run", "orders", **environment)
    assert run.returncode == BLESSED, run.stdout + run.stderr

    asked = command(benison, tmp_path, "predict", "orders", "--csv", "orders.csv", **environment)
    assert asked.returncode == 0, asked.stderr

    ejected = command(benison, tmp_path, "eject", "orders", "--to", "pipelines", **environment)
    assert ejected.returncode == 0, ejected.stderr
    run = command(benison, tmp_path, "run", "orders", **environment)
    assert run.returncode in (BLESSED, REFUSED), run.stdout + run.stderr
    first, second = transformed(tmp_path / ".benison")
    assert first == second


def transformed(root: Path) -> list[list[dict[str, list]]]:
    """The rows that each run's Transform wrote, oldest run first."""
    import tensorflow as tf

    runs = sorted(root.glob("runs/*/run.json"), key=lambda file: file.stat().st_mtime)
    nodes = [node for run in runs for node in json.loads(run.read_text())["nodes"] if node["id"] == "Transform"]
    assert [node["state"] for node in nodes] == ["complete", "complete"]
    rows = []
    for node in nodes:
        (output,) = node["outputs"]["transformed_examples"]
        files = sorted(str(file) for file in Path(output["uri"]).glob("Split-*/*"))
        records = tf.data.TFRecordDataset(files, compression_type="GZIP").as_numpy_iterator()
        rows.append([_values(record) for record in records])
    return rows


def _values(record: bytes) -> dict[str, list]:
    import tensorflow as tf

    features = tf.train.Example.FromString(record).features.feature
    return {name: list(getattr(value, value.WhichOneof("kind")).value) for name, value in features.items()}
