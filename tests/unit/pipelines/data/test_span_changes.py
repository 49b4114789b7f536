"""Rows that land twice are refused; spans are removed and replaced all at once, and what was there is kept."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow import parquet

from benison.pipelines.config import Pipeline
from benison.pipelines.data import row_index, span_changes, spans
from benison.pipelines.reports import span_report
from benison.serving.errors import DataError, UsageError
from benison.serving.versions import local, remote
from benison.serving.versions.manifest import Manifest
from tests.unit.pipelines.data import killed_span_changes
from tests.unit.pipelines.data.killed_span_changes import pipeline

HEADER = ("t", "amount", "late")


@pytest.fixture
def config(tmp_path: Path) -> Pipeline:
    return pipeline(tmp_path)


def events(seed: int, rows: int = 200) -> list[list[str]]:
    rng = random.Random(seed)
    return [[str(1000 * seed + i), f"{rng.random():.4f}", rng.choice(["yes", "no"])] for i in range(rows)]


def table(file: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = HEADER) -> Path:
    file.write_text("\n".join(",".join(row) for row in (header, *rows)) + "\n")
    return file


def shuffled(rows: list[list[str]]) -> list[list[str]]:
    return random.Random(0).sample(rows, len(rows))


def test_a_file_that_landed_is_refused_under_any_name_and_order_of_rows_and_columns(config, tmp_path: Path) -> None:
    span_changes.add(config, tmp_path, [table(tmp_path / "a.csv", events(1))])
    span_changes.add(config, tmp_path, [table(tmp_path / "b.csv", events(2))])
    again = [
        table(tmp_path / "a.csv", events(1)),
        table(tmp_path / "renamed.csv", events(1)),
        table(tmp_path / "shuffled.csv", shuffled(events(1))),
        table(tmp_path / "columns.csv", [row[::-1] for row in events(1)], HEADER[::-1]),
    ]
    for file in again:
        with pytest.raises(DataError, match=r"100\.0% of the rows have already landed in span 1 of p\. "):
            span_changes.add(config, tmp_path, [file])
    assert [span.number for span in spans.all_spans(tmp_path, "p")] == [1, 2]


@pytest.mark.parametrize(("old", "refused"), [(150, True), (110, True), (90, False), (20, False)])
def test_half_of_the_rows_are_enough_to_refuse(config, tmp_path: Path, old: int, refused: bool) -> None:
    span_changes.add(config, tmp_path, [table(tmp_path / "a.csv", events(1))])
    mixed = table(tmp_path / "b.csv", shuffled(events(1)[:old] + events(2)[old:]))
    if not refused:
        assert span_changes.add(config, tmp_path, [mixed]).number == 2
        return
    with pytest.raises(DataError, match=f"{old / 200:.1%} of the rows have already landed in span 1"):
        span_changes.add(config, tmp_path, [mixed])
    assert span_changes.add(config, tmp_path, [mixed], allow_repeated=True).number == 2


def test_rows_of_several_spans_count_together(config, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        span_changes.add(config, tmp_path, [table(tmp_path / f"{number}.csv", events(number))])
    quarter = table(tmp_path / "q.csv", events(1)[:80] + events(2)[:80] + events(4)[:80])
    with pytest.raises(DataError, match=r"66\.7% of the rows have already landed in spans 1, 2 of p"):
        span_changes.add(config, tmp_path, [quarter])


@pytest.mark.parametrize("values", [4, 30, 300])
def test_a_table_with_few_different_rows_is_refused_only_if_the_same_rows_land(
    config, tmp_path: Path, values: int
) -> None:
    for number in range(1, 7):
        rng = random.Random(number)
        rows = [["2024", str(rng.randrange(values)), rng.choice(["yes", "no"])] for _ in range(500)]
        assert span_changes.add(config, tmp_path, [table(tmp_path / f"{number}.csv", rows)]).number == number
    with pytest.raises(DataError, match="already landed in span 6"):
        span_changes.add(config, tmp_path, [table(tmp_path / "again.csv", shuffled(rows))])


def test_a_span_that_landed_without_an_index_gets_one(config, tmp_path: Path) -> None:
    span_changes.add(config, tmp_path, [table(tmp_path / "a.csv", events(1))])
    index = spans.folder(tmp_path, "p") / "1" / row_index.FILE
    index.unlink()
    with pytest.raises(DataError, match="already landed in span 1"):
        span_changes.add(config, tmp_path, [table(tmp_path / "a.csv", events(1))])
    assert index.is_file()


def test_a_removed_span_is_kept_aside_and_its_number_is_not_used_again(config, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        span_changes.add(config, tmp_path, [table(tmp_path / f"{number}.csv", events(number))])
    record = span_changes.remove(tmp_path, "p", 3, why="a test month")
    assert [span.number for span in spans.all_spans(tmp_path, "p")] == [1, 2]
    assert (record.span.number, record.why, record.replaced) == (3, "a test month", False)
    assert (record.path / "3.csv").read_text() == (tmp_path / "3.csv").read_text()
    assert span_changes.add(config, tmp_path, [table(tmp_path / "4.csv", events(4))]).number == 4
    with pytest.raises(UsageError, match="span 3 of p was removed, and its number is not used again"):
        span_changes.add(config, tmp_path, [table(tmp_path / "5.csv", events(5))], 3)
    with pytest.raises(UsageError, match="span 3 of p was removed already; the spans are 1, 2, 4"):
        span_changes.remove(tmp_path, "p", 3)


def test_a_range_leaves_out_removed_spans_and_never_ends_at_one(config, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        span_changes.add(config, tmp_path, [table(tmp_path / f"{number}.csv", events(number))])
    span_changes.remove(tmp_path, "p", 2)
    assert spans.window(config, tmp_path, "1-3") == (1, 3)
    assert spans.window(config, tmp_path, None) == (1, 3)
    for request in ("2", "1-2"):
        with pytest.raises(UsageError, match="span 2 was removed; the spans are 1, 3"):
            spans.window(config, tmp_path, request)


def test_a_replaced_span_keeps_its_number_and_a_removed_one_gets_it_back(config, tmp_path: Path) -> None:
    old = span_changes.add(config, tmp_path, [table(tmp_path / "a.csv", events(1))])
    new, record = span_changes.replace(config, tmp_path, 1, [table(tmp_path / "b.csv", events(1) + events(2))])
    assert (new.number, new.rows) == (1, 400)
    assert record.span == old
    assert record.replaced
    span_changes.remove(tmp_path, "p", 1)
    assert spans.all_spans(tmp_path, "p") == []
    again, _ = span_changes.replace(config, tmp_path, 1, [table(tmp_path / "c.csv", events(3))])
    assert spans.all_spans(tmp_path, "p") == [again]
    assert [r.span.rows for r in spans.removed_spans(tmp_path, "p")] == [200, 400]
    with pytest.raises(UsageError, match="span 7 of p does not exist; the spans are 1"):
        span_changes.replace(config, tmp_path, 7, [tmp_path / "c.csv"])


def test_data_that_repeats_another_span_replaces_nothing(config, tmp_path: Path) -> None:
    for number in (1, 2):
        span_changes.add(config, tmp_path, [table(tmp_path / f"{number}.csv", events(number))])
    before = spans.all_spans(tmp_path, "p")
    with pytest.raises(DataError, match="already landed in span 1"):
        span_changes.replace(config, tmp_path, 2, [tmp_path / "1.csv"])
    assert spans.all_spans(tmp_path, "p") == before
    assert spans.removed_spans(tmp_path, "p") == []


def test_the_versions_that_were_trained_on_a_removed_span_are_named(config, tmp_path: Path) -> None:
    old = span_changes.add(config, tmp_path, [table(tmp_path / "a.csv", events(1))])
    base = tmp_path / "serving/p"
    model = tmp_path / "model"
    model.mkdir()
    (model / local.SAVED_MODEL).touch()

    def push(number: int, **facts: object) -> int:
        return local.publish(model, base, Manifest.model_validate(facts), clock=lambda: number).number

    before = push(10, spans=[1])  # pushed by a Benison that did not record hashes
    first = push(20, spans=[1], span_hashes=spans.content_hashes(tmp_path, "p", [1]))
    push(30, spans=[2], span_hashes={"2": "abc"})
    new, record = span_changes.replace(config, tmp_path, 1, [table(tmp_path / "b.csv", events(2))], why="late rows")
    second = push(40, spans=[1], span_hashes=spans.content_hashes(tmp_path, "p", [1]))
    assert record.span == old
    known = span_report.known_versions(base, None)
    assert span_report.trained_on(known, old) == [before, first]
    assert span_report.trained_on(known, new) == [before, second]
    happened, versions = span_report.removal(base, record, known)
    assert happened.startswith("span 1 (200 rows, sha256 ")
    assert ") was replaced on " in happened
    assert ": late rows; its files are in " in happened
    assert versions == "trained on it: version 10, version 20"


def test_versions_that_are_only_in_the_store_are_named_and_what_cannot_be_asked_too(config, tmp_path: Path) -> None:
    files, bucket = MemoryFileSystem(), f"memory://{tmp_path.name}"
    files.mkdir(f"/{tmp_path.name}")
    span_changes.add(config, tmp_path, [table(tmp_path / "a.csv", events(1))])
    base, model = tmp_path / "serving/p", tmp_path / "model"
    model.mkdir()
    (model / local.SAVED_MODEL).touch()
    for number in (10, 20, 30):
        local.publish(model, base, Manifest(spans=(1,)), clock=lambda number=number: number)  # type: ignore[misc]
    remote.publish(base, 10, bucket)
    remote.publish(base, 20, bucket)
    local.remove(local.get(base, 10))
    for number in (20, 30):
        (base / str(number) / "manifest.json").unlink()
    record = span_changes.remove(tmp_path, "p", 1)

    def said(store: str) -> list[str]:
        return span_report.removal(base, record, span_report.known_versions(base, store))[1:]

    damaged = f"damaged: {base}/30/manifest.json: missing, and Benison pushed this version"
    assert said(bucket) == [
        "trained on it: version 10 (only in the store), version 20",
        f"not known: version 30: {damaged}",
    ]
    versions, *unknown = said("memory://away/models")
    assert versions == "trained on it: no version"
    assert len(unknown) == 3, "the two damaged versions, and the store"
    assert unknown[-1].startswith("not known: memory://away/models/p: not found; create the bucket away first")


def test_a_kill_at_any_disk_call_leaves_the_old_or_the_new_spans(tmp_path: Path) -> None:
    # By its file: a package of the environment may have a module `tests` too, and then `-m` does not find this one.
    program = [sys.executable, "-W", "ignore", killed_span_changes.__file__, str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    kills = {line.split()[0]: int(line.split()[1]) for line in done.stdout.splitlines()}
    assert min(kills[change] for change in ("add", "remove", "replace")) >= 5


def test_a_span_may_be_json_lines_or_parquet_and_its_rows_are_those_of_a_csv(config, tmp_path: Path) -> None:
    span_changes.add(config, tmp_path, [table(tmp_path / "a.csv", events(1))])
    forms = {}
    for seed in (1, 2):
        rows = pa.Table.from_pylist([dict(zip(HEADER, row, strict=True)) for row in events(seed)])
        forms[seed] = tmp_path / f"{seed}.parquet", tmp_path / f"{seed}.jsonl"
        parquet.write_table(rows, forms[seed][0])
        forms[seed][1].write_text("".join(f"{json.dumps(row)}\n" for row in rows.to_pylist()))
    for file in forms[1]:
        with pytest.raises(DataError, match=r"100\.0% of the rows have already landed in span 1"):
            span_changes.add(config, tmp_path, [file])
    assert span_changes.add(config, tmp_path, [forms[2][0]]).rows == 200
    with pytest.raises(DataError, match=r"100\.0% of the rows have already landed in span 2"):
        span_changes.add(config, tmp_path, [forms[2][1]])
