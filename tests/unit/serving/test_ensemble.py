"""The ensemble's spec: what it combines, and its round trip through a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serving.ensemble import Ensemble


def test_the_mean_is_the_arithmetic_mean_of_the_members_outputs() -> None:
    outputs = {"a": np.array([[0.2, 0.8], [1.0, 0.0]], np.float32), "b": np.array([[0.6, 0.4], [0.0, 1.0]], np.float32)}
    combined = Ensemble(("a", "b"), "mean", "probabilities").combine(outputs)
    np.testing.assert_allclose(combined, [[0.4, 0.6], [0.5, 0.5]], rtol=1e-6)


def test_it_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    spec = Ensemble(("b", "a"), "mean", "prediction")
    spec.save(tmp_path)
    assert Ensemble.load(tmp_path) == spec


def test_it_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Ensemble(("a",), "mean", "prediction").combiner = "mean"  # type: ignore[misc]
