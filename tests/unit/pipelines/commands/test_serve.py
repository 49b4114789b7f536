"""`benison serve` reads the settings of the pipeline's YAML."""

from __future__ import annotations

from pathlib import Path

import pytest

from benison.pipelines.commands import serve


@pytest.mark.parametrize(("value", "expected"), [(None, True), ("true", True), ("false", False), ("maybe", True)])
def test_the_server_has_metrics_unless_the_yaml_turns_them_off(
    monkeypatch: pytest.MonkeyPatch, value: str | None, expected: bool
) -> None:
    if value is not None:
        monkeypatch.setenv("BENISON__SERVING__MONITORING", value)
    assert serve._has_metrics("penguins") is expected


def test_a_model_without_a_yaml_has_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert serve._has_metrics("no_such_pipeline")
