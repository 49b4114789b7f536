"""Tests of the first nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benison.pipelines import config_file
from benison.pipelines.data import ingest
from benison.serving.errors import UsageError

# TFX and its dependencies emit warnings about one another.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", ["[1]", "what?", "a*"])
def test_a_root_that_beam_would_read_as_a_pattern_is_refused(tmp_path: Path, name: str) -> None:
    config = config_file.load("flights", environ={}, check_data=False)
    with pytest.raises(UsageError, match="choose another folder with --root"):
        ingest.build(config, tmp_path / name)
