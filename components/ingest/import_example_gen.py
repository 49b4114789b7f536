"""ImportExampleGen: reads TFRecord files of tf.Example and writes one Examples artifact with named splits.

Like CsvExampleGen it is TFX's component with another driver and executor: files are compared by content, and records
keep their order, so that the same data and seed give the same models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tfx import types
from tfx.components.example_gen.import_example_gen import component as base
from tfx.dsl.components.base import base_beam_executor, executor_spec
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from benison.components.ingest.content_driver import ContentDriver, input_of, record_files
from benison.components.ingest.example_writer import ExampleWriter, one_file_per_split
from benison.components.ingest.splits import check_counts, split_by_hash
from benison.serving.errors import DataError


class Executor(base_beam_executor.BaseBeamExecutor):
    """Executor that reads one record after the other; it needs no Beam runner."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        outputs = example_gen_pb2.Output()
        proto_utils.json_to_proto(exec_properties[standard_component_specs.OUTPUT_CONFIG_KEY], outputs)
        splits = {split.name: split.hash_buckets for split in outputs.split_config.splits}
        examples = artifact_utils.get_single_instance(output_dict[standard_component_specs.EXAMPLES_KEY])
        files = record_files(exec_properties, examples)
        with ExampleWriter(examples, one_file_per_split(splits)) as writer:
            for record in (record for file in files for record in records(file)):
                writer.write(split_by_hash([record.hex()], splits), record)
        check_counts(files[0], writer.counts)


class ImportExampleGen(base.ImportExampleGen):
    """Node that reads TFRecord files into splits by a hash of each record.

    Args:
        pattern: the files: an absolute path or pattern; see `data_files.find`. Files whose names end in .gz are
            gzipped.
        splits: hash buckets by split.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
    DRIVER_CLASS = ContentDriver

    def __init__(self, pattern: str, splits: Mapping[str, int]) -> None:
        super().__init__(
            **input_of(pattern),
            output_config=example_gen_pb2.Output(
                split_config=example_gen_pb2.SplitConfig(
                    splits=[
                        example_gen_pb2.SplitConfig.Split(name=name, hash_buckets=buckets)
                        for name, buckets in splits.items()
                    ]
                )
            ),
        )


def records(file: str) -> Iterator[bytes]:
    """Yield the serialised tf.Examples of a TFRecord file in order.

    Raises:
        DataError: a record is corrupt or not a tf.Example; names file and record.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    number = 0
    compression = "GZIP" if file.endswith(".gz") else ""
    try:
        for tensor in tf.data.TFRecordDataset(file, compression_type=compression):
            record: bytes = tensor.numpy()
            tf.train.Example.FromString(record)
            number += 1
            yield record
    except (tf.errors.DataLossError, tf.errors.OutOfRangeError, DecodeError) as error:
        fault = "not a tf.Example" if isinstance(error, DecodeError) else "corrupt or truncated"
        raise DataError(f"{file}, record {number + 1}: {fault}; write the file again") from None
