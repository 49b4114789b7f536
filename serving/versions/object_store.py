"""An object store as a few operations on keys, over fsspec: s3:// and every other file system that it finds.

Credentials, region and endpoint come from the environment, under the names of each store's own tools (for S3
AWS_PROFILE, AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and so on), so that no config holds them.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from benison.serving.errors import BenisonError, StoreError, UsageError
from benison.serving.files import checksum as checksums

_LIBRARIES = {"s3": "s3fs", "gs": "gcsfs"}
# Newer releases of gcsfs need a google-cloud-storage that TFX and Beam do not allow.
_INSTALLS = {"s3fs": "'benison[store]'", "gcsfs": "'gcsfs<2026' 'google-cloud-storage-control<1.13'"}
_NO_PERMISSION = "these credentials do not allow it; listing, reading, writing and deleting are needed"
_AWS_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role"
_UNREACHABLE = "cannot be reached; check the network, and AWS_ENDPOINT_URL or STORAGE_EMULATOR_HOST if it is set"
# By name, because the libraries are installed only for their stores, and their errors share no base class.
_REMEDIES = {
    "NoCredentialsError": f"no credentials; {_AWS_CREDENTIALS}",
    "PartialCredentialsError": f"incomplete credentials; {_AWS_CREDENTIALS}",
    "EndpointConnectionError": _UNREACHABLE,
    "ConnectTimeoutError": _UNREACHABLE,
    "ClientConnectorError": _UNREACHABLE,  # aiohttp's, from gcsfs
}


def check_library(address: str) -> None:
    """Check that the library of a store is installed, before hours of training whose result will be copied there.

    Raises:
        UsageError: It is not; the message says how to install it.
    """
    library = _LIBRARIES.get(address.partition("://")[0])
    if library and importlib.util.find_spec(library) is None:
        raise UsageError(f"serving.store {address}: needs {library}; `pip install {_INSTALLS[library]}`")


class ObjectStore:
    """A folder of a bucket. Keys are relative to it, with /.

    Args:
        address: Such as s3://BUCKET/FOLDER.

    Raises:
        StoreError: From every method, if the store cannot be reached or refuses; the message names the key and what to
            do.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        # It logs a traceback for each error, which StoreError tells in one line.
        logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
        with _store_errors(self.address):
            from fsspec.core import url_to_fs

            # Nothing is cached: others write to the store too, and the environment may change.
            self._files, self._root = url_to_fs(self.address, use_listings_cache=False, skip_instance_cache=True)

    def url(self, key: str) -> str:
        """Return the full address of a key."""
        return f"{self.address}/{key}"

    def names(self, key: str) -> list[str]:
        """Return the names directly below a key, sorted; none if there is nothing."""
        with _store_errors(self.url(key)):
            try:
                paths = self._files.ls(self._path(key), detail=False)
            except FileNotFoundError:
                self._check_bucket()
                return []
            return sorted(name for path in paths if (name := str(path).rstrip("/").rpartition("/")[2]))

    def sizes(self, key: str) -> dict[str, int]:
        """Return the size in bytes of all objects below a key, at any depth, by path relative to it."""
        with _store_errors(self.url(key)):
            objects = self._files.find(self._path(key), detail=True)
            start = len(self._path(key)) + 1
            # Web consoles write an empty object for a folder.
            return {path[start:]: int(info["size"]) for path, info in sorted(objects.items()) if not path.endswith("/")}

    def modified(self, key: str) -> datetime:
        """Return the time when an object was written (with a time zone)."""
        with _store_errors(self.url(key)):
            time: datetime = self._files.modified(self._path(key))
            return time if time.tzinfo else time.replace(tzinfo=timezone.utc)

    def read(self, key: str) -> bytes | None:
        """Return an object's content; None if there is no such object."""
        with _store_errors(self.url(key)):
            try:
                return bytes(self._files.cat_file(self._path(key)))
            except FileNotFoundError:
                return None

    def checksum(self, key: str) -> str:
        """Return the SHA-256 (hex) of an object's content, which is downloaded for it."""
        with _store_errors(self.url(key)), self._files.open(self._path(key), "rb") as stream:
            return checksums.of_stream(stream)

    def write(self, key: str, content: bytes) -> None:
        """Write an object, whole or not at all."""
        with _store_errors(self.url(key)):
            self._files.pipe_file(self._path(key), content)

    def tag(self, key: str) -> str | None:
        """Return what changes with each write of an object (S3: ETag; gs: generation); None if there is none."""
        with _store_errors(self.url(key)):
            try:
                info = self._files.info(self._path(key))
            except FileNotFoundError:
                self._check_bucket()
                return None
        for name in ("ETag", "generation"):
            if name in info:
                return str(info[name])
        content = self.read(key)
        return None if content is None else checksums.of_text(content.decode("utf-8", "replace"))

    def write_if(self, key: str, content: bytes, tag: str | None) -> bool:
        """Write an object if it is still as `tag` returned it; None: if it does not exist.

        S3 and gs decide this in one step. In other stores somebody may write between the comparison and the write.

        Returns:
            True if the object was written.
        """
        with _store_errors(self.url(key)):
            scheme = self.address.partition("://")[0]
            try:
                if scheme == "s3":
                    self._write_s3(key, content, tag)
                elif scheme == "gs":
                    self._write_gs(key, content, tag)
                elif self.tag(key) == tag:
                    self._files.pipe_file(self._path(key), content)
                else:
                    return False
            except Exception as error:
                if _is_refused_condition(error):
                    return False
                raise
            return True

    def _write_s3(self, key: str, content: bytes, tag: str | None) -> None:
        bucket, path, _ = self._files.split_path(self._path(key))
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        self._files.call_s3("put_object", Bucket=bucket, Key=path, Body=content, **condition)

    def _write_gs(self, key: str, content: bytes, tag: str | None) -> None:
        bucket, path, _ = self._files.split_path(self._path(key))
        self._files.call(
            "POST",
            f"{self._files._location}/upload/storage/v1/b/{bucket}/o",
            uploadType="media",
            name=path,
            ifGenerationMatch=tag or "0",
            headers={"Content-Type": "application/json"},
            data=content,
        )

    def upload(self, file: Path, key: str) -> None:
        """Copy a file to the store, whole or not at all."""
        with _store_errors(self.url(key)):
            self._files.put_file(str(file), self._path(key))

    def download(self, key: str, file: Path) -> None:
        """Copy an object to a file."""
        with _store_errors(self.url(key)):
            self._files.get_file(self._path(key), str(file))

    def remove(self, key: str) -> None:
        """Remove an object if it exists."""
        with _store_errors(self.url(key)):
            try:
                self._files.rm_file(self._path(key))
            except FileNotFoundError:
                return

    def _path(self, key: str) -> str:
        return f"{self._root.rstrip('/')}/{key}"

    def _check_bucket(self) -> None:
        """Raise FileNotFoundError if the bucket does not exist: a listing is empty then, as for a missing key."""
        scheme, _, path = self.address.partition("://")
        if not self._files.exists(f"{scheme}://{path.partition('/')[0]}"):
            raise FileNotFoundError


