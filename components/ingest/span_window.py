"""SpanWindow: combines the Examples of one or more spans into one artifact with the four splits, without copying rows.

Transform and Evaluator require one Examples artifact with splits, but ExampleGen ingests one span per run. The rows of
each span are stored in files by part (see `splits.parts_by_time`), so the splits of a window are hard links to whole
files: `test` is the newest span, the other splits are hash buckets of the earlier spans. In a window of one span,
`test` is the latest part of that span.

With `splits.by`, rows of a group that is also in `test` are left out of the other splits, so their files may be copies
without these rows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.components.common.resolver import ResolverStrategy
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from benison.components import groups
from benison.components.ingest.arguments import CONTENTS, FILES
from benison.components.ingest.csv_table import KINDS_OF_COLUMNS, WARNINGS
from benison.components.ingest.splits import ROW_COUNTS, SINGLE_SPAN_PARTS, SPAN_SPLIT, TRAINING_SPLITS, check_counts
from benison.serving.errors import DataError

SPANS = "spans"  # artifact property: JSON list of the window's spans
_FILE_PREFIX = "span-"
_NOUNS = {"int": "whole numbers", "float": "numbers with a fraction", "bytes": "text, or no value,"}


class NewestOfEachSpan(ResolverStrategy):
    """Resolver that selects, for each span, the artifact that was written or taken from the cache last.

    TFX's SpanRangeStrategy selects all artifacts of a span, including those written with an earlier schema or content.
    The newest artifact is not always the right one: if a span's data or the schema is changed back, the cache returns
    the older artifact.

    Args:
        spans: the spans, ascending.
    """

    def __init__(self, spans: Sequence[int]) -> None:
        self._spans = spans

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]] | None:
        """Return the last artifact of each span, or None if there is none; TFX's contract of a resolver."""
        events = store.get_events_by_artifact_ids([artifact.id for artifact in input_dict["examples"]])
        last_output: dict[int, int] = {}
        for event in events:
            if event.type == mlmd.proto.Event.OUTPUT:
                last_output[event.artifact_id] = max(event.execution_id, last_output.get(event.artifact_id, 0))
        newest: dict[int, types.Artifact] = {}
        for artifact in sorted(input_dict["examples"], key=lambda a: (last_output.get(a.id, 0), a.id)):
            newest[artifact.get_int_custom_property("span")] = artifact
        resolved = [newest[span] for span in self._spans if span in newest]
        return {"examples": resolved} if resolved else None


