"""A version is visible as a whole or not at all, the highest is the newest, and its files can be verified."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from benison.serving.errors import VersionError
from benison.serving.promotion.labels import served
from benison.serving.versions.local import Version, checksum, identity, install, publish, remove, verify, versions
from benison.serving.versions.manifest import Manifest

REPOSITORY = Path(__file__).parents[4]


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "candidate"
    (folder / "variables").mkdir(parents=True)
    (folder / "assets").mkdir()
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.index").write_bytes(b"index")
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(b"\x00\x01\x02")
    return folder


@pytest.fixture
def base(tmp_path):
    return tmp_path / "serving" / "penguins"


def at(second: float):
    return lambda: second


def hidden(base: Path) -> list[str]:
    return [path.name for path in base.iterdir() if path.name.startswith(".")]


def names(base: Path) -> list[str]:
    """Return what is in a base beside the record of pushes."""
    return sorted(path.name for path in base.iterdir() if path.name != "pushes.jsonl")


def foreign(base: Path, name: str, manifest: str | None = None) -> Path:
    """A folder that another tool pushed."""
    folder = base / name
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"foreign")
    if manifest is not None:
        (folder / "manifest.json").write_text(manifest)
    return folder


def test_a_version_can_be_hashed_and_shows_no_manifest(model, base):
    version = publish(model, base, Manifest(), at(1000))
    assert {version: 1}[versions(base)[0]] == 1
    assert repr(version) == f"Version(number=1000, path={version.path!r})"


def test_a_base_that_does_not_exist_has_no_versions():
    assert versions("/nope") == []


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    """A publisher of its own; the script may stop at `hold()` until a line is sent to it."""
    prelude = """
        import os, shutil, sys
        from pathlib import Path
        from benison.serving.versions.local import publish
        from benison.serving.versions.manifest import Manifest
        def hold():
            print("holding", flush=True)
            sys.stdin.readline()
    """
    code = textwrap.dedent(prelude) + textwrap.dedent(script)
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


STOPS_IN_MID_COPY = """
    copy, copied = shutil.copyfile, []
    def stop_at_second(*args, **kwargs):
        if copied:
            hold()
        copied.append(args)
        return copy(*args, **kwargs)
    shutil.copyfile = stop_at_second
    publish(Path(sys.argv[1]), Path(sys.argv[2]), Manifest(), lambda: 100)
"""

STOPS_BEFORE_ITS_FIRST_RENAME = """
    rename, tried = os.rename, []
    def stop_at_first(*args):
        if not tried:
            hold()
        tried.append(args)
        return rename(*args)
    os.rename = stop_at_first
    print(publish(Path(sys.argv[1]), Path(sys.argv[2]), Manifest(name=sys.argv[3]), lambda: 100).number)
