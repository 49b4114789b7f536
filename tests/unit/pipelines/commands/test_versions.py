"""`benison versions`, `promote`, `rollback`, `verify`, `diff` and `prune`, by what they print."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from typer.testing import CliRunner

from benison.pipelines import cli, commands
from benison.serving import models_config
from benison.serving.deploy.settings import Serving
from benison.serving.errors import BenisonError, StoreError, VersionError
from benison.serving.promotion import labels
from benison.serving.versions import content, local
from benison.serving.versions.manifest import Manifest
from tests import memory_bucket


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two versions of a model whose YAML is not here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    model = tmp_path / "model"
    model.mkdir()
    for number in (1, 2):
        (model / "saved_model.pb").write_bytes(b"graph" * number)
        manifest = {
            "spans": list(range(1, number + 2)),
            "members": ["deep", "wide"][:number],
            "weights": {"deep": 1 / number},
            "combiner": "weighted_mean",
            "metric": "auc",
            "metrics": {"deep": {"auc": 0.7}, "ensemble": {"auc": 0.7 + number / 100, "pr_auc": None}},
            "hashes": {"schema": "5c" * 32, "code": f"{number}a" * 32},
        }
        base = tmp_path / ".benison" / "serving" / "birds"
        local.publish(model, base, Manifest.model_validate(manifest), partial(float, number))
    return tmp_path / ".benison"


def benison(*words: str) -> str:
    done = CliRunner().invoke(cli.app, words)
    if isinstance(done.exception, BenisonError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def cells(output: str) -> list[Sequence[str]]:
    return [line.split() for line in output.splitlines()]


def test_versions_shows_a_row_for_each(root: Path) -> None:
    benison("promote", "birds", "1")
    head, *rows = cells(benison("versions", "birds"))
    assert head == ["version", "label", "created", "spans", "metric", "members", "size"]
    assert rows == [
        ["1", "stable", "1970-01-01T00:00:01+00:00", "1-2", "auc", "0.7100", "deep", "5", "B"],
        ["2", "1970-01-01T00:00:02+00:00", "1-3", "auc", "0.7200", "deep,", "wide", "10", "B"],
    ]


def test_what_is_served_without_a_label_is_shown_too(root: Path) -> None:
    assert [row[:2] for row in cells(benison("versions", "birds"))[1:]] == [
        ["1", "1970-01-01T00:00:01+00:00"],
        ["2", "served"],
    ]


def test_promote_and_rollback_print_what_they_did(root: Path) -> None:
    said = benison("promote", "birds", "1", "--why", "a trial")
    assert "no YAML of birds here, so no server is notified" in said
    assert "birds: version 1 is stable, in place of 2" in said
    assert "servers that poll it follow" in said
    assert "birds: version 1 is stable already" in benison("promote", "birds", "1")
    assert "birds: version 2 is canary" in benison("promote", "birds", "2", "--label", "canary")
    assert "birds: version 2 is no longer canary" in benison("rollback", "birds", "--canary")
    assert "birds: version 2 is stable, in place of 1" in benison("rollback", "birds", "--to", "2")
    history = cells(benison("versions", "birds", "--history"))
    assert [row[2:5] for row in history[1:]] == [
        ["stable", "2", "1"],
        ["canary", "-", "2"],
        ["canary", "2", "-"],
        ["stable", "1", "2"],
    ]
    assert history[1][5:] == ["a", "trial"]


def test_republish_makes_the_old_version_the_highest(root: Path) -> None:
    said = benison("rollback", "birds", "--republish")
    base = root / "serving" / "birds"
    highest = local.versions(base)[-1]
    assert f"version 1 of birds is published again as version {highest.number}" in said
    assert (highest.path / "saved_model.pb").read_bytes() == b"graph"
    assert models_config.read(base.parent).models["birds"].labels == {"stable": highest.number}


def test_verify_names_what_was_changed(root: Path) -> None:
    assert "birds 2: 1 files, all as they were pushed" in benison("verify", "birds")
    (root / "serving" / "birds" / "1" / "saved_model.pb").write_bytes(b"other")
    assert "all as they were pushed" in benison("verify", "birds", "2")
    with pytest.raises(BenisonError, match=r"saved_model.pb: changed since the push"):
        benison("verify", "birds", "1")


def test_verify_does_not_pass_what_it_cannot_verify(root: Path) -> None:
    base = root / "serving" / "birds"
    (base / "3").mkdir()
    (base / "3" / "saved_model.pb").write_bytes(b"foreign")
    with pytest.raises(BenisonError, match=r"birds 3: foreign: Benison did not push it, .*cannot be verified"):
        benison("verify", "birds", "3")
    (base / "1" / "manifest.json").unlink()
    (base / "1" / "saved_model.pb").write_bytes(b"other")
    for words in (["verify"], ["promote"], ["rollback", "--to"]):
        with pytest.raises(BenisonError, match=r"1/manifest.json: missing, and Benison pushed this version"):
            benison(words[0], "birds", *words[1:], "1")


def test_versions_lists_damaged_and_foreign_ones(root: Path) -> None:
    base = root / "serving" / "birds"
    (base / "3").mkdir()
    (base / "3" / "saved_model.pb").write_bytes(b"foreign")
    manifest = base / "1" / "manifest.json"
    manifest.write_text(manifest.read_text()[:100])
    said = benison("versions", "birds")
    rows = cells(said)[1:]
    assert [row[:3] for row in rows[:3]] == [
        ["1", "damaged", "-"],
        ["2", "1970-01-01T00:00:02+00:00", "1-3"],
        ["3", "served,", "foreign"],
    ]
    assert f"damaged: {manifest}: changed since the push" in said


@pytest.mark.parametrize("words", [["serve", "birds"], ["predict", "birds", "--csv", "rows.csv"], ["verify", "birds"]])
def test_what_is_served_is_not_used_once_a_byte_of_it_has_changed(root: Path, words: list[str]) -> None:
    root.with_name("rows.csv").write_text("a\n1\n")
    (root / "serving" / "birds" / "2" / "saved_model.pb").write_bytes(b"hparghparg")
    with pytest.raises(BenisonError, match=r"birds: version 2 is not as it was pushed:\n.*saved_model.pb: changed"):
        benison(*words)


def test_serve_refuses_a_damaged_canary(root: Path) -> None:
    benison("promote", "birds", "2")
    benison("promote", "birds", "1", "--label", "canary")
    (root / "serving" / "birds" / "1" / "manifest.json").unlink()
    with pytest.raises(BenisonError, match=r"birds: version 1 is not as it was pushed"):
        benison("serve", "birds")


def test_what_is_pushed_and_not_promoted_is_no_answer(root: Path) -> None:
    nothing = models_config.Model("birds", str(root / "serving" / "birds"), models_config.Specific(frozenset()))
    (root / "serving" / "models.config").write_text(models_config.text([nothing]))
    for words in (["verify", "birds"], ["serve", "birds"]):
        with pytest.raises(BenisonError, match="version 2 is pushed, but none is served; `benison promote birds 2`"):
            benison(*words)


def test_diff_marks_what_differs(root: Path) -> None:
    rows = {" ".join(row[:-2]).lstrip("* "): row for row in cells(benison("diff", "birds", "1", "2"))}
    assert rows["spans"] == ["*", "spans", "1-2", "1-3"]
    assert rows["combiner"] == ["combiner", "weighted_mean", "weighted_mean"]
    assert rows["ensemble auc"] == ["*", "ensemble", "auc", "0.7100", "0.7200"]
    assert rows["deep auc"] == ["deep", "auc", "0.7000", "0.7000"]
    assert rows["schema"] == ["schema", "5c5c5c5c5c5c", "5c5c5c5c5c5c"]
    assert rows["code"] == ["*", "code", "1a1a1a1a1a1a", "2a2a2a2a2a2a"]
    assert rows["member deep weight 1.0000"] == ["*", "member", "deep", "weight", "1.0000", "weight", "0.5000"]
    assert rows["member wide"] == ["*", "member", "wide", "-", "yes"]


def test_diff_compares_models_of_former_releases_by_content(root: Path) -> None:
    import tensorflow as tf

    base = root / "serving" / "birds"
    for number, factor in ((3, 2.0), (4, 2.0), (5, 3.0)):
        doubled = tf.function(lambda x, factor=factor: {"y": x * factor}, [tf.TensorSpec([None], tf.float32, name="x")])
        tf.saved_model.save(tf.Module(), str(root / str(number)), {content.TRANSFORM: doubled})
        manifest = Manifest(hashes={"transform": f"{number}b" * 32, "code": f"{number}c" * 32})  # of the bytes
        local.publish(root / str(number), base, manifest, partial(float, number))
    marks = {}
    for right in ("4", "5"):
        rows = [row for row in cells(benison("diff", "birds", "3", right)) if {"transform", "content", "code"} & {*row}]
        marks[right] = {row[-3]: row[0] == "*" for row in rows}
    assert marks == {
        "4": {"code": True, "transform": False, "content": False},
        "5": {"code": True, "transform": True, "content": True},
    }


def test_prune_prints_what_it_would_remove(root: Path) -> None:
    said = benison("prune", "birds", "--keep", "1", "--dry-run")
    assert re.fullmatch(r"version 1 of birds  \d+ B\nversions: 1, artifacts: 0; \d+ B would be freed\n", said)
    assert len(local.versions(root / "serving" / "birds")) == 2


def test_prune_removes_it(root: Path) -> None:
    benison("promote", "birds", "1")
    assert "versions: 0, artifacts: 0; 0 B freed" in benison("prune", "birds", "--keep", "1")
    benison("promote", "birds", "2")
    assert "versions: 1, artifacts: 0; " in benison("prune", "birds", "--keep", "1")
    assert [version.number for version in local.versions(root / "serving" / "birds")] == [2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["versions", "brids"], "nothing is pushed yet; `benison run brids` pushes a version; did you mean 'birds'?"),
        (["promote", "birds", "7"], "no version 7; it has 1, 2"),
        (["diff", "birds", "1", "7"], "no version 7; it has 1, 2"),
        (["rollback", "birds", "--canary"], "there is no canary"),
        (["rollback", "birds", "--canary", "--to", "1"], "--canary cannot be combined with --to or --republish"),
    ],
)
def test_mistakes_are_reported(root: Path, words: list[str], message: str) -> None:
    with pytest.raises(BenisonError, match=message):
        benison(*words)


@pytest.mark.parametrize(("words", "seconds"), [([], 0.25), (["--settle", "0.5"], 0.5), (["--settle", "0"], None)])
def test_each_step_stays_as_long_as_the_yaml_says_or_the_option(
    root: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], seconds: float | None
) -> None:
    root.with_name("features.py").write_text("def preprocessing_fn(inputs): return inputs\n")
    root.with_name("models.py").write_text("def deep(task): return None\n")
    root.with_name("birds.yaml").write_text(
        """
