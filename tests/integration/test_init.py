"""`benison init`, `run` and `eject` on files that nobody prepared, without any Python."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import subprocess
from collections.abc import Callable
from datetime import date, timedelta
from itertools import islice
from pathlib import Path

import pytest
import yaml

from benison.serving.versions import local
from tests.integration.conftest import BENISON
from tests.integration.model_server import signatures_alone

BLESSED, REFUSED = 0, 3
# What `init` writes trains for longer; a few epochs are enough to be blessed.
SHORT = [
    word for setting in ("ensemble.members.deep.epochs=15", "blessing.resamples=200") for word in ("--set", setting)
]
# All members stay in the ensemble, whatever they learn.
BRIEF = [
    word
    for setting in (
        "ensemble.members.deep.epochs=3",
        "ensemble.members.trees.hyperparameters.trees=3",
        "ensemble.combiner=mean",
        "blessing.resamples=200",
    )
    for word in ("--set", setting)
]
# `init` leaves this column out. What it recommends about it needs no other edit, and a slice may be such a column, too.
ADDED = {"sales": ["--set", "splits.by=customer_id", "--set", "slices=[customer_id]"]}


def toy(name: str) -> Callable[[Path], None]:
    """Return a function that writes one of scikit-learn's data sets."""

    def write(file: Path) -> None:
        from sklearn import datasets

        getattr(datasets, f"load_{name}")(as_frame=True).frame.to_csv(file, index=False)

    return write


def reviews(file: Path) -> None:
    """Write free text in which a few words decide the label."""
    chance = random.Random(1)
    words = {"up": "lovely superb delicious friendly warm", "down": "dreadful rude cold awful stale"}
    sentence = "the food was served at a table near the window and we came with friends on a rainy day"
    filler = sentence.split()
    with file.open("w", newline="", encoding="utf-8-sig") as stream:
        table = csv.writer(stream)
        table.writerow(["review", "stars"])
        for _ in range(300):
            stars = chance.choice(["up", "down"])
            review = chance.choices(filler, k=9) + chance.choices(words[stars].split(), k=2)
            chance.shuffle(review)
            table.writerow([" ".join(review[:5]) + ", " + " ".join(review[5:]) + ".", stars])


def orders(file: Path) -> None:
    """Write dates, ids, a string with many values, a constant and missing values, as a German spreadsheet does.

    It uses semicolons, decimal commas and Latin-1.
    """
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
                    f"{amount:.2f}".replace(".", ",") if chance.random() > 0.1 else "?",
                    "CHF",
                    urgent,
                    "yes" if late else "no",
                ]
            )


def customers(file: Path) -> None:
    """Write a column of 100,000 different texts, each in two rows; another column decides the label."""
    chance = random.Random(3)
    with file.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["customer", "visits", "buys"])
        for i in range(200_000):
            visits = chance.randrange(20)
            table.writerow([f"c{i // 2:06}", visits, "yes" if visits + chance.gauss(0, 4) > 14 else "no"])


def sales(file: Path) -> None:
    """Write amounts, percentages, decimal commas, a truth value, an impossible date and an id that repeats."""
    chance = random.Random(4)
    with file.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["price", "cost", "share", "width", "flag", "day", "customer_id", "sold"])
        for i in range(600):
            price, share, flag = chance.randrange(100, 90_000), chance.randrange(1, 100), chance.choice("01")
            sold = price / 30_000 + share / 40 + (flag == "1") + chance.gauss(0, 0.5) > 3.2
            day = "2023-02-30" if i == 7 else str(date(2023, 1, 1) + timedelta(days=chance.randrange(300)))
            width = f"{chance.uniform(1, 90):.1f}".replace(".", ",")
            amounts = [f"{price:,}" if i % 40 else "N/A", f"${price * 3.5:,.2f}", f"{share}%", width]
            table.writerow([*amounts, flag, day, 1000 + i % 70, "yes" if sold else "no"])


