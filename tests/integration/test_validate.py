"""`benison validate` builds the members."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.integration.conftest import BENISON


def benison(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BENISON, *words], cwd=cwd, capture_output=True, text=True, timeout=300)


def test_the_shipped_pipeline_is_valid(tmp_path: Path) -> None:
    valid = benison("validate", "penguins", cwd=tmp_path)
    assert valid.returncode == 0, valid.stderr
    assert "linear, quadratic, deep" in valid.stdout


def test_validate_imports_the_code_and_builds_the_members(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text("import keras\n\ndef deep(inputs, hp):\n    import numppy\n")
    broken = ["--set", f"ensemble.members.deep.function={tmp_path}/models.py:deep"]
    broken += ["--set", "ensemble.members.linear.hyperparameters={learning_rat: 5}"]
    done = benison("validate", "penguins", *broken, cwd=tmp_path)
    assert done.returncode == 2
    assert (
        "ensemble.members.deep: models.py, line 4 (deep): ModuleNotFoundError: No module named 'numppy'" in done.stderr
    )
    assert "never reads the hyperparameter 'learning_rat'; did you mean 'learning_rate'?" in done.stderr
    assert len(done.stderr.splitlines()) == 2
