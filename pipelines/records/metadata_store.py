"""The ML Metadata store: SQLite in ROOT, or the database that an environment variable names.

    BENISON_METADATA=postgresql://USER:PASSWORD@HOST:PORT/DATABASE      also mysql://…, and sqlite:///PATH

The address is read from the environment only, because it holds a password: it is never written to an IR, a manifest, a
run.json or a log.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from benison.pipelines.records import postgresql_texts
from benison.serving.errors import NodeFailed, UsageError
from benison.serving.files import file_lock, system_errors

if TYPE_CHECKING:
    from ml_metadata.metadata_store.metadata_store import MetadataStore
    from ml_metadata.proto import metadata_store_pb2 as mlmd
    from tfx.orchestration.metadata import Metadata
    from tfx.proto.orchestration import pipeline_pb2

VARIABLE = "BENISON_METADATA"
_FORM = "expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE, mysql://… of the same form, or sqlite:///PATH"
_WAIT_S = 10.0  # for another process that writes
_VERSIONS = re.compile(r"database version (\d+) is (greater|older) than library version (\d+)")
_QUERY = re.compile(r"\s+query: ", re.DOTALL)
_LINKS = (
    ("Association", "Execution"),
    ("Association", "Context"),
    ("Attribution", "Artifact"),
    ("Attribution", "Context"),
    ("Event", "Execution"),
    ("Event", "Artifact"),
)
_SSL = frozenset({"sslmode", "sslcert", "sslkey", "sslrootcert"})


def of_root(root: Path, environ: Mapping[str, str] = os.environ) -> Metadata:
    """Return the metadata store of a ROOT.

    Args:
        root: ROOT; it is created if it does not exist.
        environ: BENISON_METADATA in it takes precedence over ROOT's own SQLite file.

    Raises:
        UsageError: BENISON_METADATA is not a valid address. The message does not repeat it.
    """
    config = connection_of_root(root, environ)
    if config.WhichOneof("config") == "sqlite":
        Path(config.sqlite.filename_uri).parent.mkdir(parents=True, exist_ok=True)
    return _metadata(config)


def connection_of_root(root: Path, environ: Mapping[str, str] = os.environ) -> mlmd.ConnectionConfig:
    """Return the address of a ROOT's metadata store without importing TFX; arguments and errors as in `of_root`."""
    address = environ.get(VARIABLE, "")
    return _connection(address) if address else _sqlite(str(root / "metadata.sqlite"))


def of_pipeline(pipeline: pipeline_pb2.Pipeline, root: Path) -> Metadata:
    """Return the metadata store of a compiled pipeline: the environment's, else its own, else the one in ROOT."""
    from tfx.orchestration.local import runner_utils

    config = runner_utils.extract_local_deployment_config(pipeline).metadata_connection_config
    kind = config.WhichOneof("connection_config")
    return _metadata(getattr(config, kind)) if kind and not os.environ.get(VARIABLE) else of_root(root)


def _metadata(config: mlmd.ConnectionConfig) -> Metadata:
    from tfx.orchestration import metadata

    if config.WhichOneof("config") != "postgresql":
        return metadata.Metadata(config)

    class PostgreSQL(metadata.Metadata):
        def __enter__(self) -> Metadata:
            entered = super().__enter__()
            postgresql_texts.settle(entered.store)
            return entered

    return PostgreSQL(config)


def open_store(root: Path) -> MetadataStore:
    """Open the metadata store of a ROOT without TFX; errors as in `of_root`."""
    from ml_metadata.metadata_store.metadata_store import MetadataStore

    config = connection_of_root(root)
    store = MetadataStore(config)
    return postgresql_texts.settle(store) if config.WhichOneof("config") == "postgresql" else store


def sqlite_file(pipeline: pipeline_pb2.Pipeline, root: Path) -> str | None:
    """Return the path of the SQLite file of a compiled pipeline's metadata store; None if it is another database."""
    config = of_pipeline(pipeline, root).connection_config
    return str(config.sqlite.filename_uri) if config.WhichOneof("config") == "sqlite" else None


def make_tables(connection: Metadata, root: Path) -> None:
    """Create the store's tables if they do not exist; a lock in ROOT keeps two processes from creating them at once.

    PostgreSQL fails when two connections create the tables at the same time.

    Raises:
        NodeFailed: the store cannot be reached, is damaged, or is that of another release of ML Metadata.
    """
    root.mkdir(parents=True, exist_ok=True)
    file = connection.connection_config.sqlite.filename_uri
    where = f"{file}: " if file else ""
    with file_lock.hold(root / ".metadata.lock"):
        if file and (fault := fault_of_file(Path(file))):
            raise NodeFailed(f"{where}the metadata store {fault}")
        try:
            with connection:
                pass
        except Exception as error:  # one of ML Metadata's own errors, or the RuntimeError that TFX raises instead
            raise NodeFailed(f"{where}the metadata store {_fault_of_store(error)}") from None