def command(benison: Path, folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `benison …` in a folder, as a user does."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("BENISON_")}
    return subprocess.run(
        [str(benison), *words],
        cwd=folder,
        env={**kept, "COLUMNS": "200", **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.soak
@pytest.mark.parametrize(
    ("name", "write", "label", "guessed", "ends"),
    [
        ("iris", toy("iris"), "target", "multiclass", {BLESSED}),
        ("wine", toy("wine"), "target", "multiclass", {BLESSED}),
        ("breast_cancer", toy("breast_cancer"), "target", "binary", {BLESSED}),
        ("diabetes", toy("diabetes"), "target", "regression", {BLESSED}),
        ("linnerud", toy("linnerud"), "Weight", "regression", {BLESSED, REFUSED}),  # 20 rows: three to judge by
        ("reviews", reviews, "stars", "binary", {BLESSED}),
        ("customers", customers, "buys", "binary", {BLESSED}),
        ("sales", sales, "sold", "binary", {BLESSED}),
    ],
)
def test_an_unprepared_file_needs_no_edit(
    tmp_path: Path, name: str, write: Callable[[Path], None], label: str, guessed: str, ends: set[int]
) -> None:
    write(tmp_path / "rows.csv")
    started = command(BENISON, tmp_path, "init", name, "--csv", "rows.csv", "--label", label)
    assert started.returncode == 0, started.stderr
    assert f"label '{label}': {guessed}" in started.stdout
    run = command(BENISON, tmp_path, "run", name, *ADDED.get(name, ()))
    assert run.returncode in ends, run.stdout + run.stderr
    if run.returncode == REFUSED:
        assert "REFUSED" in run.stdout
        return
    with (tmp_path / "rows.csv").open(encoding="utf-8-sig") as rows:
        (tmp_path / "new.csv").write_text("".join(islice(rows, 20)))
    asked = command(BENISON, tmp_path, "predict", name, "--csv", "new.csv", "--members")
    assert asked.returncode == 0, asked.stderr
    dropped = set(re.findall("^(.*) is not in the ensemble: ", run.stdout, re.MULTILINE))
    assert all(member in asked.stdout for member in {"linear", "deep", "trees"} - dropped)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "rows.csv: file is empty; expected a header line"),
        ("x,y\n", "rows.csv: no rows after the header"),
        ("x,,y\n1,2,3\n", "rows.csv, line 1: column 2 has no name; give each column a unique name"),
        ("x,x,y\n1,2,3\n", "rows.csv, line 1: column 'x' appears more than once"),
        ("x,y\n1,a\n2,a\n", "the label 'y' has 1 value; expected at least two"),
        ("x,y\n1,a\n1,b\n", "no column to learn from (x: always '1')"),
        ("x,y\n1,a\n2\n", "rows.csv, line 3: 1 cells, expected 2 as in the header"),
    ],
)
def test_init_refuses_a_file_without_anything_to_learn(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "rows.csv").write_text(text)
    done = command(BENISON, tmp_path, "init", "rows", "--csv", "rows.csv", "--label", "y")
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["rows.csv"]


@pytest.fixture(scope="module")
def run_from_the_wheel(
    tmp_path_factory: pytest.TempPathFactory, installed: tuple[Path, dict[str, str]]
) -> tuple[Path, list[subprocess.CompletedProcess[str]]]:
    """Run `init` and `run` in a folder that has a package named `pipelines`; return the folder and the results."""
    benison, environment = installed
    folder = tmp_path_factory.mktemp("orders")
    orders(folder / "orders.csv")
    (folder / "pipelines").mkdir()
    (folder / "pipelines/__init__.py").write_text("raise ImportError('this is not Benison')\n")
    started = command(benison, folder, "init", "orders", "--csv", "orders.csv", "--label", "late", **environment)
    run = command(benison, folder, "run", "orders", *SHORT, **environment)
    return folder, [started, run]


def test_init_prints_its_guesses_about_a_german_spreadsheet(tmp_path: Path) -> None:
    orders(tmp_path / "orders.csv")
    started = command(BENISON, tmp_path, "init", "orders", "--csv", "orders.csv", "--label", "late")
    assert started.returncode == 0, started.stderr
    output = " ".join(started.stdout.split())
    assert "500 rows, encoding latin-1, delimiter ';' numbers use a decimal comma (data.decimal)" in output
    assert "label 'late': binary" in output
    assert "amount number" in output
    assert "placed (d/m/y) date %d/%m/%Y" in output
    assert "customer hashed" in output
    assert "left out: order_id, currency" in output


def test_requests_for_the_pushed_version_share_runs(tmp_path: Path) -> None:
    """Look into an ensemble of all kinds of members that read all kinds of columns but texts."""
    orders(tmp_path / "orders.csv")
    command(BENISON, tmp_path, "init", "orders", "--csv", "orders.csv", "--label", "late")
    columns = yaml.safe_load((tmp_path / "orders.yaml").read_text())["columns"].values()
    kinds = {column if isinstance(column, str) else column["kind"] for column in columns}
    assert kinds == {"number", "category", "hashed", "date", "ignore"}
    run = command(BENISON, tmp_path, "run", "orders", *BRIEF)
    assert run.returncode == BLESSED, run.stdout + run.stderr
    (version,) = local.versions(tmp_path / ".benison/serving/orders")
    assert set(version.manifest.members) == {"linear", "deep", "trees"}
    assert not signatures_alone(version.path)


@pytest.mark.soak
def test_the_wheel_runs_it_beside_a_package_named_pipelines(run_from_the_wheel) -> None:
    _, (_, run) = run_from_the_wheel
    assert run.returncode == BLESSED, run.stdout + run.stderr


@pytest.mark.soak
def test_the_pushed_version_predicts_the_spreadsheet(run_from_the_wheel, installed) -> None:
    folder, _ = run_from_the_wheel
    benison, environment = installed
    asked = command(benison, folder, "predict", "orders", "--csv", "orders.csv", "--members", **environment)
    assert asked.returncode == 0, asked.stderr
    assert asked.stdout.startswith("orders version ")


@pytest.mark.soak
def test_code_ejected_into_that_package_computes_the_same_features(run_from_the_wheel, installed) -> None:
    folder, _ = run_from_the_wheel
    benison, environment = installed
    ejected = command(benison, folder, "eject", "orders", "--to", "pipelines", **environment)
    assert ejected.returncode == 0, ejected.stderr
    run = command(benison, folder, "run", "orders", *SHORT, **environment)
    assert run.returncode in (BLESSED, REFUSED), run.stdout + run.stderr
    first, second = transformed(folder / ".benison")
    assert first == second


def transformed(root: Path) -> list[list[dict[str, list]]]:
    """Return the rows that each run's Transform wrote, oldest run first."""
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
