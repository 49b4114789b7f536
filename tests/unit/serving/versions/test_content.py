"""Two exports of one model have one content; any other value or step has another."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from benison.serving.versions import content, local

WORDS = ("cat", "dog")


def export(
    folder: Path,
    *,
    weight: float = 2.0,
    words: tuple[str, ...] = WORDS,
    power: float = 3.0,
    swapped: bool = False,
    checked: bool = True,
    rounds: int = 2,
    spec: str = "kind",
    signature: str = "serving_default",
    in_order: bool = True,
) -> Path:
    """Save a model with a variable, a table, a loop, a check, a nested function and two outputs."""
    folder.mkdir(parents=True)
    vocabulary = folder / "words.txt"
    vocabulary.write_text("\n".join(words) + "\n")
    module = tf.Module()
    names = ["first", "second"] if in_order else ["second", "first"]
    for name in names:  # another order of the same variables changes the bytes, but not what is computed
        setattr(module, name, tf.Variable(weight if name == "first" else 5.0))
    module.table = tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(
            str(vocabulary),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        ),
        -1,
    )

    @tf.function
    def scaled(number: tf.Tensor) -> tf.Tensor:
        return number * module.first - module.second**power

    def answer(texts: tf.Tensor) -> dict[str, tf.Tensor]:
        numbers = tf.cast(module.table.lookup(texts), tf.float32)
        if checked:
            tf.debugging.Assert(tf.reduce_all(numbers > -2), ["too low"])
        numbers = tf.while_loop(lambda i, _: i < rounds, lambda i, n: (i + 1, n + 1.0), [0, numbers])[1]
        low, high = scaled(numbers), scaled(-numbers)
        return {"high": low, "low": high} if swapped else {"high": high, "low": low}

    traced = tf.function(answer).get_concrete_function(tf.TensorSpec([None], tf.string, name=spec))
    tf.saved_model.save(module, str(folder / "model"), signatures={signature: traced})
    vocabulary.unlink()
    return folder / "model"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("a") / "model")


def test_the_content_of_two_exports_is_equal_although_their_bytes_are_not(model: Path, tmp_path: Path) -> None:
    again = export(tmp_path / "elsewhere", in_order=False)
    assert local.checksum(again) != local.checksum(model)
    assert content.checksum(again) == content.checksum(model) != local.checksum(model)


@pytest.mark.parametrize(
    "change",
    [
        {"weight": 2.0000002},
        {"words": ("dog", "cat")},
        {"power": 3.5},
        {"swapped": True},
        {"checked": False},
        {"rounds": 3},
        {"spec": "sort"},
        {"signature": "raw"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_value_step_or_name_of_an_interface_is_another_content(
    model: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    assert content.signatures(export(tmp_path / "changed", **change))
    assert content.checksum(tmp_path / "changed" / "model") != content.checksum(model)


def test_the_schema_of_the_raw_features_is_part_of_the_content_and_other_files_are_not(
    model: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(model, tmp_path / "copy"))
    (copy / "assets.extra").mkdir(exist_ok=True)
    (copy / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"a request")
    assert content.checksum(copy) == content.checksum(model)
    (copy / local.SCHEMA).write_text('feature { name: "kind" }')
    assert content.checksum(copy) != content.checksum(model)


def test_a_model_of_an_unknown_form_has_the_checksum_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\x00not a model")
    assert content.signatures(tmp_path) is None
    assert content.checksum(tmp_path) == local.checksum(tmp_path)


def test_a_manifest_of_a_former_release_records_the_checksum_of_the_bytes(model: Path) -> None:
    assert content.checksums(model) == {content.checksum(model), local.checksum(model)}
