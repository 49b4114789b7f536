"""`benison reproduce`: its needs, and its messages if some of them are gone."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benison.components.ingest import data_files
from benison.pipelines import made_from, reproduction
from benison.pipelines.config import Pipeline
from benison.pipelines.config_file import load
from benison.pipelines.data import span_changes, spans
from benison.pipelines.records import runs
from benison.pipelines.reproduction import GONE, Compared
from benison.serving.errors import VersionError
from benison.serving.promotion import promote
from benison.serving.versions import local
from benison.serving.versions.manifest import Manifest

YAML = """
name: owls
problem: binary
label: hoots
data: {csv: "data/*.csv"}
features: features.py
models: models.py
ensemble: {members: {wide: {epochs: 2}, deep: {epochs: 3}}}
serving: {environment: {TOKEN: secret}}
"""
MODELS = "def deep(inputs, hp):\n    return inputs\n\ndef wide(inputs, hp):\n    return inputs\n"


@dataclass(frozen=True)
class Owls:
    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def config(self, **overrides: str) -> Pipeline:
        return load(self.folder / "owls.yaml", overrides)

    def push(self, config: Pipeline, **facts: Any) -> int:
        """Publish a version, and write the record of the run that pushed it."""
        model = self.folder / "model"
        model.mkdir(exist_ok=True)
        (model / "saved_model.pb").write_bytes(b"graph")
        manifest = Manifest.model_validate({"made_from": made_from.record(config), **facts})
        version = local.publish(model, self.root / "serving" / "owls", manifest)
        files = [] if config.spans else [str(file) for file in config.files()]
        read = {"files": json.dumps(files), "input_fingerprint": data_files.fingerprint(files)}
        outputs = {
            "examples": [{"uri": "", "type": "Examples", "properties": read}],
            "pushed": [{"uri": "", "type": "PushedModel", "properties": {"pushed_version": str(version.number)}}],
        }
        folder = self.root / "runs" / f"owls-{version.number}"
        folder.mkdir(parents=True)
        window = [int(number) for number in facts.get("span_hashes", {})]
        node = runs.NodeRun("all", "All", "", "complete", outputs=outputs)
        runs.Run(folder.name, "owls", folder, 1.0, 1.0, "pushed", [node], window).save()
        return version.number


@pytest.fixture
def owls(tmp_path: Path) -> Owls:
    (tmp_path / "owls.yaml").write_text(YAML)
    (tmp_path / "features.py").write_text("def preprocessing_fn(inputs):\n    return inputs\n")
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.csv").write_text("size,hoots\n1,yes\n2,no\n")
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "owls.pbtxt").write_text('feature { name: "size" type: INT }')
    return Owls(tmp_path)


def test_the_record_has_the_values_of_the_run_and_no_settings_of_serving(owls: Owls) -> None:
    config = owls.config(**{"ensemble.members.deep.epochs": "5", "seed": "11"})
    number = owls.push(config)
    manifest = (owls.root / "serving" / "owls" / str(number) / local.MANIFEST).read_text()
    assert "secret" not in manifest
    found = reproduction.find(owls.root, "owls", number)
    assert (found.config.ensemble.members["deep"].epochs, found.config.seed) == (5, 11)
    assert found.config.serving.environment == {}
    assert list(found.config.ensemble.members) == ["wide", "deep"]  # the order decides how sums are rounded
    assert found.other_versions == ()
    (found.run.folder / "inputs.json").write_text(json.dumps({"benison": "0" * 64}))
    (line,) = reproduction.find(owls.root, "owls", number).other_versions
    assert line.startswith("Benison's code: 000000000000 then, ")


def test_equal_files_of_a_package_in_another_environment_are_the_same_data(
    owls: Owls, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments = [owls.folder / name for name in ("one", "two")]
    for environment in environments:
        (environment / "owl_data").mkdir(parents=True)
        (environment / "owl_data" / "__init__.py").touch()
        shutil.copy(owls.folder / "data" / "a.csv", environment / "owl_data")
    yaml = owls.folder / "owls.yaml"
    yaml.write_text(yaml.read_text().replace('"data/*.csv"', '"package:owl_data/a.csv"'))
    with monkeypatch.context() as patch:
        patch.syspath_prepend(environments[0])
        number = owls.push(owls.config())
    monkeypatch.syspath_prepend(environments[1])
    importlib.invalidate_caches()
    found = reproduction.find(owls.root, "owls", number)
    assert found.config.files() == [environments[1] / "owl_data" / "a.csv"]
    found.config.files()[0].write_text("size,hoots\n1,yes\n2,yes\n")
    with pytest.raises(VersionError, match=r"data: .*a\.csv is new, and package:owl_data/a\.csv names it too"):
        reproduction.find(owls.root, "owls", number)


def edit(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (edit("data/a.csv", "size,hoots\n1,yes\n2,yes\n"), "data: {}/data/a.csv has changed"),
        (edit("data/b.csv", "size,hoots\n1,yes\n"), "data: {}/data/b.csv is new, and {}/data/*.csv names it too"),
        (lambda folder: (folder / "data/a.csv").unlink(), "data: {}/data/a.csv is gone"),
        (
            edit(
                "models.py",
                "def deep(inputs, hp):\n    return inputs + 1\n\ndef wide(inputs, hp):\n    return inputs\n",
            ),
            "ensemble.members.deep: the code of {}/models.py:deep, or what it reads, has changed",
        ),
        (lambda folder: (folder / "features.py").unlink(), "features: no such file: {}/features.py"),
        (edit("schemas/owls.pbtxt", ""), "schema: {}/schemas/owls.pbtxt has changed"),
        (
            lambda folder: (folder / "schemas/owls.pbtxt").unlink(),
            "schema: {}/schemas/owls.pbtxt has changed; the file is gone",
        ),
    ],
    ids=["data changed", "data added", "data gone", "code changed", "code gone", "schema changed", "schema gone"],
)
def test_what_has_changed_since_is_named(owls: Owls, change: Callable[[Path], object], line: str) -> None:
    number = owls.push(owls.config())
    change(owls.folder)
    with pytest.raises(VersionError) as error:
        reproduction.find(owls.root, "owls", number)
    first, *lines = str(error.value).splitlines()
    assert first == f"owls {number} cannot be made again, because something has changed since:"
    assert lines == [line.replace("{}", str(owls.folder))]


def test_a_comment_in_the_code_is_no_change(owls: Owls) -> None:
    number = owls.push(owls.config())
    (owls.folder / "models.py").write_text(f"# the best\n{MODELS}")
    assert reproduction.find(owls.root, "owls", number)


def test_other_versions_of_packages_and_another_machine_are_notes(owls: Owls) -> None:
    recorded = made_from.record(owls.config())
    recorded["packages"] |= {"keras": "2.0.0", "old": "1.0"}
    recorded["machine"]["cores"] = "1000"
    number = owls.push(owls.config(), made_from=recorded)
    cores, keras, old = reproduction.find(owls.root, "owls", number).other_versions
    assert cores.startswith("cores: 1000 then, ")
    assert keras.startswith("keras: 2.0.0 then, 3")
    assert old == "old: 1.0 then, none now"


def test_without_a_record_or_the_run_a_version_cannot_be_made_again(owls: Owls) -> None:
    number = owls.push(owls.config(), made_from={})
    with pytest.raises(VersionError, match="does not record what it was made from; an older Benison pushed it"):
        reproduction.find(owls.root, "owls", number)
    number = owls.push(owls.config())
    shutil.rmtree(owls.root / "runs" / f"owls-{number}")
    with pytest.raises(VersionError, match=r"the record of its run is gone: no run.json in .*/runs names this version"):
        reproduction.find(owls.root, "owls", number)


def test_a_republished_version_is_made_from_what_the_older_one_was(owls: Owls) -> None:
    number = owls.push(owls.config())
    copy = promote.republish(owls.root / "serving" / "owls", number, who="ann", why="")
    assert reproduction.find(owls.root, "owls", copy.number).version.number == number


def test_spans_are_those_of_the_version_also_if_they_were_replaced_since(
    owls: Owls, monkeypatch: pytest.MonkeyPatch
) -> None:
    (owls.folder / "owls.yaml").write_text(YAML.replace('{csv: "data/*.csv"}', "{time: day}") + "spans: {window: 2}\n")
    config = owls.config()
    for day in (1, 2):
        (owls.folder / "day.csv").write_text(f"day,size,hoots\n2026-01-0{day},{day},yes\n")
        span_changes.add(config, owls.root, [owls.folder / "day.csv"])
    before = spans.content_hashes(owls.root, "owls", [1, 2])
    number = owls.push(config, span_hashes=before, spans=[1, 2])
    (owls.folder / "day.csv").write_text("day,size,hoots\n2026-01-01,7,no\n")
    span_changes.replace(config, owls.root, 1, [owls.folder / "day.csv"])
    found = reproduction.find(owls.root, "owls", number)

    class Runner:
        def __init__(self, root: Path, **_: Any) -> None:
            self.root = root

        def run_config(self, config: Pipeline, span: str) -> tuple[dict[str, str], str]:
            return spans.content_hashes(self.root, "owls", spans.window(config, self.root, span)), span

    monkeypatch.setattr(reproduction, "LocalRunner", Runner)
    again: Any = reproduction.make_again(owls.root, found, owls.folder / "again", lambda run: None)
    assert again == (before, "1-2")
    shutil.rmtree(spans.folder(owls.root, "owls") / spans.REMOVED)
    with pytest.raises(VersionError, match=rf"data: span 1, sha256 {before['1'][:12]}, is gone"):
        reproduction.find(owls.root, "owls", number)


@pytest.mark.parametrize(
    ("before", "now", "equal"), [("a", "a", True), ("a", "b", False), (GONE, "a", None), ("a", GONE, None)]
)
def test_what_is_gone_is_neither_equal_nor_different(before: str, now: str, equal: bool | None) -> None:
    assert Compared("Transform", before, now).is_equal is equal
