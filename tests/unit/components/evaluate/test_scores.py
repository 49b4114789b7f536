from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from benison.components.evaluate import score_writer
from benison.components.evaluate.score_writer import ScoreWriter
from benison.components.evaluate.scorer import METADATA_FILE, SERVED, Scores, check_finite
from benison.serving.errors import DataError


def write(folder: Path, rows_by_split: dict[str, int], batch: int, *, served_to: int | None = None) -> ScoreWriter:
    """Write rows whose scores identify them: row i of a split has the probability i / 1000."""
    with ScoreWriter(folder, ["deep", SERVED], ["carrier"], classification=True) as writer:
        for split, rows in rows_by_split.items():
            for start in range(0, rows, batch):
                index = np.arange(start, min(start + batch, rows))
                scores = np.stack([1 - index / 1000, index / 1000], axis=1).astype(np.float32)
                writer.write(
                    split,
                    index % 2,
                    {"carrier": np.array(["", "AA", "Ü"], object)[index % 3]},
                    {"deep": scores, SERVED: scores if served_to is None or start < served_to else None},
                )
    absent = {} if served_to is None else {SERVED: "it cannot read these rows"}
    metadata = {
        "classes": ["no", "yes"],
        "reference": [0.75, 0.25],
        "median": [],
        "absent": absent,
        "combiner_split": "blend",
    }
    (folder / METADATA_FILE).write_text(json.dumps(metadata))
    return writer


@pytest.mark.parametrize("group_rows", [1, 10, 1 << 16])
def test_scores_written_in_batches_are_read_as_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group_rows: int
) -> None:
    monkeypatch.setattr(score_writer, "GROUP_ROWS", group_rows)
    writer = write(tmp_path, {"blend": 7, "test": 25}, batch=4)

    loaded = Scores.load(tmp_path)

    assert writer.rows == 32
    assert list(loaded.rows["split"]) == ["blend"] * 7 + ["test"] * 25
    assert list(loaded.rows["row"]) == [*range(7), *range(25)]
    assert list(loaded.rows["label"][:4]) == [0, 1, 0, 1]
    assert list(loaded.rows["slice:carrier"][:4]) == ["", "AA", "Ü", ""]
    assert loaded.classes == ("no", "yes")
    assert loaded.outputs["deep"].dtype == np.float32
    np.testing.assert_allclose(loaded.outputs["deep"][7:, 1], np.arange(25) / 1000, rtol=1e-6)


def test_one_split_is_read_without_the_other(tmp_path: Path) -> None:
    write(tmp_path, {"blend": 7, "test": 25}, batch=4)
    loaded = Scores.load(tmp_path, "test")
    assert len(loaded.rows) == 25
    assert set(loaded.rows["split"]) == {"test"}
    assert set(loaded.outputs) == {"deep", SERVED}
    assert loaded.outputs["deep"].shape == (25, 2)


def test_each_row_group_has_rows_of_one_split_so_that_a_reader_skips_the_other(tmp_path: Path) -> None:
    write(tmp_path, {"blend": 7, "test": 25}, batch=4)
    groups = pq.ParquetFile(tmp_path / score_writer.FILE).metadata
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [7, 25]


def test_a_served_version_that_fails_on_a_later_batch_has_no_scores_at_all(tmp_path: Path) -> None:
    write(tmp_path, {"blend": 7, "test": 25}, batch=4, served_to=12)
    loaded = Scores.load(tmp_path)
    assert set(loaded.outputs) == {"deep"}
    assert loaded.absent == {SERVED: "it cannot read these rows"}


def test_a_split_without_a_labelled_row_has_empty_scores(tmp_path: Path) -> None:
    write(tmp_path, {"blend": 7}, batch=4)
    assert Scores.load(tmp_path, "test").outputs["deep"].shape == (0, 2)


def test_targets_of_a_regression_stay_numbers(tmp_path: Path) -> None:
    with ScoreWriter(tmp_path, ["deep"], [], classification=False) as writer:
        writer.write("test", np.array([1.5, -2.0], np.float32), {}, {"deep": np.array([[1.0], [2.0]], np.float32)})
    (tmp_path / METADATA_FILE).write_text(
        json.dumps({"classes": [], "reference": [0.5], "median": [0.2], "absent": {}, "combiner_split": "blend"})
    )
    loaded = Scores.load(tmp_path, "test")
    assert [loaded.guess("rmse"), loaded.guess("mae")] == [0.5, 0.2]
    assert list(loaded.rows["label"]) == [1.5, -2.0]
    assert loaded.outputs["deep"].tolist() == [[1.0], [2.0]]


def test_an_answer_that_is_no_number_is_refused_with_the_row_that_gave_it() -> None:
    import tensorflow as tf

    rows = [{"mass": 4000.0, "length": 39.1}, {"mass": 1e38, "length": 40.0}, {"mass": -1e38, "length": 41.0}]
    records = []
    for row in rows:
        example = tf.train.Example()
        for name, number in row.items():
            example.features.feature[name].float_list.value.append(number)
        records.append(example.SerializeToString())
    answers = np.array([[0.5, 0.5], [np.nan, np.nan], [np.inf, 0.0]], np.float32)
    check_finite("deep", answers[:1], np.array(records[:1], object), "blend")
    with pytest.raises(
        DataError,
        match=r"deep: its answer is NaN or infinite in 2 of 3 rows of blend; the largest number .* 'mass': 1e\+38; limit",
    ):
        check_finite("deep", answers, np.array(records, object), "blend")


def test_the_rows_for_the_combiner_may_be_out_of_fold(tmp_path: Path) -> None:
    write(tmp_path, {"out_of_fold": 9, "test": 5}, batch=4)
    metadata = json.loads((tmp_path / METADATA_FILE).read_text())
    (tmp_path / METADATA_FILE).write_text(json.dumps({**metadata, "combiner_split": "out_of_fold"}))
    assert len(Scores.load(tmp_path, "blend").rows) == 9
    assert len(Scores.load(tmp_path, "test").rows) == 5
