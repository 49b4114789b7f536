"""An object store as a few operations on keys, over fsspec: s3://, and whatever else it finds a file system for.

Credentials, region and endpoint are the environment's, by the names that each store's own tools know (for S3
AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and so on), so that none of them stands in a config.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from benison.serving.errors import BenisonError, StoreError, UsageError

_CHUNK = 1 << 20
_LIBRARIES = {"s3": "s3fs", "gs": "gcsfs"}
_INSTALLS = {"s3fs": "'benison[store]'", "gcsfs": "gcsfs"}
_MAY_NOT = "these credentials may not do that; listing, reading, writing and deleting are needed"
_AWS_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role"
_UNREACHABLE = "cannot be reached; look at the network, and at AWS_ENDPOINT_URL where that is set"
# By name: botocore is there only where a store of S3 is used, and its errors share no root with other stores'.
_REMEDIES = {
    "NoCredentialsError": f"no credentials; {_AWS_CREDENTIALS}",
    "PartialCredentialsError": f"only a part of the credentials; {_AWS_CREDENTIALS}",
    "EndpointConnectionError": _UNREACHABLE,
    "ConnectTimeoutError": _UNREACHABLE,
}


def check_library(address: str) -> None:
    """Sees to it that what opens a store is installed, before hours are spent on what is to be put there.

    Raises:
        UsageError: it is not; says how to get it.
    """
    library = _LIBRARIES.get(address.partition("://")[0])
    if library and importlib.util.find_spec(library) is None:
        raise UsageError(f"serving.store {address}: needs {library}; `pip install {_INSTALLS[library]}`")


class ObjectStore:
    """A folder of a bucket. Keys are relative to it, with /.

    Args:
        address: such as s3://BUCKET/FOLDER.

    Raises:
        StoreError: by every method, where the store cannot be asked or refuses; names the key and what to do.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        with _telling(self.address):
            from fsspec.core import url_to_fs

            # Others write there too, so a listing is never kept; and the environment may have changed since the last.
            self._files, self._root = url_to_fs(self.address, use_listings_cache=False, skip_instance_cache=True)

    def url(self, key: str) -> str:
        """A key's whole address."""
        return f"{self.address}/{key}"

    def names(self, key: str) -> list[str]:
        """The names right below a key, sorted; none where there is nothing."""
        with _telling(self.url(key)):
            try:
                found = self._files.ls(self._path(key), detail=False)
            except FileNotFoundError:
                self._check_bucket()
                return []
            return sorted(name for path in found if (name := str(path).rstrip("/").rpartition("/")[2]))

    def sizes(self, key: str) -> dict[str, int]:
        """Bytes of all objects below a key, at any depth, by their place below it."""
        with _telling(self.url(key)):
            found = self._files.find(self._path(key), detail=True)
            below = len(self._path(key)) + 1
            # Consoles write an empty object for a folder that somebody makes there.
            return {path[below:]: int(about["size"]) for path, about in sorted(found.items()) if not path.endswith("/")}

    def modified(self, key: str) -> datetime:
        """When an object was written (with a time zone)."""
        with _telling(self.url(key)):
            when: datetime = self._files.modified(self._path(key))
            return when if when.tzinfo else when.replace(tzinfo=timezone.utc)

    def read(self, key: str) -> bytes | None:
        """An object's content; None where there is none."""
        with _telling(self.url(key)):
            try:
                return bytes(self._files.cat_file(self._path(key)))
            except FileNotFoundError:
                return None

    def checksum(self, key: str) -> str:
        """The SHA-256 (hex) of an object's content, which is read for it."""
        digest = hashlib.sha256()
        with _telling(self.url(key)), self._files.open(self._path(key), "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def write(self, key: str, content: bytes) -> None:
        """Writes an object; it is there whole or not at all."""
        with _telling(self.url(key)):
            self._files.pipe_file(self._path(key), content)

    def upload(self, file: Path, key: str) -> None:
        """Copies a file there; it is there whole or not at all."""
        with _telling(self.url(key)):
            self._files.put_file(str(file), self._path(key))

    def download(self, key: str, file: Path) -> None:
        """Copies an object into a file."""
        with _telling(self.url(key)):
            self._files.get_file(self._path(key), str(file))

    def remove(self, key: str) -> None:
        """Removes an object, if it is there."""
        with _telling(self.url(key)):
            try:
                self._files.rm_file(self._path(key))
            except FileNotFoundError:
                return

    def _path(self, key: str) -> str:
        return f"{self._root.rstrip('/')}/{key}"

    def _check_bucket(self) -> None:
        """A store lists nothing for a key that is not there, and for a bucket that is not."""
        scheme, _, path = self.address.partition("://")
        if not self._files.exists(f"{scheme}://{path.partition('/')[0]}"):
            raise FileNotFoundError


@contextmanager
def _telling(address: str) -> Iterator[None]:
    """Turns whatever a store's own library raises into an error that names the place and what to do."""
    try:
        yield
    except BenisonError:
        raise
    except ImportError as error:
        raise StoreError(f"{address}: {error}; `pip install 'benison[store]'` brings what s3:// needs") from error
    except FileNotFoundError as error:
        bucket = address.partition("://")[2].partition("/")[0]
        raise StoreError(
            f"{address}: not found; make the bucket {bucket} first, or correct `serving.store` or AWS_ENDPOINT_URL"
        ) from error
    except PermissionError as error:
        raise StoreError(f"{address}: {_MAY_NOT} ({error})") from error
    except Exception as error:  # each store's library has a tree of its own
        known = _REMEDIES.get(type(error).__name__)
        said = f"{type(error).__name__}: {error}"
        raise StoreError(f"{address}: {known} ({said})" if known else f"{address}: {said}") from error
