"""A column that leaks the label stops the run; test_main_job accepts one."""

from __future__ import annotations

from pathlib import Path

from tests.integration.conftest import make
from tests.integration.leaking import WARNING, add_rings


def test_it_stops_the_run(tmp_path: Path) -> None:
    project = make(tmp_path / "own")
    add_rings(project)
    done = project.run()
    assert done.returncode == 1
    assert f"LabelCheck found invalid data: {WARNING} If not, remove it from the data or ignore it." in done.stdout
    assert not project.base.exists()
