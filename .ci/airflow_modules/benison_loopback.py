"""The name of this machine for the Airflow of `make airflow`, all of whose parts listen on loopback only."""

from __future__ import annotations


def hostname() -> str:
    """Return the address at which the api-server finds the log server."""
    return "127.0.0.1"