def fault_of_file(file: Path) -> str:
    """Return what is wrong with an SQLite file, and what to do; '' if nothing is."""
    if not file.exists():
        return ""
    if file.is_dir():
        return "is a folder, expected a file; move it away"
    if not os.access(file, os.R_OK | os.W_OK):
        return "cannot be opened: Permission denied; let this user read and write it, or use another --root"
    try:
        with closing(sqlite3.connect(file, timeout=_WAIT_S)) as database:
            (answer,) = database.execute("PRAGMA quick_check(1)").fetchone()
            answer = _lost_entry(database) if answer == "ok" else answer
    except sqlite3.OperationalError:  # such as a full disk, which ML Metadata reports too
        return ""
    except sqlite3.DatabaseError as error:
        answer = str(error)
    if not answer:
        return ""
    fault = str(answer).splitlines()[-1]
    return (
        f"is damaged ({fault}); restore it from a copy, or move it and the folder of artifacts away: then every node "
        "runs again, and pushed versions stay"
    )


def _lost_entry(database: sqlite3.Connection) -> str:
    """Return which entry is missing that another one names; '' if none is. ML Metadata would end the process."""
    for table, entry in _LINKS:
        missing = database.execute(
            f"SELECT {entry}_id FROM {table} LEFT JOIN {entry} ON {entry}.id = {entry}_id "
            f"WHERE {entry}.id IS NULL LIMIT 1"
        ).fetchone()
        if missing:
            return f"{entry} {missing[0]}, which {table} names, is missing"
    return ""


def _fault_of_store(error: Exception) -> str:
    """Return why ML Metadata cannot open a store, and what to do."""
    if line := system_errors.machine_failure(error):
        return f"cannot be written: {line}"
    if versions := _VERSIONS.search(str(error)):
        written, relation, own = versions.groups()
        kind = "a newer" if relation == "greater" else "an older"
        return (
            f"was written by {kind} release of ML Metadata (it has version {written}, this release reads {own}); "
            "use the release that wrote it, or another --root"
        )
    return f"cannot be opened: {_first_line(error)}"


def _sqlite(file: str) -> mlmd.ConnectionConfig:
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return mlmd.ConnectionConfig(sqlite=mlmd.SqliteMetadataSourceConfig(filename_uri=file, connection_mode=mode))


def _connection(address: str) -> mlmd.ConnectionConfig:
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    try:
        url = urlsplit(address)
        port = url.port
    except ValueError:
        raise UsageError(f"{VARIABLE}: not a valid address; {_FORM}") from None
    database = unquote(url.path.removeprefix("/"))
    if url.scheme == "sqlite" and database:
        return _sqlite(database)
    if url.scheme not in ("postgresql", "postgres", "mysql") or not url.hostname or not database:
        raise UsageError(
            f"{VARIABLE}: got scheme {url.scheme or 'none'!r}, or the host or database is missing; {_FORM}"
        )
    user, password = unquote(url.username or ""), unquote(url.password or "")
    config = mlmd.ConnectionConfig()
    if url.scheme == "mysql":
        config.mysql.CopyFrom(
            mlmd.MySQLDatabaseConfig(
                host=url.hostname, port=port or 3306, user=user, password=password, database=database
            )
        )
        return config
    config.postgresql.CopyFrom(
        mlmd.PostgreSQLDatabaseConfig(
            host=url.hostname, port=str(port or 5432), user=user, password=password, dbname=database
        )
    )
    for name, value in _ssl(url).items():
        setattr(config.postgresql.ssloption, name, value)
    return config


def _ssl(url: SplitResult) -> dict[str, str]:
    options = {name: values[-1] for name, values in parse_qs(url.query).items()}
    unknown = sorted(set(options) - _SSL)
    if unknown:
        raise UsageError(f"{VARIABLE}: unknown option {unknown[0]!r}; expected one of {', '.join(sorted(_SSL))}")
    return options


def _first_line(error: Exception) -> str:
    text = _QUERY.split(str(error))[0]  # SQLite's message is followed by the statement
    return next(iter(text.splitlines()), type(error).__name__)
