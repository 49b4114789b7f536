"""The projects in examples/ work: each runs by the very commands of its README, copied out of the clone."""

from __future__ import annotations

import base64
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from benison.pipelines.config_file import ENVIRONMENT_PREFIX
from tests.integration.conftest import BENISON, CLONE
from tests.integration.model_server import running

EXAMPLES = CLONE / "examples"


def shortened(**epochs: int) -> dict[str, str]:
    """Return an environment that shortens the trainings; the commands stay those of the README."""
    return {f"{ENVIRONMENT_PREFIX}ensemble__members__{name}__epochs": str(count) for name, count in epochs.items()}


def commands(example: str) -> list[str]:
    """Return the commands of an example's README: its indented lines."""
    return re.findall(r"^    (\S.*)$", (EXAMPLES / example / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


def run(folder: Path, command: str, environment: Mapping[str, str] | None = None, benison: Path = BENISON) -> str:
    """Run a command of `benison` or of the clone's Python in a folder; return what it printed."""
    words = shlex.split(command)
    words[0] = {"benison": str(benison), "python": sys.executable}[words[0]]
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "COLUMNS": "200", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(EXAMPLES, tmp_path_factory.mktemp("projects") / "examples"))


def test_every_folder_is_listed_and_imports_only_benison() -> None:
    listed = set(re.findall(r"\]\((\w+)/README\.md\)", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
    assert listed == {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    for file in EXAMPLES.rglob("*.py"):
        assert not re.search(r"(from|import) benison\.", file.read_text(encoding="utf-8")), file


def test_a_csv_becomes_an_ensemble_with_the_wheel_alone_beside_a_package_named_pipelines(
    copied: Path, installed: tuple[Path, dict[str, str]]
) -> None:
    benison, environment = installed
    imports = "import benison.components, benison.pipelines, benison.serving, sys; print(sys.prefix, benison.__file__)"
    python = [str(benison.with_name("python")), "-c", imports]
    found = subprocess.run(
        python, cwd=copied, env={**os.environ, **environment}, check=True, capture_output=True, text=True, timeout=300
    )
    prefix, file = found.stdout.split()
    assert file.startswith(prefix), "the packages are the wheel's and not the clone's"
    short = {
        f"{ENVIRONMENT_PREFIX}ensemble__members": "{linear: {epochs: 40, hyperparameters: {learning_rate: 0.03}}}"
    }  # each member costs another training
    (copied / "csv/pipelines").mkdir()
    (copied / "csv/pipelines/__init__.py").write_text("raise ImportError('this is not Benison')\n")
    *_, trained, predicted = (
        run(copied / "csv", command, {**environment, **short}, benison) for command in commands("csv")
    )
    assert "blessed and pushed as version" in trained
    assert len(predicted.splitlines()) == 5, "version, header, three rows"


def test_pictures_become_an_ensemble_that_is_sent_png_files(copied: Path) -> None:
    *_, trained = (run(copied / "images", command, shortened(linear=8, cnn=4)) for command in commands("images"))
    assert "blessed and pushed as version" in trained
    served = f"--model_base_path={copied / 'images/.benison/serving/digits'}"
    with running(copied, served, "--model_name=digits") as server:
        files = sorted(copied.glob("images/pictures/*/*.png"))[::12]
        rows = [{"image": {"b64": base64.b64encode(file.read_bytes()).decode()}} for file in files]
        code, answer = server.post("digits:predict", {"signature_name": "raw", "instances": rows})
        assert code == 200, answer
        likeliest = [max(zip(row["probabilities"], row["classes"], strict=True))[1] for row in answer["predictions"]]
        right = [name == file.parent.name for name, file in zip(likeliest, files, strict=True)]
        assert sum(right) > 0.5 * len(files)
        code, answer = server.post("digits:predict", {"signature_name": "raw", "instances": [{"image": "no picture"}]})
        assert (code, list(answer)) == (400, ["error"])


def test_a_component_of_ones_own_runs_in_the_chain(copied: Path) -> None:
    (printed,) = (run(copied / "custom_component", command) for command in commands("custom_component"))
    assert "| bill_length_mm | " in printed


def test_own_features_and_members_are_served_and_a_client_asks_them(copied: Path) -> None:
    _, trained, predicted = (
        run(copied / "own_members", command, shortened(linear=20, ratios=20, deep=10))
        for command in commands("own_members")
    )
    assert "blessed and pushed as version" in trained
    assert predicted.splitlines()[1].split() == ["row", "ensemble", "linear", "ratios", "deep"]
    served = f"--model_base_path={copied / 'own_members/.benison/serving/penguins'}"
    with running(copied, served, "--model_name=penguins") as server:
        asked = commands("client")[-1].replace("8501", str(server.rest)).replace("8500", str(server.port))
        printed = run(copied / "client", asked).splitlines()
    assert printed[0].endswith("is AVAILABLE")
    assert [line.partition(" ")[2] for line in printed[1:3]] == [line.partition(" ")[2] for line in printed[3:5]]
    assert printed[5].startswith("refused: HTTP 400")


@pytest.mark.soak
def test_a_tuner_class_of_ones_own_runs_and_its_batch_size_goes_on_to_the_trainer(copied: Path) -> None:
    (trained,) = (run(copied / "own_tuner", command) for command in commands("own_tuner"))
    assert re.search(r"^Tuner\.cnn: 5 trials; best loss on valid .* batch_size (32|64|128)$", trained, re.MULTILINE)
    assert "blessed and pushed as version" in trained
