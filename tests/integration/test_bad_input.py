"""Bad input gives one clear message and the right exit code; nothing is pushed, and the served version stays."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.conftest import Project, make

pytestmark = pytest.mark.timeout(1500)  # all cases run in the time of the first test

FULL = "(No space left on device|database or disk is full); free space on its disk"  # the system's words and SQLite's
HEADER = "species,island,bill_length_mm,bill_depth_mm,flipper_length_mm,body_mass_g,sex,year"


@dataclass(frozen=True)
class Case:
    """A change that breaks a working project, and the result of the next run."""

    spoil: Callable[[Project], object]
    exit_code: int
    message: str
    options: tuple[str, ...] = ()


def csv(change: Callable[[str], str | bytes]) -> Callable[[Project], object]:
    def spoil(project: Project) -> None:
        changed = change(project.csv.read_text())
        project.csv.write_bytes(changed if isinstance(changed, bytes) else changed.encode())

    return spoil


def yaml(old: str, new: str) -> Callable[[Project], object]:
    def spoil(project: Project) -> None:
        file = project.folder / "birds.yaml"
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))

    return spoil


def rows(change: Callable[[list[list[str]]], list[list[str]]]) -> Callable[[Project], object]:
    def changed(text: str) -> str:
        header, *lines = text.splitlines()
        return "\n".join([header, *map(",".join, change([line.split(",") for line in lines]))]) + "\n"

    return csv(changed)


def before_a_schema(spoil: Callable[[Project], object]) -> Callable[[Project], None]:
    """Break the project before its first run, whose schema is inferred."""

    def spoiled(project: Project) -> None:
        shutil.rmtree(project.folder / "schemas")
        spoil(project)

    return spoiled


def one_class(text: str) -> str:
    return text.replace("Chinstrap", "Adelie").replace("Gentoo", "Adelie")


def labels_missing(lines: list[list[str]]) -> list[list[str]]:
    return [["NA", *cells] if i in (4, 8) else [label, *cells] for i, (label, *cells) in enumerate(lines)]


def a_class_a_row(lines: list[list[str]]) -> list[list[str]]:
    return [[f"s{i}", *cells] for i, (_, *cells) in enumerate(lines)]


def corrupt_tfrecord(project: Project) -> None:
    (project.folder / "birds.tfrecord").write_bytes(random.Random(0).randbytes(3000))
    yaml("csv: penguins.csv, ", "tfrecord: birds.tfrecord, ")(project)


CASES = {
    "missing file": Case(lambda p: p.csv.unlink(), 2, "no such file: penguins.csv"),
    "empty": Case(csv(lambda text: ""), 1, "penguins.csv: file is empty; expected a header line"),
    "header only": Case(csv(lambda text: HEADER + "\n"), 1, "too few rows (0)"),
    "one row": Case(csv(lambda text: "\n".join(text.splitlines()[:2]) + "\n"), 1, "too few rows (1)"),
    "ragged row": Case(csv(lambda text: text + "Adelie,Dream\n"), 1, "line 346: 2 cells, expected 8 as in the header"),
    "unclosed quote": Case(csv(lambda text: text + '"Adelie,Dream\n'), 1, "from line 346: unexpected end of data"),
    "latin-1": Case(
        csv(lambda text: text.replace("Biscoe", "Biscoé").encode("latin-1")),
        1,
        "not utf-8 (byte 0xe9); set the encoding of the file",
    ),
    "NUL bytes": Case(csv(lambda text: text.replace("Dream", "Dre\0am")), 1, "a NUL byte; the file is not text"),
    "10 MB field": Case(csv(lambda text: text + "x" * 10_000_000 + "\n"), 1, "field larger than field limit"),
    "duplicate column": Case(
        csv(lambda text: text.replace("sex", "year", 1)), 1, "column 'year' appears more than once"
    ),
    "empty column name": Case(csv(lambda text: text.replace("sex", "", 1)), 1, "column 7 has no name"),
    "wrong label": Case(yaml("label: species", "label: specie"), 1, "no column 'specie'; did you mean 'species'?"),
    "label of one class": Case(
        csv(one_class),
        1,
        "rows of train have the same class, Adelie",
    ),
    "label with nulls": Case(
        rows(labels_missing),
        1,
        "2 of 344 rows (0.58%) do not fit, expected one of Adelie, Chinstrap, Gentoo; "
        "for example penguins.csv line 6 'NA', penguins.csv line 10 'NA'",
    ),
    "label all null": Case(
        before_a_schema(rows(lambda lines: [["NA", *cells] for _, *cells in lines])), 1, "no row of train has a label"
    ),
    "a class a row": Case(
        before_a_schema(rows(a_class_a_row)), 1, "expected classes that appear more than once. Is the label an id"
    ),
    "all-constant features": Case(
        rows(lambda lines: [[label, *lines[0][1:]] for label, *_ in lines]),
        1,
        "most of the 344 rows have the same features, and such rows share a split: no row is in the splits",
    ),
    "text for numbers": Case(
        csv(lambda text: text.replace(",3750,", ",heavy,", 1)),
        1,
        "line 2, column 'body_mass_g': got 'heavy', expected a whole number",
    ),
    "text for numbers before a schema": Case(
        # A new column is only a warning; the label stops this run.
        before_a_schema(csv(lambda text: one_class(text).replace(",3750,", ",heavy,", 1))),
        1,
        "column 'body_mass_g' is read as text, although 341 of its 342 cells are numbers; the first other cell is "
        "penguins.csv line 2 'heavy': if it means a missing value, add it to data.missing; otherwise fix the file",
    ),
    "NaN": Case(csv(lambda text: text.replace(",39.1,", ",NaN,", 1)), 1, "got 'NaN', expected a finite number"),
    "NaN before a schema": Case(
        before_a_schema(csv(lambda text: text.replace(",39.1,", ",NaN,", 1))),
        1,
        "line 2, column 'bill_length_mm': got 'NaN', expected a finite number; if it means a missing value, add it",
    ),
    "infinity": Case(csv(lambda text: text.replace(",39.1,", ",inf,", 1)), 1, "got 'inf', expected a finite number"),
    "new category": Case(csv(lambda text: text.replace("Torgersen", "جزيرة 🐧")), 1, "جزيرة 🐧"),
    "corrupt TFRecord": Case(corrupt_tfrecord, 1, "birds.tfrecord, record 1: corrupt or truncated"),
    "unknown key": Case(yaml("slices:", "slice:"), 2, "birds.yaml: slice: unknown key; did you mean 'slices'?"),
    "unknown member": Case(
        yaml("    linear:", "    liner:"), 2, "no function 'liner' in my_models.py; did you mean 'linear'?"
    ),
    "half a YAML": Case(yaml("members:", "members: {"), 2, "birds.yaml"),
    "a file as root": Case(lambda p: (p.folder / "taken").write_text(""), 1, "taken", ("--root", "taken")),
}
# One that ends without a worker process, and one that ends in it.
FROM_THE_INTERPRETER = {"unknown key", "text for numbers"}


@pytest.fixture(scope="module")
def answers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Project, subprocess.CompletedProcess[str]]]:
    """Run the selected cases, two at a time, each on a copy of a project with a curated schema and a served version."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function) and item.path == request.path]
    names = list(dict.fromkeys(str(item.callspec.params["name"]) for item in items if "answers" in item.fixturenames))
    sound = make(tmp_path_factory.mktemp("bad") / "sound")
    for command in (("schema", "birds.yaml", "--accept"), ("validate", "birds.yaml")):
        done = sound.benison(*command)
        assert done.returncode == 0, done.stderr
    served = sound.base / "1000"
    served.mkdir(parents=True)
    (served / "saved_model.pb").touch()

    def answer(name: str) -> tuple[Project, subprocess.CompletedProcess[str]]:
        project = sound.copy(sound.folder.with_name(name.replace(" ", "-")))
        CASES[name].spoil(project)
        return project, project.run(*CASES[name].options, real=name in FROM_THE_INTERPRETER)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(names, pool.map(answer, names), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_in_one_message_and_nothing_is_pushed(answers, name: str) -> None:
    project, done = answers[name]
    output = done.stdout + done.stderr
    assert done.returncode == CASES[name].exit_code, output
    assert CASES[name].message in output
    assert "Traceback" not in output
    assert [path.name for path in project.base.iterdir()] == ["1000"]


@pytest.mark.parametrize("name", ["new category"])
def test_data_that_breaks_the_curated_schema_stops_at_the_gate(answers, name: str) -> None:
    project, done = answers[name]
    assert "Torgersen" in (project.folder / "schemas/birds.pbtxt").read_text()
    assert "'island'" in done.stdout
    states = project.states()
    assert states["AnomalyGate"] == "invalid"
    assert states["Transform"] == "not_run"


def test_whole_numbers_that_become_text_in_a_new_span_stop_it(tmp_path: Path) -> None:
    project = make(tmp_path / "birds")
    yaml("csv: penguins.csv, ", "time: year, ")(project)
    yaml("slices:", "spans: {window: 1}\nslices:")(project)
    assert project.benison("span", "add", "birds.yaml", "penguins.csv").returncode == 0
    assert project.benison("schema", "birds.yaml", "--accept").returncode == 0
    csv(lambda text: text.replace(",3750,", ",3750 g,", 1))(project)
    refused = project.benison("span", "add", "birds.yaml", "penguins.csv")
    assert refused.returncode == 1
    assert "penguins.csv: 99.7% of the rows have already landed in span 1 of birds. Models would be" in refused.stderr
    assert project.benison("span", "add", "birds.yaml", "penguins.csv", "--allow-repeated").returncode == 0
    done = project.run("--span", "2")
    assert done.returncode == 1
    assert "penguins.csv, line 2, column 'body_mass_g': got '3750 g', expected a whole number" in done.stdout
    assert not project.base.exists()
    removed = project.benison("span", "remove", "birds.yaml", "2", "--why", "grams as text")
    assert removed.returncode == 0, removed.stderr
    assert ": grams as text; its files are in " in removed.stdout
    assert "trained on it: no version" in removed.stdout
    assert removed.stdout.splitlines()[0] in project.benison("span", "list", "birds.yaml").stdout


def test_the_second_run_of_a_pipeline_in_a_root_is_refused_and_names_the_first(tmp_path: Path) -> None:
    project = make(tmp_path / "own")
    first = subprocess.Popen(
        project.command("run", "birds.yaml"),
        cwd=project.folder,
        env={k: v for k, v in os.environ.items() if not k.startswith("BENISON_")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not list(project.root.glob("runs/*/run.json")):
            assert first.poll() is None
            time.sleep(0.05)
        refused = project.run()
    finally:
        first.send_signal(signal.SIGTERM)
        assert first.wait(60) == 130
    (run,) = project.root.glob("runs/birds-*")
    assert project.last_run()["outcome"] == "interrupted"
    assert refused.returncode == 2
    assert f"run {run.name} of pipeline birds is under way; wait for it or use another --root" in refused.stderr


def test_two_pipelines_share_a_root_at_once(tmp_path: Path) -> None:
    project = make(tmp_path / "own")
    text = (project.folder / "birds.yaml").read_text()
    (project.folder / "others.yaml").write_text(text.replace("name: birds", "name: others"))
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda name: project.benison("schema", name), ["birds.yaml", "others.yaml"]))
    assert [d.returncode for d in done] == [0, 0], [d.stderr for d in done]
    assert done[0].stdout == done[1].stdout
    outcomes = {json.loads(file.read_text())["pipeline"] for file in project.root.glob("runs/*/run.json")}
    assert outcomes == {"birds", "others"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Project]]:
    """Create a project whose ROOT is a file system of its own, with a served version in it."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount")
    mounted = []

    def mount(options: str) -> Project:
        project = make(tmp_path / "own")
        project.root.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", project.root], check=True)
        mounted.append(project.root)
        served = project.base / "1000"
        served.mkdir(parents=True)
        (served / "saved_model.pb").touch()
        subprocess.run(["mount", "-o", f"remount,{options}", project.root], check=True)
        return project

    yield mount
    for root in mounted:
        subprocess.run(["umount", root], check=True)


@pytest.mark.system
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("ro", r"/\.benison/\S+: Read-only file system; make its file system writable, or use another folder"),
        ("size=8k", rf"/\.benison\S*: {FULL}"),  # not even the record of a run
        ("size=300k", rf"/metadata\.sqlite: the metadata store cannot be written: {FULL}"),  # not all of ML Metadata
        ("size=700k", FULL),  # a node in the middle
    ],
)
def test_a_full_disk_ends_the_run_but_not_the_served_version(small_disk, options: str, message: str) -> None:
    project = small_disk(options)
    done = project.run()
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert re.search(message, output)
    assert "Traceback" not in output
    assert project.versions() == ["1000"]
