"""Secrets of addresses in messages."""

from __future__ import annotations

import pytest

from benison.serving.addresses import hide_secrets, without_secrets


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://host:5000/lineage?token=SECRET", "http://host:5000/lineage"),
        ("http://bob:SECRET@host:5000/a", "http://host:5000/a"),
        ("redis://:SECRET@host:6379/0#SECRET", "redis://host:6379/0"),
        ("http://bob:SE@CRET@host", "http://host"),
        ("http://bob:SECRET/x?y@host", "http://..."),
        ("http://bob:12?SECRET@host", "http://..."),
        ("http://bob:SECRET/x", "http://bob:SECRET/x"[:7] + "..."),
        ("http://[::1]:80/x?SECRET", "http://[::1]:80/x"),
        ("events.jsonl", "events.jsonl"),
    ],
)
def test_an_address_has_no_secrets(address: str, shown: str) -> None:
    assert without_secrets(address) == shown
    assert hide_secrets(f"got {address!r}, expected") == f"got {shown!r}, expected"
