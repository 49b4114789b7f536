"""The shipped notebook runs from top to bottom and shows all that its text describes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from benison.pipelines.config_file import ENVIRONMENT_PREFIX

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "penguins.ipynb"
SHORT = {"linear__epochs": "20", "quadratic__epochs": "12", "deep__tuner__trials": "2", "deep__tuner__epochs": "5"}


def test_the_notebook_is_stored_without_outputs() -> None:
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]


def test_the_notebook_runs_and_shows_data_metrics_ensemble_and_blessing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in SHORT.items():
        monkeypatch.setenv(f"{ENVIRONMENT_PREFIX}ensemble__members__{key}", value)
    # jupyter_client sets the sticky bit of the folder in which it writes the connection file.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=400, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()
    shown = "\n".join(
        output.get("data", {}).get("text/html", "") + output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )
    for expected in (
        "flipper_length_mm",  # statistics and schema
        "anomaly",
        "sparse_categorical_accuracy",
        "island=Torgersen",
        "combiner",
        "weight",
        "better_than_majority",
        "Prediction(",
    ):
        assert expected in shown, expected
