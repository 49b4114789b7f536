"""The classes of a label in the rows of every split, and their check against the schema."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tfx import types
from tfx.types import artifact_utils

from benison.components import raw_examples
from benison.components.label_classes import Classes, LabelSchema, ordered
from benison.serving.errors import DataError

_BATCH_ROWS = 8192


def read(examples: list[types.Artifact], schema: Any, label: str) -> dict[str, Counter[str]]:
    """Count the rows of each class, by split; rows without a label do not count.

    Args:
        examples: raw examples, GZIP TFRecord files of tf.Example.
        schema: TensorFlow Metadata's Schema.
        label: name of the label.
    """
    import tensorflow as tf

    from benison.components.transform import as_text

    by_split: dict[str, Counter[str]] = {}
    for split, batches in _batches(examples, schema, label):
        counts = by_split[split] = Counter()
        for values, _ in batches:
            names, _, numbers = tf.unique_with_counts(as_text(values))
            for name, number in zip(names.numpy(), numbers.numpy(), strict=True):
                counts[name.decode("utf-8", "replace")] += int(number)
        del counts[""]
    return by_split


def rows_without_label(examples: list[types.Artifact], schema: Any, label: str) -> dict[str, tuple[int, int]]:
    """Count the rows that have no label, and all rows, by split; the arguments are those of `read`."""
    counts = {}
    for split, batches in _batches(examples, schema, label):
        missing = rows = 0
        for values, batch_rows in batches:
            rows += batch_rows
            missing += batch_rows - int(_has_value(values).numpy().sum())
        counts[split] = (missing, rows)
    return counts


def _batches(
    examples: list[types.Artifact], schema: Any, label: str
) -> Iterator[tuple[str, Iterator[tuple[Any, int]]]]:
    """Yield each split with its batches: the cells of the label that are there, and the number of rows."""
    import tensorflow as tf

    spec = {label: tf.io.VarLenFeature(raw_examples.column_types(schema)[label])}

    def of(split: str) -> Iterator[tuple[Any, int]]:
        files = raw_examples.split_files(examples, split)
        for records in tf.data.TFRecordDataset(files, compression_type="GZIP").batch(_BATCH_ROWS):
            yield tf.io.parse_example(records, spec)[label].values, len(records)

    for split in artifact_utils.decode_split_names(examples[0].split_names):
        yield split, of(split)


def classes_of(
    label: str,
    problem: str,
    by_split: Mapping[str, Counter[str]],
    schema: LabelSchema,
    positive: str | None,
) -> Classes:
    """Return the classes that members learn: those of the schema, else those of `train`.

    Args:
        label: name of the label.
        problem: binary or multiclass.
        by_split: rows by class, by split.
        schema: what the schema says about the label.
        positive: `positive:` of the YAML; None if it does not say.

    Raises:
        DataError: see `label_classes.ordered`; or other splits have classes that `train` does not have, and that the
            schema does not list.
    """
    everywhere = sum(by_split.values(), Counter())
    if not schema.listed and everywhere.keys() - by_split["train"].keys() and len(by_split["train"]) > 1:
        if problem == "binary" and len(everywhere) > 2:
            return ordered(label, problem, everywhere, schema, positive)  # it says that there are too many
        raise DataError(
            f"label {label!r}: {_unknown(by_split)}, and no row of train; the schema lists no classes. Add rows to "
            "train, or list all classes in the schema (type: BYTES, with a string_domain)"
        )
    return ordered(label, problem, by_split["train"], schema, positive)


def _unknown(by_split: Mapping[str, Counter[str]]) -> str:
    """Describe the classes that only splits other than `train` have."""
    facts = []
    for split, counts in by_split.items():
        names = sorted(counts.keys() - by_split["train"].keys())
        if names:
            rows = sum(counts[name] for name in names)
            shown = ", ".join(map(repr, names[:5])) + (", …" if len(names) > 5 else "")
            facts.append(f"{rows} rows of {split} have the class {shown}")
    return "; ".join(facts)


def _has_value(values: Any) -> Any:
    """Return a mask of the values of a label that are one: '' and NaN are missing cells."""
    import tensorflow as tf

    if values.dtype.is_floating:
        return tf.math.is_finite(values)
    return tf.not_equal(values, "") if values.dtype == tf.string else tf.ones_like(values, tf.bool)
