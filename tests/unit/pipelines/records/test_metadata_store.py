"""BENISON_METADATA selects the database; messages about a wrong value never contain the password."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from benison.pipelines.records import metadata_store
from benison.serving.errors import NodeFailed, UsageError


def _config(address: str):
    return metadata_store.of_root(Path(), {metadata_store.VARIABLE: address})._connection_config


def test_postgresql_with_all_its_parts() -> None:
    config = _config("postgresql://me:p%40ss%2Fword@db.example:6432/mlmd?sslmode=require").postgresql
    assert (config.host, config.port, config.user, config.password) == ("db.example", "6432", "me", "p@ss/word")
    assert (config.dbname, config.ssloption.sslmode) == ("mlmd", "require")


def test_ports_have_their_usual_defaults() -> None:
    assert _config("postgresql://me:x@db/mlmd").postgresql.port == "5432"
    assert _config("mysql://me:x@db/mlmd").mysql.port == 3306


def test_sqlite_by_path() -> None:
    assert _config("sqlite:////data/mlmd.sqlite").sqlite.filename_uri == "/data/mlmd.sqlite"


def test_without_the_variable_the_store_is_in_root(tmp_path: Path) -> None:
    store = metadata_store.of_root(tmp_path / "new", {})
    assert store._connection_config.sqlite.filename_uri == str(tmp_path / "new/metadata.sqlite")


@pytest.mark.parametrize(
    "address",
    [
        "secret",
        "oracle://me:secret@db/mlmd",
        "postgresql://me:secret@db",
        "postgresql:///secret",
        "postgresql://me:secret@db:port/mlmd",
        "postgresql://me:secret@db/mlmd?colour=secret",
    ],
)
def test_a_wrong_address_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(UsageError, match="BENISON_METADATA: ") as raised:
        _config(address)
    assert "secret" not in str(raised.value)


def _made(root: Path) -> Path:
    """Make a store, and return its file."""
    metadata_store.make_tables(metadata_store.of_root(root, {}), root)
    return root / "metadata.sqlite"


def _is_not_sqlite(file: Path) -> None:
    file.write_bytes(b"no database at all" * 100)


def _is_cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _is_overwritten(file: Path) -> None:
    with file.open("r+b") as stream:
        stream.seek(file.stat().st_size // 3)
        stream.write(b"\xff" * 60_000)


def _version(number: int) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        with contextlib.closing(sqlite3.connect(file)) as database, database:
            database.execute(f"update MLMDEnv set schema_version = {number}")

    return write


def _has_lost_an_entry(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.execute("insert into Association (context_id, execution_id) values (1, 7)")


def _is_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _is_not_sqlite,
            r"is damaged \(file is not a database\); restore it from a copy, or move it and the folder of",
        ),
        (
            _is_cut,
            r"is damaged \(.*\); restore it from a copy, or move it and the folder of artifacts away: then every",
        ),
        (
            _has_lost_an_entry,
            r"is damaged \(Execution 7, which Association names, is missing\); restore it from a copy",
        ),
        (_is_overwritten, r"is damaged \(.*\); restore it from a copy"),
        (
            _version(99),
            r"was written by a newer release of ML Metadata \(it has version 99, this release reads \d+\); ",
        ),
        (
            _version(2),
            r"was written by an older release of ML Metadata \(it has version 2, this release reads \d+\); use",
        ),
        (_is_a_folder, "is a folder, expected a file; move it away"),
    ],
)
def test_a_store_that_cannot_be_used_is_named_in_one_line_with_what_to_do(
    change: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    file = _made(tmp_path)
    change(file)
    with pytest.raises(NodeFailed, match=rf"^{file}: the metadata store {message}") as caught:
        _made(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_store_without_tables_or_in_use_is_opened(tmp_path: Path) -> None:
    (tmp_path / "metadata.sqlite").touch()
    file = _made(tmp_path)
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.execute("update MLMDEnv set schema_version = schema_version")
        _made(tmp_path)
