"""Texts with a backslash in ML Metadata on PostgreSQL.

ML Metadata makes wrong SQL of such a text (`'E'{"a":…`, a syntax error), and JSON in JSON has backslashes. So another
character is stored in place of each backslash, one that Unicode keeps out of texts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ml_metadata.metadata_store.metadata_store import MetadataStore

_STORED = "\ufdd0"  # a noncharacter


def settle(store: MetadataStore) -> MetadataStore:
    """Let a store on PostgreSQL take and return texts with backslashes; return it."""
    call: Callable[[str, Any, Any], None] = store._call_method

    def call_with_texts(method: str, request: Any, response: Any) -> None:
        own = type(request)()
        own.CopyFrom(request)
        _replace(own, "\\", _STORED)
        call(method, own, response)
        _replace(response, _STORED, "\\")

    store._call_method = call_with_texts
    return store


def _replace(message: Any, old: str, new: str) -> None:
    """Replace a character in all texts of a message, but not in the keys of maps."""
    encoded = old.encode()
    if encoded not in message.SerializeToString():
        return
    for field, value in message.ListFields():
        if field.message_type is None:
            if field.type == field.TYPE_STRING:
                _replace_text(message, field, value, old, new)
        elif field.message_type.GetOptions().map_entry:
            entries = field.message_type.fields_by_name["value"]
            for key in list(value):
                if entries.message_type is not None:
                    _replace(value[key], old, new)
                elif entries.type == entries.TYPE_STRING:
                    value[key] = value[key].replace(old, new)
        elif field.label == field.LABEL_REPEATED:
            for each in value:
                _replace(each, old, new)
        else:
            _replace(value, old, new)


def _replace_text(message: Any, field: Any, value: Any, old: str, new: str) -> None:
    if field.label == field.LABEL_REPEATED:
        value[:] = [text.replace(old, new) for text in value]
    else:
        setattr(message, field.name, value.replace(old, new))
