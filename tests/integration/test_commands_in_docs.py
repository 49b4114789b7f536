"""The commands in the documentation run, page by page and in their order.

`tests/unit/ci/test_commands_in_docs.py` checks that every command is one that exists; here they run. Only those about
versions, deployment and reports run in each `make test`; the others train models, and run in the soak tests.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from benison.serving.versions import local
from tests.commands_in_docs import CLONE, DOCS, Command, files, in_blocks
from tests.integration.conftest import BENISON, Project
from tests.integration.model_server import wait_until

VERSION = re.compile(r"\b1795\d{6}\b")  # all that stand for a version in the documentation
NEEDS_STORE = "benison fetch"  # an object store, which the tests of stores have
SERVES = ("benison serve", "benison tensorboard", "benison ui")  # until Ctrl-C


@dataclass(frozen=True)
class Reader:
    """Somebody who types the commands of one page into one shell.

    Attributes:
        folder: where.
        root: ROOT.
        base: the folder of the versions whose numbers replace those in the documentation.
        names: the names of pipelines that replace those in the documentation.
    """

    folder: Path
    root: Path
    base: Path
    names: tuple[str, str] = ("penguins", "penguins")

    def runs(self, commands: list[Command]) -> None:
        """Run the commands that a test can run; a server runs until the others have ended."""
        with ExitStack() as servers:
            for command in commands:
                write_blocks(command, self.folder)
                if command.why_not or {words[0] for words in command.calls} - {"benison"}:
                    continue
                text = self.here(command.text)
                if text.startswith(SERVES):
                    servers.enter_context(self.serving(command, text))
                    continue
                done = subprocess.run(
                    ["bash", "-c", text],
                    cwd=self.folder,
                    env=self.environment,
                    capture_output=True,
                    text=True,
                    timeout=900,
                )
                assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    @contextmanager
    def serving(self, command: Command, text: str) -> Iterator[None]:
        log = self.folder / "server.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {text}"], cwd=self.folder, env=self.environment, stdout=output, stderr=output
            )
        try:
            wait_until(lambda: process.poll() is not None or "Ctrl-C" in log.read_text(), 120)
            assert process.poll() is None, f"{command}\n{log.read_text()}"
            yield
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0, f"{command}\n{log.read_text()}"
        finally:
            process.kill()
            process.wait()

    def here(self, text: str) -> str:
        """Put the versions that there are into a command: the first number is that of the second newest version."""
        numbers = [str(version.number) for version in local.versions(self.base)] if self.base.is_dir() else []
        for old, new in zip(
            sorted(set(VERSION.findall(text))), numbers[-len(set(VERSION.findall(text))) :], strict=False
        ):
            text = text.replace(old, new)
        return re.sub(rf"\b{self.names[0]}\b", self.names[1], text)

    @property
    def environment(self) -> dict[str, str]:
        others = {key: value for key, value in os.environ.items() if not key.startswith("BENISON_")}
        return {**others, "PATH": f"{BENISON.parent}:{os.environ['PATH']}", "BENISON_ROOT": str(self.root)}


def write_blocks(command: Command, folder: Path) -> None:
    """Write the files that the page shows before a command."""
    for name, text in files(CLONE / command.page, command.line).items():
        (folder / name).write_text(text, encoding="utf-8")


def pets(file: Path, seed: int, rows: int = 400, *, label: bool = True) -> None:
    """Write a CSV of pets, of whom the young are adopted."""
    random.seed(seed)
    lines = ["species,age" + ",adopted" * label]
    for _ in range(rows):
        species, age = random.choice(["cat", "dog", "hamster"]), random.randint(0, 15)
        adopted = "yes" if age + random.gauss(0, 2) < (9 if species == "dog" else 6) else "no"
        lines.append(f"{species},{age}" + f",{adopted}" * label)
    file.write_text("\n".join(lines) + "\n")


def test_the_commands_about_versions_deployment_and_reports_run(pushed: Project, tmp_path: Path) -> None:
    birds = pushed.copy(tmp_path / "project")
    (version,) = local.versions(birds.base)
    later = shutil.copytree(version.path, version.path.with_name(str(int(version.number) + 1)))
    manifest = later / "manifest.json"
    manifest.write_text(manifest.read_text().replace(str(version.number), later.name))
    reader = Reader(birds.folder, birds.root, birds.base, ("penguins", "birds"))
    makes = ("benison reproduce", NEEDS_STORE)  # trains again
    commands = [command for page in ("versions", "deploy", "report") for command in in_blocks(DOCS / f"{page}.md")]
    reader.runs([command for command in commands if not command.text.startswith(makes)])


@pytest.fixture(scope="module")
def penguins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ROOT with two pushed versions of the penguins, of which the first is served."""
    root = tmp_path_factory.mktemp("penguins") / "root"
    for seed, promote in (("7", "auto"), ("8", "manual")):
        settings = ["--set", f"seed={seed}", "--set", f"serving.promote={promote}"]
        done = subprocess.run([BENISON, "run", "penguins", "--root", root, *settings], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return root


@pytest.mark.soak
@pytest.mark.parametrize("page", ["versions", "quickstart", "serving", "deploy", "seldon"])
def test_the_commands_about_penguins_run(page: str, penguins: Path, tmp_path: Path) -> None:
    (tmp_path / "configs").symlink_to(CLONE / "configs")
    pets(tmp_path / "pets.csv", 1)
    pets(tmp_path / "new.csv", 2, 5, label=False)
    commands = [command for command in in_blocks(DOCS / f"{page}.md") if not command.text.startswith(NEEDS_STORE)]
    Reader(tmp_path, penguins, penguins / "serving" / "penguins").runs(commands)


@pytest.mark.soak
@pytest.mark.parametrize("page", ["README.md", "docs/pipelines.md", "docs/data.md"])
def test_the_commands_about_pets_run(page: str, tmp_path: Path) -> None:
    for number, name in enumerate(("pets", "may", "june")):
        pets(tmp_path / f"{name}.csv", number)
    pets(tmp_path / "new.csv", 9, 5, label=False)
    Reader(tmp_path, tmp_path / ".benison", tmp_path / ".benison/serving/pets").runs(in_blocks(CLONE / page))
