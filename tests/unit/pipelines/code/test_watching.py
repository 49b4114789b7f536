"""A record holds what the user's code reads; the code is plain functions in a user's file."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from benison.pipelines.code import reads, watching

# TensorFlow and its dependencies emit warnings about one another.
pytestmark = pytest.mark.filterwarnings("ignore")
assert tf.io  # a node's process has TensorFlow before the user's code runs

USER = """
import glob
import json
import os
import tempfile
from os import environ
from pathlib import Path

import some_library

FOLDER = os.path.dirname(__file__)
WORDS = FOLDER + "/words.txt"

def opens(): return open(WORDS).read()
def reads_by_path(): return Path(WORDS).read_text()
def reads_by_numpy():
    import numpy
    return numpy.loadtxt(WORDS, dtype=str)
def by_a_library(): return some_library.read(WORDS)
def by_gfile():
    import tensorflow as tf
    return tf.io.gfile.GFile(WORDS).read()
def by_read_file():
    import tensorflow as tf
    return tf.io.read_file(WORDS).numpy()
def by_text_lines():
    import tensorflow as tf
    return list(tf.data.TextLineDataset(WORDS))
def by_a_table():
    import tensorflow as tf
    index = tf.lookup.TextFileIndex
    init = tf.lookup.TextFileInitializer(WORDS, tf.string, index.WHOLE_LINE, tf.int64, index.LINE_NUMBER)
    return tf.lookup.StaticHashTable(init, -1)
def by_a_csv_dataset():
    import tensorflow as tf
    return list(tf.data.experimental.CsvDataset(WORDS, [tf.string]))
def in_a_graph():
    import tensorflow as tf
    return tf.function(lambda: tf.io.read_file(tf.constant(WORDS)))()
def in_a_thread():
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor() as pool: return list(pool.map(lambda name: open(name).read(), [WORDS]))

def asks_item(): return os.environ.get("SIZE")
def asks_getenv(): return os.getenv("SIZE", "8")
def asks_environ(): return environ["SIZE"] if "SIZE" in environ else None
def expands(): return os.path.expandvars("$SIZE")
def through_a_library(): return some_library.setting()
def finds_a_program():
    import shutil
    return shutil.which("sh")
def finds_the_temporary_folder():
    import tempfile
    tempfile.tempdir = None
    return tempfile.gettempdir()
def parses_arguments():
    import argparse
    parser = argparse.ArgumentParser()
    parser.add_argument("--size")
    return parser.format_help()
def sets_a_default(): return [os.environ.setdefault("SIZE", "8"), os.environ["SIZE"]]

def tries():
    try: return open(FOLDER + "/optional.json").read()
    except FileNotFoundError: return None
def lists(): return sorted(os.listdir(FOLDER + "/lists"))
def globs(): return sorted(glob.glob(FOLDER + "/lists/*.txt"))
def iterates(): return [path.name for path in Path(FOLDER, "lists").iterdir()]
def matches():
    import tensorflow as tf
    return tf.io.gfile.glob(FOLDER + "/lists/*.txt")
def matches_files():
    import tensorflow as tf
    return tf.io.matching_files(FOLDER + "/lists/*.txt")
def matches_in_a_dataset():
    import tensorflow as tf
    return list(tf.data.Dataset.list_files(FOLDER + "/lists/*.txt"))
def lists_by_gfile():
    import tensorflow as tf
    return tf.io.gfile.listdir(FOLDER + "/lists")
def asks_gfile():
    import tensorflow as tf
    return tf.io.gfile.exists(FOLDER + "/optional.json")
def loads_a_checkpoint():
    import tensorflow as tf
    return tf.train.load_checkpoint(FOLDER + "/checkpoint").get_tensor("x/.ATTRIBUTES/VARIABLE_VALUE")
def restores_a_checkpoint():
    import tensorflow as tf
    return tf.train.Checkpoint(x=tf.Variable(0.0)).read(FOLDER + "/checkpoint").assert_consumed()

def computed_names():
    import tensorflow as tf
    names = tf.data.Dataset.from_tensor_slices([FOLDER])
    return list(names.map(lambda name: tf.io.read_file(name + "/words.txt")))

def mapped_names():
    import tensorflow as tf
    names = tf.data.Dataset.from_tensor_slices(([WORDS], [1]))
    return list(names.shuffle(9).map(lambda name, label: (tf.io.read_file(name), label)))
