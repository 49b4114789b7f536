"""A SavedModel becomes a TensorFlow Lite file of one signature, or a reason why not; a loss is judged by its interval."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benison.components.deploy import tflite_model
from benison.components.deploy.tflite_converter import LiteSettings, Loss, judge, with_gaps
from benison.components.deploy.tflite_model import NotConvertible
from benison.serving import missing_values

ROWS = {"a": np.linspace(-1, 1, 50, dtype=np.float32)}
FEATURES = {"x": np.linspace(-1, 1, 50, dtype=np.float32)[:, None]}


def write(folder: Path, raw: Callable[..., Any], dtype: str, transformed: Callable[..., Any]) -> Path:
    """Write a SavedModel with the signatures `raw` of a column [batch], and `transformed` of a feature [batch, 1]."""
    import tensorflow as tf

    module = tf.Module()
    signatures = {}
    for name, function, spec in (
        ("raw", raw, tf.TensorSpec([None], dtype, name="a")),
        ("transformed", transformed, tf.TensorSpec([None, 1], tf.float32, name="x")),
    ):
        signatures[name] = tf.function(function, input_signature=[spec])
        setattr(module, name, signatures[name])
    tf.saved_model.save(module, str(folder), signatures)
    return folder


def squares(x: Any) -> dict[str, Any]:
    import tensorflow as tf

    values = tf.reshape(x, [-1, 1])
    return {"prediction": tf.matmul(values * values, tf.constant([[2.0]])) + 1.0}


def rows(signature: str) -> dict[str, np.ndarray]:
    return ROWS if signature == "raw" else FEATURES


@pytest.mark.parametrize(("quantize", "tolerance"), [("none", 1e-6), ("float16", 1e-2), ("int8", 0.05)])
def test_a_model_of_numbers_keeps_its_raw_signature(tmp_path: Path, quantize: str, tolerance: float) -> None:
    model = write(tmp_path / "m", squares, "float32", squares)
    lite = tflite_model.convert(model, quantize, rows)
    assert (lite.signature, lite.outside) == ("raw", "")
    answers = tflite_model.answers(lite.content, lite.signature, ROWS, "prediction")
    np.testing.assert_allclose(answers[:, 0], 2 * ROWS["a"] ** 2 + 1, atol=tolerance)


def test_what_tensorflow_lite_lacks_stays_outside_and_is_named(tmp_path: Path) -> None:
    import tensorflow as tf

    def of_text(a: Any) -> dict[str, Any]:
        return squares(tf.cast(tf.strings.length(a), tf.float32))

    def precise(a: Any) -> dict[str, Any]:
        return squares(tf.cast(tf.math.log1p(tf.cast(a, tf.float64)), tf.float32))

    for raw, dtype, reason in ((of_text, "string", "no text: a"), (precise, "float32", "Log1p of float64")):
        lite = tflite_model.convert(write(tmp_path / dtype, raw, dtype, squares), "none", rows)
        assert lite.signature == "transformed"
        assert reason in lite.outside
        answers = tflite_model.answers(lite.content, lite.signature, FEATURES, "prediction")
        np.testing.assert_allclose(answers, 2 * FEATURES["x"] ** 2 + 1, atol=1e-6)

    def hashed(x: Any) -> dict[str, Any]:
        return {"prediction": tf.cast(tf.strings.to_hash_bucket_fast(tf.strings.as_string(x), 5), tf.float32)}

    with pytest.raises(NotConvertible, match="TensorFlow Lite has no AsString, StringToHashBucketFast"):
        tflite_model.convert(write(tmp_path / "no", of_text, "string", hashed), "none", rows)


def test_a_file_that_cannot_refuse_a_missing_number_has_features(tmp_path: Path) -> None:
    import tensorflow as tf

    model = write(tmp_path / "m", lambda a: squares(tf.cast(a, tf.float32)), "int64", squares)
    missing_values.write(model, missing_values.describe({"a": ("a", "int64", True)}))
    assert tflite_model.convert(model, "none", rows).signature == "raw"
    missing_values.write(model, missing_values.describe({"a": ("a", "int64", False)}))
    lite = tflite_model.convert(model, "none", rows)
    assert (lite.signature, lite.outside[-1]) == ("transformed", "a")


@pytest.mark.parametrize(
    ("quantize", "max_drop", "high", "difference", "passed"),
    [
        ("int8", 0.02, 0.01, 0.3, True),
        ("int8", 0.0, 0.0, 0.0, False),  # no sample shows that nothing is lost
        ("int8", 0.02, 0.02, 0.0, False),
        ("int8", 0.02, float("nan"), 0.0, False),
        ("none", 0.02, 0.0, 1e-6, True),
        ("none", 0.02, 0.0, 1e-3, False),
    ],
)
def test_the_upper_end_of_the_drop_decides(
    quantize: str, max_drop: float, high: float, difference: float, passed: bool
) -> None:
    settings = LiteSettings(quantize, max_drop, "accuracy", None, None, 0.95, 1000, 0)
    losses = [
        Loss("rows of test", 9, 0.9, 0.9, 0.0, -0.01, -0.001, 0.0),
        Loss("with gaps", 9, 0.9, 0.9, 0.0, -0.01, high, difference),
    ]
    verdict, reason = judge(losses, settings)
    assert verdict is passed
    assert "with gaps" in reason


def test_each_row_loses_one_of_the_optional_cells() -> None:
    import tensorflow as tf

    def record(**cells: float) -> bytes:
        features = {name: tf.train.Feature(float_list=tf.train.FloatList(value=[v])) for name, v in cells.items()}
        return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()

    gaps = with_gaps(np.array([record(a=1, b=2, c=3)] * 20, object), ["b", "c"], seed=1)
    left = {tuple(sorted(tf.train.Example.FromString(row).features.feature)) for row in gaps}
    assert left == {("a", "b"), ("a", "c")}
