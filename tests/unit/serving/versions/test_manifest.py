"""A manifest is read in its own and older formats; what another tool or a newer release wrote is not lost."""

from __future__ import annotations

import json

import pytest

from benison.serving.errors import VersionError
from benison.serving.versions import manifest
from benison.serving.versions.manifest import Manifest, PinnedMember


def parse(**keys: object) -> Manifest:
    return manifest.parse(json.dumps(keys), "birds/7/manifest.json")


def test_a_manifest_without_a_format_has_the_first_one() -> None:
    assert parse(name="birds").format == 1
    assert parse(format=2).format == 2


def test_unknown_keys_are_kept() -> None:
    text = parse(name="birds", color="red", files={"a": {"sha256": "5c", "bytes": 1, "mode": 420}}).to_json()
    assert json.loads(text) == {
        "name": "birds", "color": "red", "files": {"a": {"sha256": "5c", "bytes": 1, "mode": 420}},
    }  # fmt: skip


def test_only_the_keys_that_were_read_are_written() -> None:
    assert not parse().model_fields_set
    assert parse(spans=[1, 2]).to_json() == '{\n  "spans": [\n    1,\n    2\n  ]\n}\n'


def test_nested_values_are_typed() -> None:
    read = parse(fan_out={"deep": {"model": "birds-deep", "version": 7}}, metrics={"deep": {"auc": None}})
    assert read.fan_out == {"deep": PinnedMember(model="birds-deep", version=7)}
    assert read.metrics["deep"]["auc"] is None


def test_keys_that_another_tool_uses_for_something_else_are_ignored() -> None:
    read = parse(name="birds", files=["a"], members=3)
    assert (read.name, read.files, read.members) == ("birds", {}, ())
    assert parse(format="onnx", name="birds").name == "birds"


def test_a_newer_format_is_one_clear_line() -> None:
    with pytest.raises(VersionError) as caught:
        parse(format=4, name="birds")
    assert str(caught.value) == (
        "birds/7/manifest.json: format 4 was written by a newer Benison, and this one reads up to 3; "
        "update Benison to use this version"
    )


def test_a_mistake_in_a_manifest_with_a_format_is_named() -> None:
    with pytest.raises(VersionError, match=r"^birds/7/manifest.json: fan_out.deep.version: .*integer"):
        parse(format=2, fan_out={"deep": {"model": "birds-deep", "version": "x"}})
