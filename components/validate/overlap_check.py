"""OverlapCheck: stops a run if rows of `test` are also in `train`, more than chance explains.

Such a run would bless models that only remember rows: the same file that landed as two spans, an export that repeats
rows of the last one, a row that is there twice under two ids. Splits by hash keep equal rows together, but not rows
that differ in an id, and not rows of two spans.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from benison.components import groups, raw_examples
from benison.components.ingest.span_window import span_of_file
from benison.components.validate import row_hashes
from benison.components.validate.overlap import Overlap, measure
from benison.serving.close_names import did_you_mean
from benison.serving.errors import DataError

FILE = "overlap.json"
_SHOWN_CELLS = 8


class OverlapReport(types.Artifact):
    """`overlap.json`: the limit, and the overlap of `test` with `train` in each comparison."""

    TYPE_NAME = "OverlapReport"


class Executor(base_executor.BaseExecutor):
    """Executor that reads `train` and `test` once."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        options = json.loads(exec_properties["options"])
        time, ignored, limit = options["time"], options["ignored"], options["limit"]
        columns = raw_examples.column_types(raw_examples.load_schema(input_dict["schema"]))
        if by := options.get("by"):
            check_groups(input_dict["examples"], by, columns)
        kept = [name for name in (time, *ignored) if name in columns]
        candidates = [name for name, dtype in columns.items() if not dtype.is_floating and name != options["label"]]
        files = {split: raw_examples.split_files(input_dict["examples"], split) for split in ("train", "test")}
        by_span: dict[int | None, list[str]] = {}
        for file in files["train"]:
            by_span.setdefault(span_of_file(file), []).append(file)
        train = {span: row_hashes.read(names, columns, kept, candidates) for span, names in by_span.items()}
        test = row_hashes.read(files["test"], columns, kept, candidates)
        overlaps = measure(train, test, time if time in columns else None, [n for n in ignored if n in columns])
        report = {"limit": limit, "overlaps": [asdict(overlap) for overlap in overlaps]}
        Path(artifact_utils.get_single_uri(output_dict["report"]), FILE).write_text(json.dumps(report, indent=2))
        worst = max(overlaps, key=lambda overlap: (overlap.exceeds(limit), overlap.excess))
        if worst.exceeds(limit):
            example = row_hashes.row(files["test"], columns, worst.example or 0)
            raise DataError(message(worst, limit, example, len(by_span) > 1 or None not in by_span))
        print(f"rows of test that are also in train: {worst.common} of {worst.rows} (by chance: {worst.chance:.1%})")


class _Spec(ComponentSpec):
    PARAMETERS = {"options": ExecutionParameter(type=str)}
    INPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "schema": ChannelParameter(type=standard_artifacts.Schema),
    }
    OUTPUTS = {"report": ChannelParameter(type=OverlapReport)}


class OverlapCheck(base_component.BaseComponent):
    """Node that stops the nodes after it if too many rows of `test` are also in `train`.

    Args:
        examples: raw examples with the splits `train` and `test`.
        schema: names and types of the columns.
        label: name of the label.
        time: name of the time column; None if there is none.
        ignored: columns that are not features.
        limit: the largest allowed share of the rows of `test`, beyond chance.
        by: the column whose values must be in one split only; None if rows are independent.
    """

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        schema: types.BaseChannel,
        label: str,
        time: str | None,
        ignored: Sequence[str],
        limit: float,
        by: str | None = None,
    ) -> None:
        options = {"label": label, "time": time, "ignored": list(ignored), "limit": limit}
        options |= {"by": by} if by else {}
        super().__init__(
            _Spec(
                examples=examples,
                schema=schema,
                options=json.dumps(options, sort_keys=True),
                report=types.Channel(type=OverlapReport),
            )
        )


def check_groups(examples: list[types.Artifact], by: str, columns: Collection[str]) -> None:
    """Raise DataError if a value of the column of `splits.by` is in two splits, or the data has no such column.

    Args:
        examples: raw examples with the four splits.
        by: the column.
        columns: the columns of the schema.
    """
    if by not in columns:
        raise DataError(f"splits.by: no column {by!r}{did_you_mean(by, columns)} (the data has {', '.join(columns)})")
    splits = artifact_utils.decode_split_names(examples[0].split_names)
    values = {split: groups.values(raw_examples.split_files(examples, split), by) for split in splits}
    for first, second in itertools.combinations(splits, 2):
        if common := len(np.intersect1d(values[first], values[second])):
            raise DataError(f"splits.by: {common} values of {by!r} are in both {first} and {second}; run again")
    print(f"values of {by}:", ", ".join(f"{len(values[split])} in {split}" for split in splits))


def message(overlap: Overlap, limit: float, example: Mapping[str, str], in_spans: bool) -> str:
    """Describe an overlap that is too large.

    Args:
        overlap: the overlap.
        limit: the largest allowed share beyond chance.
        example: a row of `test` that is also in `train`.
        in_spans: the data has spans.
    """
    where = "train" if overlap.span is None else f"span {overlap.span} of train"
    columns = f", without {', '.join(overlap.without)}" if overlap.without else ""
    cells = [f"{name}={value}" for name, value in example.items() if name not in overlap.without]
    shown = ", ".join(cells[:_SHOWN_CELLS]) + (", …" if len(cells) > _SHOWN_CELLS else "")
    remedy = "`benison span list` shows the spans; remove or replace one that repeats rows of" if in_spans else "Remove"
    target = " another (`benison span remove`)" if in_spans else " rows that appear more than once"
    return (
        f"{overlap.common} of {overlap.rows} rows of test ({overlap.common / overlap.rows:.1%}) are also in {where}"
        f"{columns}; by chance it would be {overlap.chance:.1%}, and validation.max_overlap allows {limit:.1%} more; "
        f"for example {shown}. Models would be judged on rows that they were trained on. {remedy}{target}. If the rows "
        "are different events that look the same, set validation.max_overlap"
    )
