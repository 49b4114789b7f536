"""The label and the weight decide no split: copies share one, and events that look the same are in all."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.unit.components.ingest.test_groups import SPLITS, ingested

# TFX and its dependencies emit warnings about one another.
pytestmark = pytest.mark.filterwarnings("ignore")

Record = tuple[str, str, str, str]  # sex, size, weight, label
HEADER = ("sex", "size", "weight", "label")


def csv_gen(folder: Path, rows: Sequence[Record], columns: Sequence[int] = range(4), **options: Any) -> Any:
    from benison.components.ingest.example_gen import CsvExampleGen

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "t.csv").open("w", newline="") as out:
        csv.writer(out).writerows([row[i] for i in columns] for row in (HEADER, *rows))
    return CsvExampleGen(str(folder / "t.csv"), SPLITS, label="label", weight="weight", **options)


def record_gen(folder: Path, rows: Sequence[Record], **options: Any) -> Any:
    import tensorflow as tf

    from benison.components.ingest.import_example_gen import ImportExampleGen

    folder.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / "t.tfrecord")) as out:
        for number, row in enumerate(rows):
            example = tf.train.Example()
            for name, text in zip(HEADER, row, strict=True):
                if text:
                    example.features.feature[name].bytes_list.value.append(text.encode())
                elif number % 2:
                    example.features.feature[name].bytes_list.SetInParent()
            out.write(example.SerializeToString())
    return ImportExampleGen(str(folder / "t.tfrecord"), SPLITS, label="label", weight="weight", **options)


def in_splits(node: Any, folder: Path) -> dict[str, Counter[Record]]:
    """Run an ExampleGen; return how often each row is in each split."""
    import tensorflow as tf

    counts = {}
    for split in Path(ingested(node, folder).uri).iterdir():
        counts[split.name.removeprefix("Split-")] = count = Counter[Record]()
        for record in tf.data.TFRecordDataset([str(f) for f in split.iterdir()], "GZIP").as_numpy_iterator():
            features = tf.train.Example.FromString(record).features.feature
            cells = (getattr(features[n], features[n].WhichOneof("kind") or "bytes_list").value for n in HEADER)
            texts = ((v[0].decode() if isinstance(v[0], bytes) else f"{v[0]:g}") if v else "" for v in cells)
            count[tuple(texts)] += 1  # type: ignore[index]
    return counts


GENS = pytest.mark.parametrize("gen", [csv_gen, record_gen])


def copies() -> list[Record]:
    """Return rows that are there two or three times, a few of them with another label and all with other weights."""
    rng = np.random.default_rng(1)
    once = [(str(rng.choice(["f", "m", ""])), f"s{i}", str(rng.choice(["yes", "no"]))) for i in range(400)]
    twice = [(sex, size, "7", label) for sex, size, label in once]
    twice += [(sex, size, "2", "yes" if i % 25 == 0 else label) for i, (sex, size, label) in enumerate(once)]
    return twice + [(sex, size, "3", "") for sex, size, _ in once[:50]]  # no label yet


def events() -> list[Record]:
    """Return rows of 12 combinations, with a label by chance."""
    rng = np.random.default_rng(2)
    sizes = rng.integers(0, 6, 3000)
    yes = rng.random(3000) < 0.1 + 0.1 * sizes
    return [(str(rng.choice(["f", "m"])), f"s{s}", "1", "yes" if y else "no") for s, y in zip(sizes, yes, strict=True)]


@GENS
def test_copies_share_a_split_whatever_their_label_and_weight(tmp_path: Path, gen: Any) -> None:
    by_split = in_splits(gen(tmp_path, copies()), tmp_path)
    sizes = {split: {row[1] for row in rows} for split, rows in by_split.items()}
    assert sum(map(len, sizes.values())) == 400
    assert sum(sum(rows.values()) for rows in by_split.values()) == 850
    assert 0.12 < len(sizes["test"]) / 400 < 0.28


@GENS
def test_rows_without_any_value_are_in_all_splits(tmp_path: Path, gen: Any) -> None:
    rng = np.random.default_rng(5)
    rows = [("", "", "1", str(rng.choice(["yes", "no"]))) for _ in range(300)]
    rows += [("f", f"s{i}", "1", str(rng.choice(["yes", "no"]))) for i in range(700)]
    by_split = in_splits(gen(tmp_path, rows), tmp_path)
    for split, share in (("train", 0.6), ("valid", 0.1), ("blend", 0.1), ("test", 0.2)):
        empty = sum(count for row, count in by_split[split].items() if not row[1])
        assert empty == pytest.approx(300 * share, abs=4 * np.sqrt(300 * share * (1 - share)))


@GENS
def test_events_that_look_the_same_are_in_all_splits_with_their_share_of_each_label(tmp_path: Path, gen: Any) -> None:
    by_split = in_splits(gen(tmp_path, events()), tmp_path)
    for size in range(6):
        shares = []
        for split in ("train", "test"):
            labels = Counter[str]()
            for row, count in by_split[split].items():
                labels[row[3]] += count * (row[1] == f"s{size}")
            assert sum(labels.values()) == pytest.approx({"train": 300, "test": 100}[split], rel=0.25)
            shares.append(labels["yes"] / sum(labels.values()))
        # The share in `train` is within four standard errors of that in `test`.
        assert shares[0] == pytest.approx(shares[1], abs=4 * np.sqrt(0.25 / 100))


@GENS
@pytest.mark.parametrize("rows", [copies(), events()], ids=["copies", "events"])
def test_the_order_of_the_rows_decides_nothing(tmp_path: Path, gen: Any, rows: list[Record]) -> None:
    shuffled = [rows[i] for i in np.random.default_rng(3).permutation(len(rows))]
    before = in_splits(gen(tmp_path / "a", rows), tmp_path / "a")
    assert in_splits(gen(tmp_path / "b", shuffled), tmp_path / "b") == before


def test_the_order_of_the_columns_decides_nothing(tmp_path: Path) -> None:
    before = in_splits(csv_gen(tmp_path / "a", copies()), tmp_path / "a")
    assert in_splits(csv_gen(tmp_path / "b", copies(), [3, 1, 0, 2]), tmp_path / "b") == before


@GENS
@pytest.mark.parametrize("by", [None, "size"])
def test_another_seed_gives_other_splits(tmp_path: Path, gen: Any, by: str | None) -> None:
    first, second = (
        in_splits(gen(tmp_path / str(seed), copies(), seed=seed, by=by), tmp_path / str(seed)) for seed in (0, 1)
    )
    common = sum((first["test"] & second["test"]).values())
    assert common < 0.5 * sum(first["test"].values())
    assert {row[1] for row in second["test"]}.isdisjoint(row[1] for row in second["train"])