class Executor(base_executor.BaseExecutor):
    """Executor that links the parts of each span into the splits."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        by_span = {artifact.get_int_custom_property("span"): artifact for artifact in input_dict["examples"]}
        spans_of_window = json.loads(exec_properties["spans"])
        absent = [span for span in spans_of_window if span not in by_span]
        if absent:
            raise DataError(f"span {absent[0]} was never ingested; run the pipeline on it, or on a window without it")
        kinds = {
            s: json.loads(by_span[s].get_string_custom_property(KINDS_OF_COLUMNS) or "{}") for s in spans_of_window
        }
        check_kinds(kinds)
        window = artifact_utils.get_single_instance(output_dict["window"])
        window.split_names = artifact_utils.encode_split_names([*TRAINING_SPLITS, "test"])
        window.set_string_custom_property(SPANS, json.dumps(spans_of_window))
        rows = {span: json.loads(by_span[span].get_string_custom_property(ROW_COUNTS)) for span in spans_of_window}
        print("rows by span:", ", ".join(f"{span}: {sum(parts.values())}" for span, parts in rows.items()))
        splits = window_splits(spans_of_window)
        counts = {
            split: sum(rows[span][part] for span, parts in spans.items() for part in parts)
            for split, spans in splits.items()
        }
        source_of_rows = "the data" if spans_of_window == [0] else f"span {', '.join(map(str, spans_of_window))}"
        by = exec_properties.get("by") or None
        check_counts(source_of_rows, counts, by_time=len(spans_of_window) == 1, by=by)
        files = {split: _files(window, by_span, split, spans) for split, spans in splits.items()}
        if by is None:
            for pairs in files.values():
                for source, target in pairs:
                    groups.link(source, target)
        left_out = _link_by_group(files, by) if by is not None else {}
        kept = {split: count - left_out.get(split, 0) for split, count in counts.items()}
        window.set_string_custom_property(ROW_COUNTS, json.dumps(kept))
        if spans_of_window == [0]:  # a span has a hash of its own, which the manifest has
            for name in (FILES, CONTENTS):
                window.set_string_custom_property(name, by_span[0].get_string_custom_property(name))
        warnings = [
            line
            for s in spans_of_window
            for line in json.loads(by_span[s].get_string_custom_property(WARNINGS) or "[]")
        ]
        if by is not None:
            warnings += left_out_warnings(source_of_rows, by, counts, left_out)
        window.set_string_custom_property(WARNINGS, json.dumps(list(dict.fromkeys(warnings))))


def _files(
    window: types.Artifact, by_span: Mapping[int, types.Artifact], split: str, spans: Mapping[int, Sequence[str]]
) -> list[tuple[Path, Path]]:
    """Return the files of a split: each file of a span, and its new path in the window."""
    folder = Path(artifact_utils.get_split_uri([window], split))
    folder.mkdir(parents=True)
    return [
        (file, folder / f"{_FILE_PREFIX}{span:06d}-{file.name}")
        for span, parts in spans.items()
        for part in parts
        for file in sorted(Path(artifact_utils.get_split_uri([by_span[span]], SPAN_SPLIT)).glob(f"{part}-*"))
    ]


def _link_by_group(files: Mapping[str, Sequence[tuple[Path, Path]]], by: str) -> dict[str, int]:
    """Link the files of `test`, and those of the other splits without the groups of `test`.

    Returns:
        By split, the number of rows that were left out.
    """
    for source, target in files["test"]:
        groups.link(source, target)
    of_test = groups.values([str(source) for source, _ in files["test"]], by)
    return {
        split: sum(groups.link_without(source, target, by, of_test) for source, target in files[split])
        for split in TRAINING_SPLITS
    }


def left_out_warnings(source: str, by: str, counts: Mapping[str, int], left_out: Mapping[str, int]) -> list[str]:
    """Return a warning that counts the rows that were left out, because `test` has their group too.

    Args:
        source: name of the data.
        by: the column of `splits.by`.
        counts: number of rows by split, before rows were left out.
        left_out: number of rows that were left out, by split.

    Raises:
        DataError: a split has no row left.
    """
    total, rows = sum(left_out.values()), sum(counts[split] for split in left_out)
    if not total:
        return []
    fact = (
        f"{source}: {total} of {rows} rows before `test` ({total / rows:.1%}) have a {by} that is also in `test`, and "
        f"are left out of {', '.join(left_out)} (splits.by)"
    )
    if empty := [split for split in left_out if left_out[split] == counts[split]]:
        raise DataError(
            f"{fact}; no row is left in {', '.join(empty)}. Give `test` fewer buckets under `splits`, add spans with "
            f"other values of {by}, or remove splits.by if the model is for known ones"
        )
    return [fact]


class _Spec(ComponentSpec):
    PARAMETERS = {
        "spans": ExecutionParameter(type=str),
        "by": ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {"examples": ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {"window": ChannelParameter(type=standard_artifacts.Examples)}


class SpanWindow(base_component.BaseComponent):
    """Node that combines spans into a window.

    Args:
        examples: Examples of each span, from CsvExampleGen with a `time` column.
        spans: the spans of the window; a pipeline without spans has the span 0.
        by: column whose values are never in two splits; None if rows are independent.
    """

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, examples: types.BaseChannel, spans: Sequence[int], by: str | None = None) -> None:
        super().__init__(
            _Spec(
                examples=examples,
                spans=json.dumps(sorted(spans)),
                by=by,
                window=types.Channel(type=standard_artifacts.Examples),
            )
        )


def check_kinds(by_span: Mapping[int, Mapping[str, str]]) -> None:
    """Raise DataError if a column has another type in one span than in another.

    Args:
        by_span: the kind of each column that was inferred from the cells, by span; empty if a schema defines the types.
    """
    first: dict[str, int] = {}
    faults = []
    for span, kinds in by_span.items():
        for name, kind in kinds.items():
            earlier = first.setdefault(name, span)
            if kind != (before := by_span[earlier][name]):
                faults.append(
                    f"column {name!r} (type): {_NOUNS[kind]} in span {span}, {_NOUNS[before]} in span {earlier}"
                )
    if faults:
        raise DataError(
            f"{'; '.join(faults[:5])}. No schema says which type is right: fix the data, or write a schema with "
            "`benison schema NAME --accept` and set the type there"
        )


def window_splits(spans: Sequence[int]) -> dict[str, Mapping[int, tuple[str, ...]]]:
    """Return the parts of each span that each split consists of.

    Args:
        spans: the spans of the window, ascending.

    Returns:
        By split and span, the names of the parts.
    """
    *earlier, newest = spans
    if not earlier:
        return {split: {newest: parts} for split, parts in SINGLE_SPAN_PARTS.items()}
    training: dict[str, Mapping[int, tuple[str, ...]]] = {
        split: dict.fromkeys(earlier, (f"head-{split}", f"tail-{split}")) for split in TRAINING_SPLITS
    }
    all_parts = tuple(f"{side}-{split}" for side in ("head", "tail") for split in TRAINING_SPLITS)
    return {**training, "test": {newest: all_parts}}


def span_of_file(file: str) -> int | None:
    """Return the span that a file of a window belongs to; None if its data has no spans."""
    name = os.path.basename(file)
    number = name.removeprefix(_FILE_PREFIX).partition("-")[0]
    return int(number) or None if name.startswith(_FILE_PREFIX) and number.isdigit() else None
