"""BENISON_METADATA selects the database; messages about a wrong value never contain the password."""

from __future__ import annotations

from pathlib import Path

import pytest

from benison.pipelines.records import metadata_store
from benison.serving.errors import UsageError


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