def listed_names():
    import tensorflow as tf
    files = tf.data.Dataset.list_files(FOLDER + "/w*.txt")
    return list(tf.data.TextLineDataset(files)), list(files.interleave(lambda name: tf.data.TextLineDataset(name)))

def library_pipeline(): return some_library.pipeline(WORDS)
def works_in_temporary_files():
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "part").write_text("1")
        return Path(folder, "part").read_text() + "".join(os.listdir(folder))
def keeps_what_it_wrote():
    Path(FOLDER, "made.txt").write_text(os.urandom(4).hex())
    return Path(FOLDER, "made.txt").read_text()
def keeps_what_tensorflow_wrote():
    import tensorflow as tf
    gfile = tf.io.gfile
    gfile.mkdir(FOLDER + "/new")
    gfile.makedirs(FOLDER + "/old/new")
    with gfile.GFile(FOLDER + "/made.txt", "w") as file: file.write(os.urandom(4).hex())
    gfile.copy(FOLDER + "/made.txt", FOLDER + "/copied.txt", overwrite=True)
    gfile.copy(FOLDER + "/made.txt", FOLDER + "/new/made.txt")
    gfile.rename(FOLDER + "/new/made.txt", FOLDER + "/moved.txt", overwrite=True)
    names = gfile.listdir(FOLDER + "/new") + gfile.listdir(FOLDER + "/old/new")
    return [gfile.GFile(FOLDER + name).read() for name in ("/made.txt", "/copied.txt", "/moved.txt")] + names
def imports():
    import some_other_library
    return some_other_library.DATA
def reads_installed(): return some_library.own()
def nothing(): return 1
"""

LIBRARY = """
import os
from pathlib import Path
OWN = Path(__file__).with_name("some_data.txt")
def read(path): return Path(path).read_text()
def own(): return OWN.read_text()
def setting(): return os.environ.get("SIZE")
def pipeline(path):
    import tensorflow as tf
    return list(tf.data.Dataset.list_files(path).interleave(lambda name: tf.data.TextLineDataset(name)))
"""

OTHER_LIBRARY = """
import os
DATA = open(os.environ["OTHER_LIBRARY"]).read()
"""

MATCHES = ("matches", "matches_files", "matches_in_a_dataset")


@dataclass
class User:
    """A user's file in a folder with what it reads; `records` has what was recorded of each call."""

    folder: Path
    forget_process: Callable[[], None]
    records: list[dict[str, Any]] = field(default_factory=list)

    def call(self, function: str) -> None:
        """Call a function of the user's file in a "node" of a new process."""
        self.forget_process()
        with watching.watched():
            getattr(importlib.import_module(f"user_{self.folder.name}"), function)()
        self.records.append(reads.OF_PROCESS.record([str(self.folder / "root")]))

    def changed(self) -> str:
        """Return what has changed since the last call."""
        return reads.difference(self.records[-1])

    def called_again_after(self, function: str, expected: str) -> None:
        """Check that something has changed, and that nothing has after another call."""
        assert self.changed() == expected
        self.call(function)
        assert self.changed() == ""


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> User:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/a.txt").write_text("a")
    (tmp_path / "words.txt").write_text("one\n")
    site = tmp_path / "site-packages"
    site.mkdir()
    (site / "some_library.py").write_text(LIBRARY)
    (site / "some_data.txt").write_text("1")
    (site / "some_other_library.py").write_text(OTHER_LIBRARY)
    name = f"user_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(USER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("OTHER_LIBRARY", str(tmp_path / "words.txt"))
    monkeypatch.delenv("SIZE", raising=False)

    def forget_process() -> None:
        monkeypatch.setattr(reads, "OF_PROCESS", reads.Reads())
        for module in (name, "some_library", "some_other_library"):
            sys.modules.pop(module, None)

    return User(tmp_path, forget_process)


@pytest.mark.parametrize(
    "function",
    [
        *("opens", "reads_by_path", "reads_by_numpy", "by_a_library", "in_a_thread"),
        *("by_gfile", "by_read_file", "by_text_lines", "by_a_table", "by_a_csv_dataset", "in_a_graph"),
        *("library_pipeline", "mapped_names", "listed_names"),
    ],
)
def test_a_changed_file_is_found_and_an_unchanged_one_is_not(user: User, function: str) -> None:
    user.call(function)
    assert user.changed() == ""
    (user.folder / "words.txt").write_text("two\n")
    user.called_again_after(function, f"{user.folder}/words.txt changed")
    (user.folder / "words.txt").unlink()
    assert user.changed().startswith(f"{user.folder}/w")


