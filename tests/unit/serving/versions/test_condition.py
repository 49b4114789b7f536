"""A version that Benison pushed is whole or damaged; only another tool's version is foreign."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benison.serving.versions import condition, local
from benison.serving.versions.manifest import Manifest

REPORT = "assets.extra/ensemble_report.json"


@pytest.fixture
def version(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    (model / "assets").mkdir(parents=True)
    (model / "saved_model.pb").write_bytes(b"graph")
    (model / "assets" / "vocabulary").write_text("a\nb\nc\n")
    (tmp_path / "report").write_text("{}")
    return local.publish(model, tmp_path / "birds", Manifest(), lambda: 7, beside={REPORT: tmp_path / "report"}).path


def states(version: Path) -> tuple[str, str]:
    """The condition by names and sizes, and the one by content."""
    return condition.look(version).kind, condition.check(version).kind


def as_former_release(version: Path) -> None:
    """Leave the version as a ROOT without a record of pushes has it."""
    (version.parent / "pushes.jsonl").unlink()


def test_a_pushed_version_is_whole_and_the_cost_of_reading_it_is_known(version: Path) -> None:
    assert states(version) == ("whole", "whole")
    state = condition.check(version)
    assert (state.files, state.bytes) == (3, 5 + 6 + 2)
    assert state.cost().startswith("3 files, 0.0 MB, checked in 0.0")


def test_a_version_of_a_former_release_is_whole(version: Path) -> None:
    as_former_release(version)
    assert states(version) == ("whole", "whole")


def rewrite(change: Callable[[dict], None]) -> Callable[[Path], None]:
    def rewritten(version: Path) -> None:
        manifest = json.loads((version / "manifest.json").read_text())
        change(manifest)
        (version / "manifest.json").write_text(json.dumps(manifest))

    return rewritten


MANIFESTS: dict[str, Callable[[Path], object]] = {
    "deleted": lambda version: (version / "manifest.json").unlink(),
    "cut": lambda version: (version / "manifest.json").write_text((version / "manifest.json").read_text()[:200]),
    "emptied": lambda version: (version / "manifest.json").write_text(""),
    "a list": lambda version: (version / "manifest.json").write_text("[]"),
    "without files": rewrite(lambda manifest: manifest.pop("files")),
    "of another shape": rewrite(lambda manifest: manifest.update(files={"saved_model.pb": 5})),
}


@pytest.mark.parametrize("former", [False, True])
@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_that_is_not_whole_makes_it_damaged_and_not_foreign(version: Path, name: str, former: bool) -> None:
    if former:
        as_former_release(version)
    MANIFESTS[name](version)
    assert states(version) == ("damaged", "damaged")
    assert [v.number for v in local.versions(version.parent)] == []
    assert [v.number for v in local.all_versions(version.parent)] == [7], "it is listed"


def test_a_manifest_that_was_made_to_fit_changed_files_is_damaged(version: Path) -> None:
    (version / "saved_model.pb").write_bytes(b"hparg")
    records = local._files(version)
    rewrite(lambda manifest: manifest.update(files={name: r.to_dict() for name, r in records.items()}))(version)
    assert states(version) == ("damaged", "damaged")


def test_reordered_assets_are_damage_that_only_reading_them_finds(version: Path) -> None:
    (version / "assets" / "vocabulary").write_text("b\na\nc\n")
    assert states(version) == ("whole", "damaged")
    assert condition.check(version).problems == (f"{version}/assets/vocabulary: changed since the push",)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda version: (version / "saved_model.pb").unlink(), "saved_model.pb: missing"),
        (lambda version: (version / "saved_model.pb").write_bytes(b"gra"), "saved_model.pb: changed since the push"),
        (lambda version: (version / "assets" / "more").touch(), "assets/more: not in the manifest"),
    ],
)
def test_a_missing_cut_or_added_file_is_seen_without_reading(version: Path, change: Callable, problem: str) -> None:
    change(version)
    assert states(version) == ("damaged", "damaged")
    assert condition.look(version).problems == (f"{version}/{problem}",)


@pytest.mark.parametrize("manifest", [None, "{}", '{"owner": "ann"}', '{"files": ["saved_model.pb"]}'])
def test_a_version_that_another_tool_pushed_is_foreign(version: Path, manifest: str | None) -> None:
    foreign = version.with_name("8")
    foreign.mkdir()
    (foreign / "saved_model.pb").write_bytes(b"graph")
    if manifest is not None:
        (foreign / "manifest.json").write_text(manifest)
    assert states(foreign) == ("foreign", "foreign")
    assert [v.number for v in local.versions(version.parent)] == [7, 8]
