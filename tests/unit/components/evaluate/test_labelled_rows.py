"""Rows without a label, or of weight 0, are in no metric of TFX's Evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

# TFX and its dependencies emit warnings about one another.
pytestmark = pytest.mark.filterwarnings("ignore")

GOOD, BAD = [0.1, 0.9], [0.9, 0.1]
NO_LABEL = float("nan")


@pytest.mark.parametrize(
    ("labels", "predictions", "metric", "value", "weights"),
    [
        ([1, 1, 0, -1], [GOOD, GOOD, BAD, GOOD], "SparseCategoricalAccuracy", 1.0, None),
        ([1, 1, 0, -1], [GOOD, GOOD, BAD, GOOD], "SparseCategoricalCrossentropy", 0.1053605, None),
        ([3.0, 1.0, NO_LABEL, 0.0], [[1.0], [1.0], [7.0], [0.0]], "MeanSquaredError", 4 / 3, None),
        ([3.0, 1.0, 9.0, 0.0], [[1.0], [1.0], [7.0], [0.0]], "MeanSquaredError", 12 / 6, [3.0, 1.0, 0.0, 2.0]),
    ],
)
def test_tfma_computes_its_metrics_on_the_labelled_rows_that_count(
    labels: Sequence[float],
    predictions: Sequence[Sequence[float]],
    metric: str,
    value: float,
    weights: Sequence[float] | None,
) -> None:
    import apache_beam as beam
    import pyarrow as pa
    import tensorflow_model_analysis as tfma
    from apache_beam.testing.util import assert_that
    from tensorflow_model_analysis.api import model_eval_lib
    from tensorflow_model_analysis.proto import config_pb2

    from benison.components.evaluate.labelled_rows import custom_extractors

    config = config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                label_key="label", prediction_key="answer", **({"example_weight_key": "counts"} if weights else {})
            )
        ],
        metrics_specs=[
            config_pb2.MetricsSpec(metrics=[config_pb2.MetricConfig(class_name=n) for n in (metric, "ExampleCount")])
        ],
        slicing_specs=[config_pb2.SlicingSpec(), config_pb2.SlicingSpec(feature_keys=["town"])],
    )
    columns = {"label": [[label] for label in labels], "answer": predictions, "town": [["Bern"]] * len(labels)}
    if weights:
        columns["counts"] = [[weight] for weight in weights]
    batch = pa.RecordBatch.from_arrays([pa.array(values) for values in columns.values()], names=list(columns))

    def has_the_value(results: list[Any]) -> None:
        assert sorted(slice_key for slice_key, _ in results) == [(), (("town", "Bern"),)]
        for _, metrics in results:
            by_name = {key.name: number for key, number in metrics.items()}
            assert by_name.pop("example_count") == (sum(weights) if weights else 3)
            assert list(by_name.values()) == [pytest.approx(value, abs=1e-4)]

    with beam.Pipeline() as pipeline:
        evaluations = (
            pipeline
            | beam.Create([batch])
            | tfma.BatchedInputsToExtracts()
            | tfma.ExtractAndEvaluate(
                extractors=custom_extractors(None, config, None),
                evaluators=model_eval_lib.default_evaluators(eval_config=config),
            )
        )
        assert_that(evaluations["metrics"], has_the_value)
