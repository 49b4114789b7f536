"""SpanWindow: the Examples of one or more spans as one artifact with the four splits, without copying a row.

Transform and Evaluator want one Examples artifact with splits; ExampleGen ingests one span a run. Each span's rows lie
in files by part (see `example_gen.parts_by_time`), so a window's splits are hard links to whole files: `test` is the
newest span, the others are hash buckets of the earlier ones; a span alone gives its last part to `test`.
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

from benison.components.ingest.splits import ALONE, LEARNT, ROWS, WHOLE, check_counts
from benison.serving.errors import DataError

SPANS = "spans"  # artifact property: JSON list of the window's spans


class NewestOfEachSpan(ResolverStrategy):
    """Of all that an ExampleGen ever wrote, the newest artifact of each span in a range.

    TFX's SpanRangeStrategy takes all artifacts of a span, also those of an earlier schema or content.

    Args:
        first: first span.
        last: last span, included.
    """

    def __init__(self, first: int, last: int) -> None:
        self._range = range(first, last + 1)

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]] | None:
        """TFX's contract."""
        newest: dict[int, types.Artifact] = {}
        for artifact in sorted(input_dict["examples"], key=lambda a: a.id):
            newest[artifact.get_int_custom_property("span")] = artifact
        found = [newest[span] for span in self._range if span in newest]
        return {"examples": found} if found else None


class Executor(base_executor.BaseExecutor):
    """Links the parts of each span into the splits."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        by_span = {artifact.get_int_custom_property("span"): artifact for artifact in input_dict["examples"]}
        wanted = json.loads(exec_properties["spans"])
        absent = [span for span in wanted if span not in by_span]
        if absent:
            raise DataError(f"span {absent[0]} was never ingested; run the pipeline on it, or on a window without it")
        window = artifact_utils.get_single_instance(output_dict["window"])
        window.split_names = artifact_utils.encode_split_names([*LEARNT, "test"])
        window.set_string_custom_property(SPANS, json.dumps(wanted))
        rows = {span: json.loads(by_span[span].get_string_custom_property(ROWS)) for span in wanted}
        print("rows by span:", ", ".join(f"{span}: {sum(parts.values())}" for span, parts in rows.items()))
        splits = splits_of(wanted)
        counts = {
            split: sum(rows[span][part] for span, parts in spans.items() for part in parts)
            for split, spans in splits.items()
        }
        check_counts(f"span {', '.join(map(str, wanted))}" if wanted != [0] else "the data", counts)
        for split, spans in splits.items():
            folder = Path(artifact_utils.get_split_uri([window], split))
            folder.mkdir(parents=True)
            for span, parts in spans.items():
                source = Path(artifact_utils.get_split_uri([by_span[span]], WHOLE))
                for part in parts:
                    for file in sorted(source.glob(f"{part}-*")):
                        _link(file, folder / f"span-{span:06d}-{file.name}")


class _Spec(ComponentSpec):
    PARAMETERS = {"spans": ExecutionParameter(type=str)}
    INPUTS = {"examples": ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {"window": ChannelParameter(type=standard_artifacts.Examples)}


class SpanWindow(base_component.BaseComponent):
    """Puts a window together.

    Args:
        examples: Examples of each span, from CsvExampleGen with a `time` column.
        spans: the window's spans; 0 is the one of a pipeline without spans.
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


def splits_of(spans: Sequence[int]) -> dict[str, Mapping[int, tuple[str, ...]]]:
    """Which parts of which spans make each split.

    Args:
        spans: ascending.

    Returns:
        By split, the parts by span.
    """
    *earlier, newest = spans
    if not earlier:
        return {split: {newest: parts} for split, parts in ALONE.items()}
    learnt: dict[str, Mapping[int, tuple[str, ...]]] = {
        split: dict.fromkeys(earlier, (f"head-{split}", f"tail-{split}")) for split in LEARNT
    }
    everything = tuple(f"{side}-{split}" for side in ("head", "tail") for split in LEARNT)
    return {**learnt, "test": {newest: everything}}


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
