"""OverlapCheck stops where rows of test are also in train, under any id and time, and not where rows are alike by chance."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tfx.types import artifact_utils, standard_artifacts

from benison.components.ingest.span_window import span_of_file
from benison.components.validate import overlap_check
from benison.serving.errors import DataError

Table = dict[str, list[Any]]
SEEDS = [0, 1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 20))]
KINDS = {str: "BYTES", int: "INT", float: "FLOAT"}
ROWS = 1000


def noise(seed: int, rows: int = ROWS, first_id: int = 0, day: int = 1) -> Table:
    """Return rows whose label has nothing to do with anything."""
    rng = np.random.default_rng(seed)
    return {
        "key": [f"k{first_id + i}" for i in range(rows)],
        "t": [f"2024-01-{day:02d}T{i:05d}" for i in range(rows)],
        "amount": rng.normal(size=rows).tolist(),
        "count": rng.integers(0, 500, rows).tolist(),
        "colour": rng.choice(["red", "green", "blue"], rows).tolist(),
        "label": rng.choice(["yes", "no"], rows).tolist(),
    }


def picked(table: Table, rows: Sequence[int]) -> Table:
    return {name: [values[i] for i in rows] for name, values in table.items()}


def joined(*tables: Table) -> Table:
    return {name: [value for table in tables for value in table[name]] for name in tables[0]}


def shuffled(table: Table, seed: int, rows: int | None = None) -> Table:
    return picked(table, np.random.default_rng(seed).permutation(len(table["label"]))[:rows].tolist())


def write(file: Path, table: Table) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for cells in zip(*table.values(), strict=True):
            feature = {}
            for name, value in zip(table, cells, strict=True):
                if isinstance(value, str):
                    feature[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
                elif isinstance(value, int):
                    feature[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
                elif value is not None:
                    feature[name] = tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def _spans(train: Any) -> dict[int, Table]:
    return {0: train} if "label" in train else train


def check(
    folder: Path,
    train: Table | dict[int, Table],
    test: Table,
    time: str | None = "t",
    ignored: Sequence[str] = (),
    limit: float = 0.01,
) -> list[dict[str, Any]]:
    """Run the node and return its comparisons."""
    for span, table in _spans(train).items():
        write(folder / f"examples/Split-train/span-{span:06d}-head-train-00000.gz", table)
    write(folder / "examples/Split-test/data.gz", test)
    kinds = {name: KINDS[type(next(v for v in values if v is not None))] for name, values in test.items()}
    (folder / "schema").mkdir()
    text = "\n".join(f'feature {{ name: "{name}" type: {kind} }}' for name, kind in kinds.items())
    (folder / "schema/schema.pbtxt").write_text(text)
    examples, schema, report = standard_artifacts.Examples(), standard_artifacts.Schema(), overlap_check.OverlapReport()
    examples.split_names = artifact_utils.encode_split_names(["train", "test"])
    for artifact, name in ((examples, "examples"), (schema, "schema"), (report, "report")):
        artifact.uri = str(folder / name)
    (folder / "report").mkdir()
    options = {"label": "label", "time": time, "ignored": list(ignored), "limit": limit}
    overlap_check.Executor().Do(
        {"examples": [examples], "schema": [schema]}, {"report": [report]}, {"options": json.dumps(options)}
    )
    overlaps: list[dict[str, Any]] = json.loads((folder / "report" / overlap_check.FILE).read_text())["overlaps"]
    return overlaps


@pytest.mark.parametrize("seed", SEEDS)
def test_other_rows_pass(tmp_path: Path, seed: int) -> None:
    test = noise(100 + seed, 400, first_id=ROWS, day=2)
    for i, time in enumerate(("t", None)):
        for overlap in check(tmp_path / str(i), noise(seed), test, time):
            assert overlap["common"] == 0
            assert overlap["chance"] == 0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("share", [1.0, 0.1])
@pytest.mark.parametrize("fresh", [(), ("key",), ("t",), ("key", "t")], ids=lambda columns: "+".join(columns) or "none")
def test_the_same_rows_stop_the_run(tmp_path: Path, seed: int, share: float, fresh: tuple[str, ...]) -> None:
    train, new = noise(seed), noise(100 + seed, 400, first_id=ROWS, day=2)
    copies = shuffled(train, seed, int(share * 400))
    test = shuffled(joined(copies, picked(new, range(len(copies["label"]), 400))), seed)
    test.update({name: shuffled(new, seed)[name] for name in fresh})
    with pytest.raises(DataError) as refused:
        check(tmp_path, train, test)
    assert f"{int(share * 400)} of 400 rows of test ({share:.1%}) are also in train" in str(refused.value)
    assert "by chance it would be 0.0%, and validation.max_overlap allows 1.0% more; for example " in str(refused.value)
    assert re.search(r"for example .*amount=-?\d", str(refused.value))
    assert (tmp_path / "report" / overlap_check.FILE).is_file()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("different", [2, 50, 2000, 50_000])
def test_rows_that_are_alike_by_chance_pass(tmp_path: Path, seed: int, different: int) -> None:
    def categories(seed: int, year: int) -> Table:
        rng = np.random.default_rng(seed)
        return {
            "t": [str(year)] * ROWS,
            "code": [f"c{n}" for n in rng.integers(0, different, ROWS)],
            "label": rng.choice(["yes", "no"], ROWS).tolist(),
        }

    check(tmp_path, {year: categories(100 * seed + year, year) for year in (1, 2, 3)}, categories(100 * seed + 99, 4))


def test_a_schedule_that_recurs_in_every_span_passes(tmp_path: Path) -> None:
    def month(number: int) -> Table:
        return {
            "t": [f"2024-{number:02d}-{1 + i % 28:02d}" for i in range(ROWS)],
            "day": [1 + i % 28 for i in range(ROWS)],
            "flight": [i // 28 for i in range(ROWS)],
            "label": np.random.default_rng(number).choice(["yes", "no"], ROWS).tolist(),
        }

    check(tmp_path, {number: month(number) for number in (1, 2, 3)}, month(4))


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_copies_in_every_span_are_not_taken_for_chance(tmp_path: Path, share: float) -> None:
    copies = noise(7, int(share * ROWS))
    spans = {n: joined(copies, noise(n, ROWS - len(copies["label"]), n * ROWS, day=n)) for n in range(1, 8)}
    test = spans.pop(7)
    with pytest.raises(DataError, match=r"rows of test .* are also in (span \d of )?train.*`benison span list`"):
        check(tmp_path, spans, test)


@pytest.mark.parametrize("fresh", ["key", "text"])
def test_a_text_that_differs_in_every_row_may_be_an_id_or_the_content(tmp_path: Path, fresh: str) -> None:
    def reviews(seed: int) -> Table:
        return {
            "key": [f"{seed}-{i}" for i in range(300)],
            "text": [f"review {seed} {i}" for i in range(300)],
            "label": np.random.default_rng(seed).choice(["yes", "no"], 300).tolist(),
        }

    check(tmp_path / "other", reviews(1), reviews(2), None)
    with pytest.raises(DataError, match=f"also in train, without {fresh};"):
        check(tmp_path / "same", reviews(1), {**reviews(1), fresh: reviews(2)[fresh]}, None)


def test_ignored_columns_and_missing_values_do_not_hide_a_copy(tmp_path: Path) -> None:
    train = {**noise(1), "exported": ["monday"] * ROWS, "rate": [None, 0.5] * (ROWS // 2)}
    test = {**train, "exported": ["tuesday"] * ROWS}
    check(tmp_path / "feature", train, test)
    with pytest.raises(DataError, match="without exported, t;"):
        check(tmp_path / "ignored", train, test, ignored=["exported"])


def test_a_larger_limit_accepts_the_rows(tmp_path: Path) -> None:
    check(tmp_path, noise(1), noise(1), limit=1.0)


def test_few_rows_are_not_refused_for_a_single_common_one(tmp_path: Path) -> None:
    test = joined(picked(noise(1), [0]), noise(2, 9, first_id=ROWS))
    check(tmp_path, picked(noise(1), range(30)), test)


def test_a_file_of_a_window_names_its_span() -> None:
    assert span_of_file("/a/Split-train/span-000012-head-train-00000-of-00001.gz") == 12
    assert span_of_file("/a/Split-train/span-000000-head-train-00000-of-00001.gz") is None
    assert span_of_file("/a/Split-train/data_tfrecord-00000-of-00001.gz") is None
