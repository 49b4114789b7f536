"""The executor of TFX's StatisticsGen that needs no Beam for a small table.

A Beam pipeline of some fifty stages takes several times as long as the statistics of a few thousand rows. TFDV computes
them in memory too, by the same generators. They differ in the last digits of means, because the sums are added in
another order.
"""

from __future__ import annotations

import os
from typing import Any

from tfx import types
from tfx.components.statistics_gen import executor
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import json_utils, stats_utils

from benison.components.raw_examples import split_files

MOST_ROWS = 16_384  # of a split: so many different texts of a column are counted exactly, each with its frequency


class Executor(executor.Executor):
    """TFX's executor, for a StatisticsGen without options; tables with more rows go the usual way."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        import tensorflow as tf
        from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

        examples = artifact_utils.get_single_instance(input_dict[standard_component_specs.EXAMPLES_KEY])
        splits = artifact_utils.decode_split_names(examples.split_names)
        records = {split: _records(split_files([examples], split)) for split in splits}
        if not all(0 < len(rows) <= MOST_ROWS for rows in records.values()):
            super().Do(input_dict, output_dict, exec_properties)
            return
        statistics = artifact_utils.get_single_instance(output_dict[standard_component_specs.STATISTICS_KEY])
        # What TFX notes down of the artifact.
        statistics.split_names = artifact_utils.encode_split_names(splits)
        statistics.span = examples.span
        link = stats_utils.generate_stats_dashboard_link(statistics)
        statistics.set_string_custom_property(executor.STATS_DASHBOARD_LINK, link)
        rates = json_utils.dumps(dict.fromkeys(splits, 1.0))
        statistics.set_json_value_custom_property(executor.SAMPLE_RATE_BY_SPLIT_PROPERTY_NAME, rates)
        for split, rows in records.items():
            computed = _computed(ExamplesToRecordBatchDecoder().DecodeBatch(rows))
            folder = artifact_utils.get_split_uri([statistics], split)
            tf.io.gfile.makedirs(folder)
            with tf.io.gfile.GFile(os.path.join(folder, executor.DEFAULT_FILE_NAME), "wb") as file:
                file.write(computed.SerializeToString())


def _records(files: list[str]) -> list[bytes]:
    """Return the serialised tf.Examples in files; of more than `MOST_ROWS`, the first ones."""
    import tensorflow as tf

    batches = tf.data.TFRecordDataset(files, compression_type="GZIP").batch(MOST_ROWS + 1)
    return next((batch.numpy().tolist() for batch in batches), [])


def _computed(batch: Any) -> Any:
    """Return TFDV's statistics of an Arrow record batch: `tensorflow_metadata`'s DatasetFeatureStatisticsList."""
    from tensorflow_data_validation import StatsOptions
    from tensorflow_data_validation.statistics import stats_impl
    from tensorflow_data_validation.statistics.generators.top_k_uniques_sketch_stats_generator import (
        TopKUniquesSketchStatsGenerator,
    )

    options = StatsOptions()
    exact = TopKUniquesSketchStatsGenerator(
        num_top_values=options.num_top_values,
        num_rank_histogram_buckets=options.num_rank_histogram_buckets,
        frequency_threshold=options.frequency_threshold,
        weighted_frequency_threshold=options.weighted_frequency_threshold,
        num_misragries_buckets=MOST_ROWS,
        num_kmv_buckets=MOST_ROWS,
    )
    generators = [
        exact if isinstance(generator, TopKUniquesSketchStatsGenerator) else generator
        for generator in stats_impl.get_generators(options, in_memory=True)
    ]
    parts = stats_impl.generate_partial_statistics_in_memory(batch, options, generators)
    return stats_impl.extract_statistics_output(parts, generators)