"""


def test_a_published_version_holds_the_model_and_its_manifest(model, base):
    version = publish(model, base, Manifest(members=("deep", "wide")), at(1700000000.9))
    assert version.path == base / "1700000000"
    assert json.loads((version.path / "manifest.json").read_text()) == json.loads(version.manifest.to_json())
    assert version.manifest.format == 3
    assert version.manifest.version == version.number == 1700000000
    assert version.manifest.created == "2023-11-14T22:13:20+00:00"
    assert version.manifest.members == ("deep", "wide")
    assert version.manifest.candidate == checksum(model)
    assert version.manifest.files.keys() == {
        "saved_model.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
    }
    assert version.manifest.files["saved_model.pb"].bytes == 5
    assert (version.path / "variables" / "variables.index").read_bytes() == b"index"
    assert (version.path / "assets").is_dir()
    assert hidden(base) == []
    assert verify(version) == []


def test_what_goes_with_the_model_is_part_of_the_version_but_not_of_the_candidate(model, base, tmp_path):
    (tmp_path / "spec").write_bytes(b"{}")
    version = publish(model, base, Manifest(), at(9), beside={"assets.extra/ensemble.json": tmp_path / "spec"})
    assert (version.path / "assets.extra" / "ensemble.json").read_bytes() == b"{}"
    assert version.manifest.files["assets.extra/ensemble.json"].bytes == 2
    assert version.manifest.bytes == sum(file.bytes for file in version.manifest.files.values()) == 15
    assert version.manifest.candidate == checksum(model)
    assert verify(version) == []
    (version.path / "assets.extra" / "ensemble.json").write_bytes(b"[]")
    assert verify(version) == [f"{version.path}/assets.extra/ensemble.json: changed since the push"]


@pytest.mark.parametrize("name", ["saved_model.pb", "manifest.json", "assets"])
def test_what_goes_with_the_model_takes_the_place_of_nothing(model, base, tmp_path, name):
    (tmp_path / "spec").write_bytes(b"{}")
    with pytest.raises(VersionError, match=f"{name}: the model has a file of that name already; nothing was pushed"):
        publish(model, base, Manifest(), beside={name: tmp_path / "spec"})
    assert list(base.iterdir()) == []


@pytest.mark.parametrize(("at_least", "number"), [(50, 100), (100, 100), (300, 300)])
def test_the_number_is_no_lower_than_asked(model, base, at_least, number):
    assert publish(model, base, Manifest(), at(100), at_least=at_least).number == number


def test_a_removed_version_is_gone_whole(model, base):
    first, second = publish(model, base, Manifest(), at(1)), publish(model, base, Manifest(), at(2))
    remove(second)
    assert versions(base) == [first]
    assert names(base) == ["1"]


def test_a_given_candidate_is_kept(model, base):
    assert publish(model, base, Manifest(candidate="abc")).manifest.candidate == "abc"


def test_publishing_leaves_the_callers_manifest_alone(model, base):
    manifest = Manifest(metrics={"m": {"auc": 0.9}})
    publish(model, base, manifest)
    assert manifest == Manifest(metrics={"m": {"auc": 0.9}})


def test_nan_in_the_manifest_becomes_null(model, base):
    version = publish(model, base, Manifest(metrics={"m": {"auc": float("nan")}}))
    assert version.manifest.metrics == {"m": {"auc": None}}


@pytest.mark.parametrize(
    ("existing", "second", "number"),
    [
        ([], 100, 100),
        (["99"], 100, 100),
        (["100"], 100, 101),
        (["100", "101"], 100, 102),
        (["500"], 100, 501),
        (["00500"], 100, 501),
        (["99999999999999999999"], 100, 100),
        (["latest", "²", "-500", "500.bak"], 100, 100),
    ],
)
def test_the_version_is_the_second_or_one_above_the_highest(model, base, existing, second, number):
    for name in existing:
        foreign(base, name)
    assert publish(model, base, Manifest(), at(second)).number == number
    assert served(base).number == number


def test_an_unfinished_folder_takes_its_number_too(model, base):
    (base / "500").mkdir(parents=True)
    assert publish(model, base, Manifest(), at(100)).number == 501


@pytest.mark.parametrize("code", [errno.ENOTEMPTY, errno.EEXIST])
def test_a_number_taken_at_the_last_moment_is_left_alone(model, base, monkeypatch, code):
    rename = os.rename

    def too_late(source, target):
        if Path(target).name == "100":
            raise OSError(code, "taken")
        rename(source, target)

    monkeypatch.setattr(os, "rename", too_late)
    version = publish(model, base, Manifest(), at(100))
    assert version.number == 101
    assert json.loads((base / "101" / "manifest.json").read_text())["version"] == 101


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["shutil.copyfile", "os.fsync", "os.rename"])
def test_a_failure_at_any_step_leaves_nothing(model, base, monkeypatch, step, failure):
    publish(model, base, Manifest(), at(50))
    done = []
    library, name = step.split(".")
    original = getattr(sys.modules[library], name)

    def second_fails(*args, **kwargs):
        done.append(args)
        if len(done) == 2 or name == "rename":
            raise failure
        return original(*args, **kwargs)

    monkeypatch.setattr(sys.modules[library], name, second_fails)
    with pytest.raises(type(failure)):
        publish(model, base, Manifest(), at(100))
    assert names(base) == ["50"]


def test_a_publisher_killed_in_mid_copy_shows_nothing_and_is_cleaned_up_by_the_next(model, base):
    publisher = start(STOPS_IN_MID_COPY, model, base)
    assert publisher.stdout.readline() == "holding\n"
    (incoming,) = hidden(base)
    assert versions(base) == []
    assert served(base) is None

    other = publish(model, base, Manifest(), at(90))
    assert hidden(base) == [incoming], "a live publisher's copy is not touched"

    publisher.send_signal(signal.SIGKILL)
    publisher.communicate()
    assert versions(base) == [other]
    publish(model, base, Manifest(), at(100))
    assert hidden(base) == []
    assert [version.number for version in versions(base)] == [90, 100]


def test_two_publishers_of_one_moment_make_two_versions(model, base):
    publishers = [start(STOPS_BEFORE_ITS_FIRST_RENAME, model, base, name) for name in ("first", "second")]
    assert [publisher.stdout.readline() for publisher in publishers] == ["holding\n"] * 2
    assert versions(base) == []
    numbers = [int(publisher.communicate("go\n")[0]) for publisher in publishers]
    assert numbers == [100, 101]
    assert [(version.number, version.manifest.name) for version in versions(base)] == [(100, "first"), (101, "second")]
    assert [problem for version in versions(base) for problem in verify(version)] == []
    assert hidden(base) == []


def test_a_folder_that_only_looks_like_a_leftover_is_left_alone(model, base):
    (base / ".incoming-notes").mkdir(parents=True)
    publish(model, base, Manifest())
    assert hidden(base) == [".incoming-notes"]


def test_what_is_no_saved_model_is_not_pushed(tmp_path, base):
    with pytest.raises(VersionError, match=r"no saved_model.pb in it"):
        publish(tmp_path, base, Manifest())
    assert not base.exists()


def test_a_manifest_that_is_not_json_is_not_pushed(model, base):
    with pytest.raises(VersionError, match="cannot be written as JSON"):
        publish(model, base, Manifest.model_validate({"path": model}))
    assert not base.exists()


def test_nothing_is_served_where_nothing_was_pushed(base):
    assert versions(base) == []
    assert served(base) is None
    assert identity(served(base)) == "none"


def test_versions_ascend_by_number_and_odd_names_are_ignored(base):
    for name in ("9", "10", "latest", ".incoming-1-ab", "²", "11.bak"):
        foreign(base, name, "{}")
    (base / "12").write_text("a file")
    (base / "13").mkdir()
    assert [version.number for version in versions(base)] == [9, 10]
    assert served(base).number == 10


@pytest.mark.parametrize("manifest", ["{", "[]", ""])
def test_a_version_with_a_broken_manifest_is_not_served(base, manifest):
    foreign(base, "9", "{}")
    foreign(base, "10", manifest)
    with pytest.raises(VersionError, match="version 10 is not as it was pushed"):  # a server would choose it
        served(base)
    assert served(base, damaged=True).number == 10


def test_a_version_that_another_tool_pushed_is_served_and_identified_by_its_content(base):
    folder = foreign(base, "9")
    assert served(base) == Version(9, folder, Manifest())
    assert identity(served(base)) == f"9:{checksum(folder)}"
    assert verify(served(base)) == [
        f"{folder}: no list of files in manifest.json, so nothing to verify the version against"
    ]


def test_the_identity_is_number_and_candidate(model, base):
    assert identity(publish(model, base, Manifest(candidate="abc"), at(7))) == "7:abc"


def test_the_checksum_is_of_names_and_bytes_alone(model, tmp_path, base):
    copy = tmp_path / "copy"
    shutil.copytree(model, copy)
    os.utime(copy / "saved_model.pb", (1, 1))
    assert checksum(copy) == checksum(model) == checksum(publish(model, base, Manifest(members=("deep",))).path)


@pytest.mark.parametrize("change", ["byte", "name", "extra"])
def test_the_checksum_changes_with_the_content(model, change):
    before = checksum(model)
    if change == "byte":
        (model / "variables" / "variables.index").write_bytes(b"indeX")
    elif change == "name":
        (model / "variables" / "variables.index").rename(model / "variables.index")
    else:
        (model / "assets" / "vocabulary").write_bytes(b"")
    assert checksum(model) != before


def test_verify_names_flipped_missing_and_extra_files(model, base):
    version = publish(model, base, Manifest())
    data = version.path / "variables" / "variables.data-00000-of-00001"
    data.write_bytes(b"\x00\x01\x03")
    (version.path / "saved_model.pb").unlink()
    (version.path / "assets" / "added").write_bytes(b"x")
    assert verify(version) == [
        f"{version.path / 'assets' / 'added'}: not in the manifest",
        f"{version.path / 'saved_model.pb'}: missing",
        f"{data}: changed since the push",
    ]


def test_an_installed_version_keeps_its_number(model, base, tmp_path):
    version = publish(model, base, Manifest(), at(7))
    installed = install(tmp_path / "other", 7, lambda folder: shutil.copytree(version.path, folder, dirs_exist_ok=True))
    assert installed == Version(7, tmp_path / "other" / "7", version.manifest)
    assert verify(installed) == []
    assert names(tmp_path / "other") == ["7"]


@pytest.mark.parametrize(
    ("number", "said"), [(8, "the copied files are not version 8"), (7, "7: another version has this number")]
)
def test_an_installed_version_replaces_no_other(model, base, number, said):
    version = publish(model, base, Manifest(), at(7))
    with pytest.raises(VersionError, match=said):
        install(base, number, lambda folder: shutil.copytree(version.path, folder, dirs_exist_ok=True))
    assert names(base) == ["7"]


def test_an_incomplete_copy_is_not_installed(model, base, tmp_path):
    version = publish(model, tmp_path / "there", Manifest(), at(7))

    def fill(folder: Path) -> None:
        shutil.copytree(version.path, folder, dirs_exist_ok=True)
        (folder / "variables" / "variables.index").unlink()

    with pytest.raises(VersionError, match=r"7 is not as it was pushed:\n.*variables.index: missing"):
        install(base, 7, fill)
    assert list(base.iterdir()) == []
