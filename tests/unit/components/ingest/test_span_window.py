"""Tests of the splits of a window of spans."""

from __future__ import annotations

import itertools

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2 as proto
from tfx.types import standard_artifacts

from benison.components.ingest.span_window import NewestOfEachSpan, check_kinds, window_splits
from benison.serving.errors import DataError

SPLITS = ("train", "valid", "blend", "test")
EVERY_PART = {f"{side}-{split}" for side in ("head", "tail") for split in ("train", "valid", "blend")}


def _parts(window: list[int]) -> dict[str, set[tuple[int, str]]]:
    return {
        split: {(s, p) for s, parts in spans.items() for p in parts} for split, spans in window_splits(window).items()
    }


def test_the_newest_span_is_test_and_the_earlier_ones_are_for_training() -> None:
    splits = window_splits([1, 2, 3])
    assert set(splits["test"]) == {3}
    assert {span for split in SPLITS[:3] for span in splits[split]} == {1, 2}


def test_in_a_window_of_one_span_its_tail_is_test() -> None:
    splits = window_splits([5])
    assert all(part.startswith("tail-") for part in splits["test"][5])
    assert all(part.startswith("head-") for split in SPLITS[:3] for part in splits[split][5])


def test_no_row_is_in_two_splits_and_none_is_lost() -> None:
    for window in ([7], [1, 2], [2, 3, 4, 5]):
        splits = _parts(window)
        for first, second in itertools.combinations(SPLITS, 2):
            assert not splits[first] & splits[second]
        assert set.union(*splits.values()) == {(span, part) for span in window for part in EVERY_PART}


def test_a_column_whose_type_changes_between_spans_is_named() -> None:
    check_kinds({1: {"zip": "int", "age": "int"}, 2: {}, 3: {"age": "int", "new": "bytes", "zip": "int"}})
    with pytest.raises(
        DataError, match=r"^column 'zip' \(type\): text, or no value, in span 3, whole numbers in span 1\. "
    ):
        check_kinds({1: {"zip": "int", "age": "int"}, 3: {"age": "int", "zip": "bytes"}})


def test_data_that_was_changed_back_is_found_although_its_artifact_is_older() -> None:
    store = mlmd.MetadataStore(proto.ConnectionConfig(fake_database=proto.FakeDatabaseConfig()))
    kind = store.put_artifact_type(proto.ArtifactType(name="Examples"))
    ingestion = store.put_execution_type(proto.ExecutionType(name="CsvExampleGen"))
    examples: list[standard_artifacts.Examples] = []
    for span in (1, 1, 2):  # span 1 was replaced, then span 2 landed
        artifact = standard_artifacts.Examples()
        artifact.set_int_custom_property("span", span)
        (artifact.id,) = store.put_artifacts([proto.Artifact(type_id=kind, uri=f"{len(examples)}")])
        examples.append(artifact)
    original, replacement, second = examples

    def ingest(artifact: standard_artifacts.Examples, event: proto.Event.Type) -> None:
        (execution,) = store.put_executions([proto.Execution(type_id=ingestion)])
        store.put_events([proto.Event(artifact_id=artifact.id, execution_id=execution, type=event)])

    for artifact in examples:
        ingest(artifact, proto.Event.OUTPUT)
    ingest(original, proto.Event.INPUT)
    resolver = NewestOfEachSpan(spans=[1, 2])
    assert resolver.resolve_artifacts(store, {"examples": examples}) == {"examples": [replacement, second]}
    ingest(original, proto.Event.OUTPUT)  # taken from the cache
    assert resolver.resolve_artifacts(store, {"examples": examples}) == {"examples": [original, second]}
    assert NewestOfEachSpan(spans=[2]).resolve_artifacts(store, {"examples": examples}) == {"examples": [second]}
