"""The version that all ROOTs of an object store serve: STORE/NAME/stable.json.

Each ROOT has a models.config of its own. Where several share a store, two of them must not replace what is served
without knowing of each other. So a ROOT changes `stable.json` first, on the condition that nobody has changed it since
it was read, and then its own models.config.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benison.serving.errors import ServedChanged, StoreError, VersionError
from benison.serving.versions.object_store import ObjectStore

FILE = "stable.json"


@dataclass(frozen=True)
class SharedStable:
    """The content of `stable.json`.

    Attributes:
        version: The version that is served; None if none is.
        who: Who promoted it.
        when: UTC, ISO.
    """

    version: int | None
    who: str = ""
    when: str = ""


def read(store: str, name: str) -> SharedStable | None:
    """Return what a store serves; None if no ROOT has promoted a version there yet.

    Args:
        store: Such as s3://BUCKET/FOLDER.
        name: The model's name.

    Raises:
        StoreError: The store cannot be reached or refuses.
        VersionError: The file is broken.
    """
    return _parse(ObjectStore(store), name)


def check(store: str, name: str, ours: int | None) -> None:
    """Check that a store serves the version that this ROOT serves, or none.

    Args:
        store: Such as s3://BUCKET/FOLDER.
        name: The model's name.
        ours: The version that this ROOT serves.

    Raises:
        ServedChanged: It serves another version.
        StoreError: The store cannot be reached or refuses.
    """
    bucket = ObjectStore(store)
    if reason := difference(bucket.url(f"{name}/{FILE}"), name, _parse(bucket, name), ours):
        raise ServedChanged(reason)


def difference(address: str, name: str, shared: SharedStable | None, ours: int | None) -> str | None:
    """Return how a store and this ROOT differ, and what to do; None if they agree or the store has none yet."""
    if shared is None or shared.version is None or shared.version == ours:
        return None
    return (
        f"{address}: version {shared.version} is served there (by {shared.who}, {shared.when}), and this ROOT serves "
        f"{ours or 'none'}; follow it by `benison fetch {name} {shared.version}` and "
        f"`benison promote {name} {shared.version}`, then run again"
    )


@contextmanager
def claimed(
    store: str, name: str, ours: int | None, target: int, who: str, when: str, *, force: bool = False
) -> Iterator[None]:
    """Name a version in `stable.json` while the block makes this ROOT serve it; if the block fails, name the old one.

    Args:
        store: Such as s3://BUCKET/FOLDER.
        name: The model's name.
        ours: The version that this ROOT serves.
        target: The version that it will serve.
        who: Who promotes it.
        when: UTC, ISO.
        force: Replace another ROOT's version too.

    Raises:
        ServedChanged: Another ROOT serves another version; nothing was changed.
        StoreError: The store cannot be reached or refuses. If it was lost on the way, the message says what it names.
    """
    bucket, key = ObjectStore(store), f"{name}/{FILE}"
    tag = bucket.tag(key)  # before the content, so that a write in between is refused
    shared = _parse(bucket, name)
    if shared is not None and shared.version == target:
        yield
        return
    reason = difference(bucket.url(key), name, shared, ours)
    if reason and not force:
        raise ServedChanged(reason)
    claim = SharedStable(target, who, when)
    # The library tries again if an answer is lost, and is then refused because of its own first try.
    if not bucket.write_if(key, _text(claim), tag) and (changed := _parse(bucket, name)) != claim:
        reason = difference(bucket.url(key), name, changed, ours)
        raise ServedChanged(reason or f"{bucket.url(key)}: another ROOT changed it at this moment; try again")
    written = None
    try:
        written = bucket.tag(key)
        yield
    except BaseException as error:
        try:
            bucket.write_if(key, _text(shared or SharedStable(None, who, when)), written or bucket.tag(key))
        except StoreError as lost:
            raise StoreError(
                f"{error}\n{lost}\nSo {bucket.url(key)} still names version {target}, and this ROOT serves "
                f"{ours or 'none'}; when the store is back, promote the version that should be served"
            ) from error
        raise


def _text(shared: SharedStable) -> bytes:
    record = {"version": shared.version, "who": shared.who, "when": shared.when}
    return (json.dumps(record, indent=2) + "\n").encode()


def _parse(bucket: ObjectStore, name: str) -> SharedStable | None:
    content = bucket.read(f"{name}/{FILE}")
    if content is None:
        return None
    try:
        record = json.loads(content)
        version = record["version"]
        return SharedStable(None if version is None else int(version), str(record["who"]), str(record["when"]))
    except (ValueError, TypeError, KeyError):
        raise VersionError(
            f"{bucket.url(f'{name}/{FILE}')}: cut or overwritten; expected a JSON object with version, who and when; "
            "delete it, and promote the version that should be served"
        ) from None