name: birds
problem: multiclass
label: species
data: {csv: birds.csv}
features: features.py
models: models.py
ensemble: {members: {deep: {}}}
serving: {settle_s: 0.25}
"""
    )
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    benison("promote", "birds.yaml", "1", *words)
    assert {*slept} == (set() if seconds is None else {seconds})


@pytest.fixture
def store(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryFileSystem]:
    """A store of the model, in memory."""
    # Not validated: a YAML names only s3:// and gs://.
    settings = Serving().model_copy(update={"store": "memory://bucket/models"})
    for module in (commands.promotion, commands.versions):
        monkeypatch.setattr(module, "serving_settings", lambda name: settings)
    with memory_bucket.empty("bucket") as files:
        yield files


def test_while_the_store_is_unavailable_a_promotion_changes_nothing_and_a_rollback_works(
    root: Path, store: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = root / "serving" / "birds"
    for number in ("1", "2"):
        benison("promote", "birds", number)
    monkeypatch.setattr(MemoryFileSystem, "cat_file", _away)
    with pytest.raises(StoreError, match=r"memory://bucket/models/birds/1/manifest.json: .*no route"):
        benison("promote", "birds", "1")
    assert labels.served(base).number == 2
    said = benison("rollback", "birds")
    assert "warning: memory://bucket/models/birds/stable.json: OSError: no route\n" in said
    assert "other ROOTs of the store keep its version; when it is back: benison promote birds 1 --force\n" in said
    assert labels.served(base).number == 1


def test_a_damaged_copy_is_reported_by_verify_versions_and_rollback_and_repaired_by_promote(
    root: Path, store: MemoryFileSystem
) -> None:
    for number in ("1", "2"):
        benison("promote", "birds", number)
    assert "memory://bucket/models: the same" in benison("verify", "birds")
    store.pipe_file("/bucket/models/birds/1/saved_model.pb", b"gra")
    problem = "memory://bucket/models/birds/1/saved_model.pb: 3 bytes, expected 5"
    listed = benison("versions", "birds")
    assert [row[-1] for row in cells(listed) if row and row[0] in ("1", "2")] == ["damaged", "yes"]
    assert f"damaged in the store: {problem}; `benison promote birds 1`" in listed
    with pytest.raises(VersionError, match=f"the copy of birds 1 is damaged:\n{problem}"):
        benison("verify", "birds", "1")
    assert f"warning: {problem}; `benison promote birds 1`" in benison("rollback", "birds")
    assert "whole again: memory://bucket/models/birds/1/saved_model.pb" in benison("promote", "birds", "1")
    assert "memory://bucket/models: the same" in benison("verify", "birds", "1")


def test_rollback_names_the_versions_that_it_skips(root: Path) -> None:
    base = root / "serving" / "birds"
    for number in ("1", "2"):
        benison("promote", "birds", number)
    local.publish(root.parent / "model", base, Manifest(), lambda: 3)
    benison("promote", "birds", "3")
    (base / "2" / "saved_model.pb").write_bytes(b"hparg" * 2)
    said = benison("rollback", "birds")
    assert f"skipped: birds: version 2 is not as it was pushed: {base}/2/saved_model.pb: changed since" in said
    assert labels.served(base).number == 1


def _away(*_: object, **__: object) -> None:
    raise OSError("no route")