@pytest.mark.parametrize(
    "function", ["asks_item", "asks_getenv", "asks_environ", "expands", "through_a_library", "sets_a_default"]
)
def test_a_variable_counts_by_its_value(user: User, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    user.call(function)
    os.environ.pop("SIZE", None)  # `sets_a_default` has set it; the process of a node ends
    monkeypatch.setenv("ANOTHER", "1")
    assert user.changed() == ""
    for value in ("16", "32"):
        monkeypatch.setenv("SIZE", value)
        user.called_again_after(function, "the environment variable SIZE changed")
    monkeypatch.delenv("SIZE")
    assert user.changed() == "the environment variable SIZE changed"


def test_the_size_and_the_language_of_the_terminal_do_not_count(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    user.call("parses_arguments")
    for name in ("COLUMNS", "LINES", "LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.setenv(name, "7")
    assert user.changed() == ""
    user.call("finds_a_program")
    monkeypatch.setenv("PATH", "/nowhere")
    assert user.changed() == "the environment variable PATH changed"


def test_the_folder_for_temporary_files_does_not_count(
    user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.call("finds_the_temporary_folder")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert user.changed() == ""


@pytest.mark.parametrize("function", ["tries", "asks_gfile"])
def test_a_file_that_did_not_exist_counts_when_it_appears(user: User, function: str) -> None:
    user.call(function)
    assert user.changed() == ""
    (user.folder / "optional.json").write_text("{}")
    user.called_again_after(function, f"{user.folder}/optional.json changed")


@pytest.mark.parametrize("function", ["loads_a_checkpoint", "restores_a_checkpoint"])
def test_a_changed_checkpoint_is_found(user: User, function: str) -> None:
    tf.train.Checkpoint(x=tf.Variable(1.0)).write(f"{user.folder}/checkpoint")
    user.call(function)
    assert user.changed() == ""
    tf.train.Checkpoint(x=tf.Variable(2.0)).write(f"{user.folder}/checkpoint")
    user.called_again_after(function, f"{user.folder}/checkpoint.data-00000-of-00001 changed")


@pytest.mark.parametrize("function", ["lists", "globs", "iterates", "lists_by_gfile", *MATCHES])
def test_a_listing_counts_by_its_names(user: User, function: str) -> None:
    user.call(function)
    assert user.changed() == ""
    (user.folder / "lists/b.txt").write_text("b")
    assert user.changed().startswith(f"{user.folder}/lists")
    user.call(function)
    assert user.changed() == ""


@pytest.mark.parametrize("function", MATCHES)
def test_a_pattern_of_tensorflow_counts_by_what_matches_it(user: User, function: str) -> None:
    user.call(function)
    (user.folder / "lists/b.json").write_text("{}")
    assert user.changed() == ""


def test_names_that_only_a_graph_knows_are_never_reused(user: User) -> None:
    user.call("computed_names")
    assert user.changed() == "code of the user reads files whose names are known only inside a graph"


@pytest.mark.parametrize(
    "function",
    [
        *("works_in_temporary_files", "keeps_what_it_wrote", "keeps_what_tensorflow_wrote"),
        *("imports", "reads_installed"),
    ],
)
def test_what_is_no_input_of_the_users_code_does_not_count(user: User, function: str) -> None:
    user.call(function)
    for name in (
        "words.txt",
        "made.txt",
        "copied.txt",
        "moved.txt",
        "new/a",
        "old/new/a",
        "site-packages/some_data.txt",
    ):
        (user.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (user.folder / name).write_text("2")
    (user.folder / f"user_{user.folder.name}.py").write_text(USER + "# the cache key has the code")
    assert user.changed() == ""


def test_code_that_calls_a_node_does_not_read_for_it(user: User) -> None:
    user.forget_process()
    with watching.watched():
        (user.folder / "words.txt").read_text()
    assert not reads.OF_PROCESS.paths


def test_what_an_earlier_node_of_the_process_has_read_counts(user: User) -> None:
    user.call("opens")
    with watching.watched():
        pass
    assert f"{user.folder}/words.txt" in reads.OF_PROCESS.record([])["paths"]
    (user.folder / "words.txt").write_text("other\n")  # the process may still have the old text
    record = reads.OF_PROCESS.record([])
    assert reads.difference(record) == f"{user.folder}/words.txt changed while the process ran"


def test_files_of_artifacts_do_not_count(user: User) -> None:
    user.call("opens")
    assert reads.OF_PROCESS.record([str(user.folder)])["paths"] == {}
