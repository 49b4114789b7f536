"""Where ML Metadata is kept: SQLite in ROOT, or the database that the environment names.

    BENISON_METADATA=postgresql://USER:PASSWORD@HOST:PORT/DATABASE      also mysql://…, and sqlite:///PATH

Only the environment holds it, because of the password: it stands in no IR, manifest, run.json or log.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from benison.serving.errors import NodeFailed, UsageError

if TYPE_CHECKING:
    from tfx.orchestration.metadata import Metadata
    from tfx.proto.orchestration import pipeline_pb2

VARIABLE = "BENISON_METADATA"
_FORM = "expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE, mysql://… of the same form, or sqlite:///PATH"
_SSL = frozenset({"sslmode", "sslcert", "sslkey", "sslrootcert"})


def of_root(root: Path, environ: Mapping[str, str] = os.environ) -> Metadata:
    """The metadata store of a ROOT.

    Args:
        root: ROOT, which is made if need be.
        environ: its BENISON_METADATA goes before ROOT's own SQLite file.

    Raises:
        UsageError: BENISON_METADATA is of no form that is known; does not repeat it.
    """
    from tfx.orchestration import metadata

    given = environ.get(VARIABLE, "")
    if given:
        return metadata.Metadata(_connection(given))
    root.mkdir(parents=True, exist_ok=True)
    return metadata.Metadata(metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite")))


def of_pipeline(pipeline: pipeline_pb2.Pipeline, root: Path) -> Metadata:
    """The metadata store of a compiled pipeline: the environment's, else the one that it names, else that of ROOT."""
    from tfx.orchestration import metadata
    from tfx.orchestration.local import runner_utils

    config = runner_utils.extract_local_deployment_config(pipeline).metadata_connection_config
    kind = config.WhichOneof("connection_config")
    return metadata.Metadata(getattr(config, kind)) if kind and not os.environ.get(VARIABLE) else of_root(root)


def make_tables(connection: Metadata, root: Path) -> None:
    """Makes a store's tables if need be, one process of ROOT after another: PostgreSQL fails where two do so at once.

    Raises:
        NodeFailed: the store cannot be reached.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".metadata.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            with connection:
                pass
        except Exception as error:  # of ML Metadata's own kinds, or of the RuntimeError that TFX makes of them
            raise NodeFailed(f"the metadata store cannot be opened: {_first_line(error)}") from None


def _connection(given: str) -> Any:
    from ml_metadata.proto import metadata_store_pb2 as mlmd
    from tfx.orchestration import metadata

    try:
        url = urlsplit(given)
        port = url.port
    except ValueError:
        raise UsageError(f"{VARIABLE}: no address; {_FORM}") from None
    database = unquote(url.path.removeprefix("/"))
    if url.scheme == "sqlite" and database:
        return metadata.sqlite_metadata_connection_config(database)
    if url.scheme not in ("postgresql", "postgres", "mysql") or not url.hostname or not database:
        raise UsageError(f"{VARIABLE}: {url.scheme or 'no'} scheme, or a part is missing; {_FORM}")
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
        raise UsageError(f"{VARIABLE}: unknown option {unknown[0]!r}; there are {', '.join(sorted(_SSL))}")
    return options


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
