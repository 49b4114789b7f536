"""The manifest format that `benison compile` writes."""

from __future__ import annotations

import re
from pathlib import Path

from benison.pipelines.airflow import manifest

DAGS = Path(__file__).parents[4] / "dags/benison_dags.py"


def test_the_dag_files_read_the_format_that_compile_writes() -> None:
    """The DAG files cannot import the number, because Airflow's environment has no Benison."""
    assert re.findall(r"^FORMAT = (\d+)", DAGS.read_text(), re.MULTILINE) == [str(manifest.FORMAT)]
