"""The command line answers without running anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENISON = Path(sys.executable).with_name("benison")
HEAVY = ("tensorflow", "tfx", "keras", "apache_beam", "pandas")


def benison(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BENISON, *words], cwd=cwd, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["list"],
        ["validate", "penguins", "--config-only"],
        ["runs"],
        ["doctor"],
        ["serve", "never-pushed"],
        ["versions", "never-pushed"],
        ["deploy", "--help"],
    ],
)
def test_what_runs_nothing_imports_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    script = (
        "import sys; from benison.pipelines import cli\n"
        f"sys.argv = ['benison', *{words!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit: pass\n"
        f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "heavy: []" in done.stderr


def test_the_shipped_pipeline_is_listed(tmp_path: Path) -> None:
    assert "penguins" in benison("list", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "pengiuns"], "did you mean 'penguins'?"),
        (["validate", "penguins", "--set", "ensemble.members.deep.function=depp"], "no function 'depp'"),
        (["runs", "--root", "data [1]"], "data [1]: the path of ROOT must not contain any of * ? ["),
        (["validate", "penguins", "--set", "seed"], "expected KEY=VALUE"),
        (["predict", "penguins"], "expected one of --csv FILE and --json FILE"),
        (["predict", "penguins", "--csv", "a", "--json", "b"], "expected one of --csv FILE and --json FILE"),
    ],
)
def test_wrong_usage_is_one_message_and_exit_code_2(words: list[str], message: str, tmp_path: Path) -> None:
    done = benison(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_predicting_before_anything_is_served_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a\n1\n")
    done = benison("predict", "penguins", "--csv", "rows.csv", cwd=tmp_path)
    assert done.returncode == 1
    assert "nothing is pushed yet; `benison run penguins` pushes a version" in done.stderr


def test_a_folder_without_runs_says_so(tmp_path: Path) -> None:
    assert "no runs in" in benison("runs", cwd=tmp_path).stdout


def test_the_help_lists_the_commands_in_groups(tmp_path: Path) -> None:
    done = benison("--help", cwd=tmp_path)
    groups = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("╭─")]
    assert groups == ["Options", "Begin", "Run", "Data", "Predict", "Versions", "This"]


def test_a_machine_without_tfx_is_told_what_to_install(tmp_path: Path) -> None:
    script = (
        "import sys; from benison.pipelines import cli\n"
        "sys.modules['tfx'] = sys.modules['tensorflow_metadata'] = None\n"
        "sys.argv = ['benison', 'run', 'penguins', '--to', 'SchemaGen']\n"
        "cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "TFX is not installed, which pipelines need; install benison[tfx]" in done.stderr
    assert "Traceback" not in done.stderr
