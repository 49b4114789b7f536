"""The first rows of examples as plain values, and what a Transform makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def read(examples: Path, split: str, count: int, graph: Path | None = None) -> dict[str, Any]:
    """Read the first rows of a split.

    Args:
        examples: the folder of an Examples artifact: GZIP TFRecord files of tf.Example in a folder per split.
        split: the split's name.
        count: how many rows at most.
        graph: the folder of a TransformGraph artifact; None if the transformed rows are not needed.

    Returns:
        `rows`: values by column, None for a missing one, a list where there are several; and with a graph
        `transformed`: values by feature, a list per row.
    """
    import tensorflow as tf

    files = sorted(str(file) for file in (examples / f"Split-{split}").iterdir())
    records = [r.numpy() for r in tf.data.TFRecordDataset(files, compression_type="GZIP").take(count)]
    rows = [_values(tf.train.Example.FromString(record)) for record in records]
    if graph is None or not records:
        return {"rows": rows}

    import tensorflow_transform as tft

    transform = tft.TFTransformOutput(str(graph))
    parsed = tf.io.parse_example(records, transform.raw_feature_spec())
    return {"rows": rows, "transformed": {k: _plain(v) for k, v in transform.transform_raw_features(parsed).items()}}


def _values(example: Any) -> dict[str, Any]:
    values = {}
    for name in sorted(example.features.feature):
        feature = example.features.feature[name]
        kind = feature.WhichOneof("kind")
        cells = [_text(value) for value in getattr(feature, kind).value] if kind else []
        values[name] = cells[0] if len(cells) == 1 else cells or None
    return values


def _plain(tensor: Any) -> list[Any]:
    import tensorflow as tf

    dense = tf.sparse.to_dense(tensor) if isinstance(tensor, tf.SparseTensor) else tensor
    return [[_text(value) for value in row.reshape(-1).tolist()] for row in dense.numpy()]


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
