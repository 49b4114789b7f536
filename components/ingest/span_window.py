"""SpanWindow: combines the Examples of one or more spans into one artifact with the four splits, without copying rows.

Transform and Evaluator require one Examples artifact with splits, but ExampleGen ingests one span per run. The rows of
each span are stored in files by part (see `splits.parts_by_time`), so the splits of a window are hard links to whole
files: `test` is the newest span, the other splits are hash buckets of the earlier spans. In a window of one span,
`test` is the latest part of that span.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_metadata as mlmd
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.components.common.resolver import ResolverStrategy
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from benison.components.ingest.csv_table import KINDS_OF_COLUMNS
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
        check_counts(source_of_rows, counts, by_time=len(spans_of_window) == 1)
        for split, spans in splits.items():
            folder = Path(artifact_utils.get_split_uri([window], split))
            folder.mkdir(parents=True)
            for span, parts in spans.items():
                source = Path(artifact_utils.get_split_uri([by_span[span]], SPAN_SPLIT))
                for part in parts:
                    for file in sorted(source.glob(f"{part}-*")):
                        _link(file, folder / f"{_FILE_PREFIX}{span:06d}-{file.name}")


class _Spec(ComponentSpec):
    PARAMETERS = {"spans": ExecutionParameter(type=str)}
    INPUTS = {"examples": ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {"window": ChannelParameter(type=standard_artifacts.Examples)}


class SpanWindow(base_component.BaseComponent):
    """Node that combines spans into a window.

    Args:
        examples: Examples of each span, from CsvExampleGen with a `time` column.
        spans: the spans of the window; a pipeline without spans has the span 0.
    """

    SPEC_CLASS = _Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, examples: types.BaseChannel, spans: Sequence[int]) -> None:
        super().__init__(
            _Spec(
                examples=examples,
                spans=json.dumps(sorted(spans)),
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


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # the target is on another file system, or the file system has no hard links
        shutil.copyfile(source, target)
