"""TFX asks three times which columns a preprocessing_fn reads; one trace of it answers."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from benison.components.transform_node import once


def test_the_columns_that_a_preprocessing_fn_reads_are_found_by_one_trace() -> None:
    traces = []

    def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
        traces.append(list(inputs))
        return {"scaled": tft.scale_to_z_score(inputs["a"]), "plain": inputs["b"]}

    specs = {name: tf.TensorSpec([None, 1], tf.float32) for name in "abc"}
    with once():
        for _ in range(2):
            assert tft.get_analyze_input_columns(preprocessing_fn, specs) == ["a"]
            assert tft.get_transform_input_columns(preprocessing_fn, specs) == ["a", "b"]
        assert len(traces) == 1
        assert tft.get_analyze_input_columns(preprocessing_fn, {"a": specs["a"], "b": specs["b"]}) == ["a"]
        assert len(traces) == 2
    tft.get_analyze_input_columns(preprocessing_fn, specs)
    tft.get_analyze_input_columns(preprocessing_fn, specs)
    assert len(traces) == 4
