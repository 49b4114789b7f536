"""Bad input: one clear message, the right exit code, nothing pushed, what is served untouched."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.conftest import Project, make

HEADER = "species,island,bill_length_mm,bill_depth_mm,flipper_length_mm,body_mass_g,sex,year"


@dataclass(frozen=True)
class Case:
    """What is done to a sound project, and what the run then says."""

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


def corrupt_tfrecord(project: Project) -> None:
    (project.folder / "birds.tfrecord").write_bytes(random.Random(0).randbytes(3000))
    yaml("csv: penguins.csv, ", "tfrecord: birds.tfrecord, ")(project)


CASES = {
    "missing file": Case(lambda p: p.csv.unlink(), 2, "no such file: penguins.csv"),
    "empty": Case(csv(lambda text: ""), 1, "penguins.csv: empty; expected a header line"),
    "header only": Case(csv(lambda text: HEADER + "\n"), 1, "0 rows are too few"),
    "one row": Case(csv(lambda text: "\n".join(text.splitlines()[:2]) + "\n"), 1, "1 rows are too few"),
    "ragged row": Case(csv(lambda text: text + "Adelie,Dream\n"), 1, "line 346: 2 cells, expected 8 as in the header"),
    "unclosed quote": Case(csv(lambda text: text + '"Adelie,Dream\n'), 1, "from line 346: unexpected end of data"),
    "latin-1": Case(
        csv(lambda text: text.replace("Biscoe", "Biscoé").encode("latin-1")),
        1,
        "not utf-8 (byte 0xe9); name the file's",
    ),
    "NUL bytes": Case(csv(lambda text: text.replace("Dream", "Dre\0am")), 1, "a NUL byte; the file is no text"),
    "10 MB field": Case(csv(lambda text: text + "x" * 10_000_000 + "\n"), 1, "field larger than field limit"),
    "duplicate column": Case(csv(lambda text: text.replace("sex", "year", 1)), 1, "column 'year' stands twice"),
    "empty column name": Case(csv(lambda text: text.replace("sex", "", 1)), 1, "column 7 has no name"),
    "wrong label": Case(yaml("label: species", "label: specie"), 1, "no column 'specie'; did you mean 'species'?"),
    "label of one class": Case(
        csv(lambda text: text.replace("Chinstrap", "Adelie").replace("Gentoo", "Adelie")),
        1,
        "rows of train have the same class, Adelie",
    ),
    "text for numbers": Case(
        csv(lambda text: text.replace(",3750,", ",heavy,", 1)),
        1,
        "line 2, column 'body_mass_g': got 'heavy', expected a whole number",
    ),
    "infinity": Case(csv(lambda text: text.replace(",39.1,", ",inf,", 1)), 1, "got 'inf', expected a finite number"),
    "new category": Case(csv(lambda text: text.replace("Torgersen", "جزيرة 🐧")), 1, "جزيرة 🐧"),
    "corrupt TFRecord": Case(corrupt_tfrecord, 1, "birds.tfrecord, record 1: corrupt or cut off"),
    "unknown key": Case(yaml("slices:", "slice:"), 2, "birds.yaml: slice: unknown key; did you mean 'slices'?"),
    "unknown member": Case(
        yaml("    linear:", "    liner:"), 2, "no function 'liner' in my_models.py; did you mean 'linear'?"
    ),
    "half a YAML": Case(yaml("members:", "members: {"), 2, "birds.yaml"),
    "a file as root": Case(lambda p: (p.folder / "taken").write_text(""), 1, "taken", ("--root", "taken")),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Project, subprocess.CompletedProcess[str]]]:
    """All cases, two at a time, each on a copy of a project with a curated schema and a served version."""
    sound = make(tmp_path_factory.mktemp("bad") / "sound")
    accepted = sound.benison("schema", "birds.yaml", "--accept")
    assert accepted.returncode == 0, accepted.stderr
    served = sound.base / "1000"
    served.mkdir(parents=True)
    (served / "saved_model.pb").touch()

    def answer(name: str) -> tuple[Project, subprocess.CompletedProcess[str]]:
        project = sound.copy(sound.folder.with_name(name.replace(" ", "-")))
        CASES[name].spoil(project)
        return project, project.run(*CASES[name].options)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(CASES, pool.map(answer, CASES), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_in_one_message_and_nothing_is_pushed(answers, name: str) -> None:
    project, done = answers[name]
    said = done.stdout + done.stderr
    assert done.returncode == CASES[name].exit_code, said
    assert CASES[name].message in said
    assert "Traceback" not in said
    assert [path.name for path in project.base.iterdir()] == ["1000"]


def test_two_runs_of_one_pipeline_in_one_root_meet(tmp_path: Path) -> None:
    from pipelines import locks

    project = make(tmp_path / "own")
    with locks.pipeline(project.root, "birds", "birds-the-first"):
        refused = project.run()
    assert refused.returncode == 2
    assert "run birds-the-first of pipeline birds is under way" in refused.stderr
