"""The label in the rows of every split: its classes, and the rows without one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tfx import types
from tfx.types import artifact_utils

from benison.components import raw_examples, sample_weights
from benison.components.label_classes import Classes, LabelSchema, by_value, ordered
from benison.serving.errors import DataError

_REMEDY = "fix the data, or remove the mark of the label's cells from data.missing"


def read(examples: list[types.Artifact], schema: Any, label: str, weight: str | None = None) -> dict[str, Counter[str]]:
    """Count the rows of each class, by split; rows without a label, or of weight 0, do not count.

    Args:
        examples: raw examples, GZIP TFRecord files of tf.Example.
        schema: TensorFlow Metadata's Schema.
        label: name of the label.
        weight: the column of the sample weights; None if there is none.

    Raises:
        DataError: a class is not UTF-8.
    """
    import tensorflow as tf

    from benison.components.transform import as_text

    by_split: dict[str, Counter[str]] = {}
    for split, batches in _batches(examples, schema, label, weight):
        counts = by_split[split] = Counter()
        for values, _ in batches:
            names, _, numbers = tf.unique_with_counts(as_text(values))
            for name, number in zip(names.numpy(), numbers.numpy(), strict=True):
                counts[_decoded(name, label, split)] += int(number)
        del counts[""]
    return by_split


def rows_without_label(
    examples: list[types.Artifact], schema: Any, label: str, weight: str | None = None
) -> dict[str, tuple[int, int]]:
    """Count the rows that have no label, and all rows, by split; the arguments are those of `read`."""
    counts = {}
    for split, batches in _batches(examples, schema, label, weight):
        missing = rows = 0
        for values, batch_rows in batches:
            rows += batch_rows
            missing += batch_rows - int(raw_examples.has_value(values).numpy().sum())
        counts[split] = (missing, rows)
    return counts


def has_fewer(
    examples: list[types.Artifact],
    schema: Any,
    label: str,
    splits: Collection[str],
    limit: float,
    weight: str | None = None,
) -> bool:
    """Return True if some splits together have fewer rows with a label than `limit`; it reads no more rows than that.

    The arguments are those of `read`, and the splits. The number decides how long training takes, so it is that of the
    rows, however unequal their weights are.
    """
    labelled = 0
    for split, batches in _batches(examples, schema, label, weight):
        for values, _ in batches if split in splits else ():
            labelled += int(raw_examples.has_value(values).numpy().sum())
            if labelled >= limit:
                return False
    return labelled < limit


def of_span(folder: str, label: str, weight: str | None = None) -> tuple[NDArray, NDArray[np.float64]]:
    """Return the label of all rows of a span that have one, and the sample weights of these rows; empty if none has.

    Rows of weight 0 do not count.

    Args:
        folder: the folder with the span's files, GZIP TFRecord files of tf.Example; its types need no schema.
        label: name of the label, which is text, or a number that becomes float64.
        weight: the column of the sample weights; None, or a span without the column, for equal ones.
    """
    import tensorflow as tf

    files = sorted(tf.io.gfile.glob(f"{folder}/*"))
    found = {name: raw_examples.type_in_records(files, name) for name in (label, weight) if name is not None}
    kinds = {name: kind for name, kind in found.items() if kind is not None}
    if label not in kinds:
        return np.zeros(0), np.zeros(0)
    values, weights = [], []
    for records, cells in raw_examples.cells_in_records(files, kinds):
        of_rows = sample_weights.of_cells(cells[weight]).numpy() if weight in kinds else np.ones(len(records))
        of_cells = of_rows[cells[label].indices[:, 0].numpy()]
        counted = raw_examples.has_value(cells[label].values).numpy() & (of_cells > 0)
        values.append(cells[label].values.numpy()[counted])
        weights.append(of_cells[counted].astype(np.float64))
    every = np.concatenate(values)
    return every if kinds[label] == tf.string else every.astype(np.float64), np.concatenate(weights)


def _batches(
    examples: list[types.Artifact], schema: Any, label: str, weight: str | None
) -> Iterator[tuple[str, Iterator[tuple[Any, int]]]]:
    """Yield each split with its batches: the cells of the label that are there, and the number of rows.

    Rows of weight 0 are skipped.
    """
    import tensorflow as tf

    types_ = raw_examples.column_types(schema)
    kinds = {name: types_[name] for name in (label, *([weight] if weight else []))}

    def of(split: str) -> Iterator[tuple[Any, int]]:
        files = raw_examples.split_files(examples, split)
        for records, cells in raw_examples.cells_in_records(files, kinds):
            values = cells[label].values
            if weight is None:
                yield values, len(records)
                continue
            counts = sample_weights.of_cells(cells[weight]) > 0
            counted = tf.gather(counts, cells[label].indices[:, 0])
            yield tf.boolean_mask(values, counted), int(tf.math.count_nonzero(counts))

    for split in artifact_utils.decode_split_names(examples[0].split_names):
        yield split, of(split)


def classes_of(
    label: str,
    problem: str,
    by_split: Mapping[str, Counter[str]],
    schema: LabelSchema,
    positive: str | None,
) -> Classes:
    """Return the classes that members answer with: those of the schema, else those of all splits.

    Args:
        label: name of the label.
        problem: binary or multiclass.
        by_split: rows by class, by split.
        schema: what the schema says about the label.
        positive: `positive:` of the YAML; None if it does not say.

    Raises:
        DataError: see `label_classes.ordered`.
    """
    return ordered(label, problem, every_class(by_split), schema, positive)


def every_class(by_split: Mapping[str, Counter[str]]) -> tuple[str, ...]:
    """Return the classes of all splits, in the order of class ids."""
    return by_value(name for counts in by_split.values() for name in counts)


def class_warnings(label: str, names: Sequence[str], by_split: Mapping[str, Counter[str]]) -> list[str]:
    """Return a warning about classes that no member can learn, and one about those that no metric measures.

    Args:
        label: name of the label.
        names: the classes.
        by_split: rows by class, by split.
    """
    train, test = by_split["train"], by_split["test"]
    others = [counts for split, counts in by_split.items() if split not in ("train", "test")]
    absent = {name: any(counts[name] for counts in others) for name in names if not train[name]}
    unknown = [f"{name!r} ({_where(name, by_split)})" for name, elsewhere in absent.items() if not elsewhere]
    rare = [f"{name!r} ({_where(name, by_split)})" for name, elsewhere in absent.items() if elsewhere]
    unmeasured = [f"{name!r} ({_where(name, by_split)})" for name in names if train[name] and not test[name]]
    warnings = []
    if unknown:
        warnings.append(
            f"label {label!r}: train has no row of the class {_shortened(unknown)}: no member can learn it, and its "
            "rows in other splits count as wrong answers"
        )
    if rare:
        warnings.append(
            f"label {label!r}: train has no row of the class {_shortened(rare)}: a member can learn it only where it "
            "learns from these splits too, as from fewer than 50,000 rows"
        )
    if unmeasured:
        warnings.append(
            f"label {label!r}: test has no row of the class {_shortened(unmeasured)}: no metric measures how well it "
            "is recognised"
        )
    return warnings


def check_missing(name: str, unlabelled: Mapping[str, tuple[int, int]], limit: float) -> None:
    """Raise DataError if a split has no label at all, or if too many rows have none.

    The limit is that of all rows, and of each split: where the latest outcomes are not known yet, they are missing in
    `test`, and the few that are known are no fair sample. A split may exceed it by three standard deviations, because
    a small split has more or fewer of them by chance.

    Args:
        name: name of the label.
        unlabelled: rows without a label, and all rows, by split.
        limit: the largest allowed share.
    """
    for split, (absent, of_split) in unlabelled.items():
        if absent == of_split:
            raise DataError(f"label {name!r}: no row of {split} has a label; {_REMEDY}")
    missing, rows = (sum(numbers) for numbers in zip(*unlabelled.values(), strict=True))
    if missing > limit * rows:
        raise DataError(_too_many(name, missing, rows, "rows", limit))
    for split, (absent, of_split) in unlabelled.items():
        if absent > limit * of_split + 3 * math.sqrt(of_split * limit * (1 - limit)):
            raise DataError(_too_many(name, absent, of_split, f"rows of {split}", limit))


def _too_many(name: str, missing: int, rows: int, noun: str, limit: float) -> str:
    return (
        f"label {name!r}: {missing} of {rows} {noun} ({missing / rows:.1%}) have no label, more than "
        f"validation.max_missing_labels allows ({limit:.0%}); fix the data, or raise the limit: these rows are skipped"
    )


def missing_warnings(name: str, unlabelled: Mapping[str, tuple[int, int]]) -> list[str]:
    """Return a warning about the rows without a label, if there are any; they are in no metric."""
    parts = [
        f"{count} of {rows} rows of {split} ({count / rows:.1%})"
        for split, (count, rows) in unlabelled.items()
        if count
    ]
    return [f"label {name!r} is missing in {', '.join(parts)}; these rows are skipped"] if parts else []


def _where(name: str, by_split: Mapping[str, Counter[str]]) -> str:
    """Return the number of rows of a class in each split that has some, such as `1 row of train`."""
    counts = ((counts[name], split) for split, counts in by_split.items())
    return (
        ", ".join(f"{rows} {'row' if rows == 1 else 'rows'} of {split}" for rows, split in counts if rows) or "no row"
    )


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} others" if len(names) > 5 else "")


def _decoded(name: bytes, label: str, split: str) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise DataError(
            f"label {label!r}: {split} has the class {name[:40]!r}, which is not UTF-8; write the label as UTF-8 text"
        ) from None
