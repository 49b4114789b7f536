"""The exceptions of Benison, as one tree.

    BenisonError
    ├── UsageError          wrong command line or config            exit 2
    ├── DataError           the data is invalid: do not retry       exit 1
    ├── NodeFailed          a node of a pipeline failed             exit 1
    ├── VersionError        a served version is missing or broken   exit 1
    │   └── ServedChanged   another version is served than expected exit 1
    ├── StoreError          an object store cannot be used          exit 1
    └── EnsembleError       a spec is wrong, or cannot answer       exit 1

They are in `serving` because every other package may import it.
"""

from __future__ import annotations


class BenisonError(Exception):
    """The root: errors that a user sees without a traceback. `benison` exits with `exit_code`."""

    exit_code = 1


class UsageError(BenisonError):
    """A wrong command line or config; the message holds one line per mistake."""

    exit_code = 2


class DataError(BenisonError):
    """The data cannot be used; the message names file, row, column or feature."""


class NodeFailed(BenisonError):
    """A node of a pipeline failed or could not be started."""


class VersionError(BenisonError):
    """A pushed version is missing, incomplete or of the wrong form."""


class ServedChanged(VersionError):
    """Another version is served than the one that a candidate was compared with, or that this ROOT knows."""


class StoreError(BenisonError):
    """An object store cannot be reached or refuses; the message names the key and what to do."""


class EnsembleError(BenisonError):
    """An ensemble's spec is wrong, or too few of its members answered."""