def _is_refused_condition(error: BaseException | None) -> bool:
    """Return True if a store refused a write because somebody else wrote before (HTTP 412, and S3's 409).

    gcsfs raises FileExistsError for HTTP 412.
    """
    while error is not None:
        response = getattr(error, "response", None)
        code = str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""
        if code in ("PreconditionFailed", "ConditionalRequestConflict") or isinstance(error, FileExistsError):
            return True
        error = error.__cause__
    return False


@contextmanager
def _store_errors(address: str) -> Iterator[None]:
    """Turn the errors of a store's library into one that names the address and what to do."""
    try:
        yield
    except BenisonError:
        raise
    except ImportError as error:
        raise StoreError(f"{address}: {error}; `pip install 'benison[store]'` installs what s3:// needs") from error
    except FileNotFoundError as error:
        bucket = address.partition("://")[2].partition("/")[0]
        raise StoreError(
            f"{address}: not found; create the bucket {bucket} first, or correct `serving.store` or AWS_ENDPOINT_URL"
        ) from error
    except PermissionError as error:
        raise StoreError(f"{address}: {_NO_PERMISSION} ({error})") from error
    except Exception as error:  # each store's library has its own exceptions
        remedy = _REMEDIES.get(type(error).__name__)
        message = f"{type(error).__name__}: {error}"
        raise StoreError(f"{address}: {remedy} ({message})" if remedy else f"{address}: {message}") from error
